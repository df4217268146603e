// `node --test` in this folder.

import assert from 'node:assert/strict';
import test from 'node:test';

import { Banned, texts, towards, until } from './constraint.js';

const tokens = ['b', 'a', 'd', 'ad', 'bad', ' bad day', 'dab', 'B', null, 'day'];
const ids = (found) => [...found].sort((a, b) => a - b);

test('tokens that contain a banned word are never allowed', () => {
  const banned = new Banned(['Bad'], tokens);
  assert.deepEqual(ids(banned.after('')), [4, 5]);
});

test('tokens that complete a begun word are not allowed', () => {
  const banned = new Banned(['bad'], tokens);
  assert.deepEqual(ids(banned.after('so b')), [3, 4, 5]);
  assert.deepEqual(ids(banned.after('so BA')), [2, 4, 5, 6, 9]);
  assert.deepEqual(ids(banned.after('so ba-')), [4, 5]);
});

test('no sequence of allowed tokens ever spells a banned word', () => {
  const banned = new Banned(['bad', 'dada', 'abba'], tokens);
  let random = 7;
  for (let round = 0; round < 300; round += 1) {
    let text = '';
    for (let step = 0; step < 12; step += 1) {
      const forbidden = banned.after(text);
      const allowed = tokens.map((_, id) => id).filter((id) => tokens[id] && !forbidden.has(id));
      random = (random * 1103515245 + 12345) % 2147483648;
      text += tokens[allowed[random % allowed.length]];
    }
    for (const word of ['bad', 'dada', 'abba']) assert.ok(!text.toLowerCase().includes(word), text);
  }
});

test('choices are followed token by token', () => {
  const choices = [[1, 2], [1, 3, 4], [5]];
  assert.deepEqual(towards(choices, []), { next: [1, 5], complete: false });
  assert.deepEqual(towards(choices, [1]), { next: [2, 3], complete: false });
  assert.deepEqual(towards(choices, [1, 2]), { next: [], complete: true });
  assert.deepEqual(towards([[1], [1, 2]], [1]), { next: [2], complete: true });
  assert.deepEqual(towards(choices, [9]), { next: [], complete: false });
});

test('an answer ends before the first stop', () => {
  assert.deepEqual(until('yes\nQ: and', ['Q:', '\n']), { text: 'yes', stopped: true });
  assert.deepEqual(until('yes', ['\n']), { text: 'yes', stopped: false });
});

test('a token table is cut into texts', () => {
  const text = new TextEncoder().encode('ab天');
  assert.deepEqual(texts({ text, offsets: new Uint32Array([0, 1, 2, 5]) }), ['a', 'b', '天']);
});
