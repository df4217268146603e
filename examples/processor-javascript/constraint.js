// Which tokens may come next. Knows nothing of the host, so that it can be tested under node.

/**
 * Finds the tokens that would complete a banned word.
 *
 * A token completes a word in one of two ways: it contains all of it, or it begins with the rest of a
 * word whose beginning stands at the end of the text. Both are looked up, not searched for, while text
 * is generated.
 */
export class Banned {
  /** @param {string[]} words @param {(string|null)[]} tokens the text of every token */
  constructor(words, tokens) {
    this.words = [...new Set(words.map((word) => word.toLowerCase()))];
    this.longest = Math.max(0, ...this.words.map((word) => word.length));
    this.always = [];
    /** For each word, for each number of its characters that stand already: the tokens that finish it. */
    this.finishing = this.words.map((word) => Array.from(word, () => []));
    tokens.forEach((text, id) => {
      if (!text) return;
      const lower = text.toLowerCase();
      if (this.words.some((word) => lower.includes(word))) {
        this.always.push(id);
        return;
      }
      this.words.forEach((word, index) => {
        for (let begun = 1; begun < word.length; begun += 1) {
          if (lower.startsWith(word.slice(begun))) this.finishing[index][begun].push(id);
        }
      });
    });
  }

  /** The tokens that would complete a word after this text. */
  after(text) {
    const end = text.slice(-this.longest).toLowerCase();
    const found = new Set(this.always);
    this.words.forEach((word, index) => {
      for (let begun = 1; begun < word.length; begun += 1) {
        if (end.endsWith(word.slice(0, begun))) {
          for (const id of this.finishing[index][begun]) found.add(id);
        }
      }
    });
    return found;
  }
}

/**
 * Which tokens go on towards one of the choices, each a list of tokens.
 *
 * @returns {{next: number[], complete: boolean}} `complete`: a choice ends here
 */
export function towards(choices, tokens) {
  const next = new Set();
  let complete = false;
  for (const choice of choices) {
    if (tokens.every((token, at) => choice[at] === token)) {
      if (choice.length === tokens.length) complete = true;
      else next.add(choice[tokens.length]);
    }
  }
  return { next: [...next], complete };
}

/** The text up to the first of the stops, and whether there was one. */
export function until(text, stops) {
  const found = stops.map((stop) => text.indexOf(stop)).filter((at) => at >= 0);
  return found.length ? { text: text.slice(0, Math.min(...found)), stopped: true } : { text, stopped: false };
}

/** The texts of a token table: one buffer and where each token begins in it. */
export function texts(table) {
  const decoder = new TextDecoder();
  return Array.from({ length: Math.max(0, table.offsets.length - 1) }, (_, id) =>
    decoder.decode(table.text.subarray(table.offsets[id], table.offsets[id + 1])),
  );
}
