// What the host calls: the description, and a session that requests pass through.

import { decode, encode, tokenId, vocabulary } from 'tenon:data/tokenizer@0.1.0';

import { Banned, texts, towards, until } from './constraint.js';
import said from './plugin.json' with { type: 'json' };
import { answering, description, invalid } from './tenon.js';

export const plugin = { describe: () => description(said) };

const bytes = (value) => new TextEncoder().encode(JSON.stringify(value));
const value = (bytes) => JSON.parse(new TextDecoder().decode(bytes));

function read(request) {
  let value;
  try {
    value = JSON.parse(request);
  } catch (error) {
    throw invalid(`the request is no JSON: ${error.message}`);
  }
  if (typeof value !== 'object' || value === null) throw invalid('the request is no JSON object');
  return value;
}

class Session {
  constructor(config) {
    this.config = config;
    this.banned = config.banned.length ? new Banned(config.banned, texts(vocabulary())) : null;
    this.endToken = tokenId(config.end_token);
  }

  static open(config) {
    return new Session(JSON.parse(config));
  }

  stages() {
    return { preprocess: true, constrain: true, filter: false, postprocess: true };
  }

  preprocess(request) {
    const { messages, choices, count, max_tokens: most, ...sampling } = read(request);
    if (!Array.isArray(messages) || messages.length === 0) {
      throw invalid('`messages` must be a list of turns: [{"role": "user", "content": "…"}]');
    }
    const limit = this.config.max_tokens;
    return {
      fields: [{ name: this.config.column, value: { tag: 'text', val: this.conversation(messages) } }],
      generation: {
        maxTokens: Math.min(most ?? limit, limit),
        minTokens: undefined,
        temperature: sampling.temperature,
        topK: sampling.top_k,
        topP: sampling.top_p,
        beams: sampling.beams,
        count,
        seed: sampling.seed === undefined ? undefined : BigInt(sampling.seed),
      },
      context: bytes({ choices: choices === undefined ? null : this.choices(choices) }),
    };
  }

  /** The turns in the words of the template. */
  conversation(messages) {
    const { turns, answer } = this.config;
    const written = messages.map(({ role, content }, at) => {
      if (!Object.hasOwn(turns, role)) {
        throw invalid(`message ${at} has the role ${JSON.stringify(role)}; there are ${Object.keys(turns).join(', ')}`);
      }
      if (typeof content !== 'string') throw invalid(`message ${at} has no text as its \`content\``);
      return turns[role].replaceAll('{content}', () => content);
    });
    return written.join('') + answer;
  }

  /** The answers to choose from, as tokens. */
  choices(choices) {
    if (!Array.isArray(choices) || choices.length === 0 || choices.some((choice) => typeof choice !== 'string' || !choice)) {
      throw invalid('`choices` must be a list of texts, none of them empty');
    }
    return choices.map((choice) => Array.from(encode(choice)));
  }

  constrain(sequences) {
    return sequences.map(({ context, tokens }) => {
      const { choices } = value(context);
      if (choices) return this.choose(choices, Array.from(tokens));
      const { text, stopped } = until(decode(tokens), this.config.stop);
      if (stopped) return { tag: 'end' };
      const forbidden = this.banned?.after(text) ?? new Set();
      return forbidden.size ? { tag: 'except', val: Uint32Array.from(forbidden) } : { tag: 'any' };
    });
  }

  choose(choices, tokens) {
    const { next, complete } = towards(choices, tokens);
    if (!complete) return { tag: 'only', val: Uint32Array.from(next) };
    // One choice is complete and another goes on from it: the model decides, if it can say that it ends.
    if (next.length === 0 || this.endToken === undefined) return { tag: 'end' };
    return { tag: 'only', val: Uint32Array.from([...next, this.endToken]) };
  }

  postprocess(context, output) {
    if (output.tag !== 'generated') throw invalid('a conversation needs a model that generates text');
    const { choices } = value(context);
    const answers = output.val.map(({ text, logProbability, finish }) => {
      const { text: answer, stopped } = choices ? { text, stopped: true } : until(text, this.config.stop);
      return {
        message: { role: 'assistant', content: answer.trim() },
        finish_reason: stopped || finish !== 'length' ? 'stop' : 'length',
        log_probability: logProbability,
      };
    });
    return JSON.stringify({ choices: answers.map((answer, index) => ({ index, ...answer })) });
  }
}

export const processor = { Session: answering(Session) };
