// Text on its way into the component and out of it, in place of what jco generates for that (see `build.js`): there each
// character is looked at in JavaScript, and bytes that came as UTF-8 are made a string only to be made bytes again.

import { KinesisReaderError, words } from "./errors.js";

const decoder = new TextDecoder();
const encoder = new TextEncoder();

/** Ways that a platform may have better ones for. */
export const text = {
  /** Whether bytes are UTF-8. Where nobody can tell, they are decoded, and what is not UTF-8 replaced. */
  isUtf8: () => false,
  /** An array of bytes of any values. */
  bytes: (length) => new Uint8Array(length),
  /** UTF-8 made a string. */
  decode: (bytes) => decoder.decode(bytes),
};

/** Puts text into the component's memory: a string, or bytes that are known to be UTF-8. */
export function lower(value, realloc, memory) {
  const bytes = typeof value === "string" ? encoder.encode(value) : value;
  const len = bytes.length;
  if (len === 0) return { ptr: 1, len };
  const ptr = realloc(0, 0, 1, len);
  new Uint8Array(memory.buffer, ptr, len).set(bytes);
  return { ptr, len };
}

/** Stands for lines that could not be parsed. */
class Unreadable {
  constructor(thrown) {
    this.thrown = thrown;
  }
}

const asString = (bytes) => text.decode(bytes);
let taken = asString;

/** Takes text out of the component's memory, of which `bytes` are a view. */
export function lift(bytes) {
  return taken(bytes);
}

/** The answer of `call`, a call of the component's, with lines of JSON made out: an array where the text would be. */
export function parsed(call) {
  taken = parse;
  let answer;
  try {
    answer = call();
  } finally {
    taken = asString;
  }
  if (!(answer.text instanceof Unreadable)) return answer;
  throw new KinesisReaderError("component", `cannot parse a message: ${words(answer.text.thrown)}`, {
    hint: 'use payload: "text", or the lines of readBatches',
  });
}

const [NEWLINE, COMMA, OPEN, CLOSE] = "\n,[]".split("").map((character) => character.charCodeAt(0));

/** Whole lines made out at once, as an array: lines hold no other line breaks than those between them. */
function parse(lines) {
  if (lines.length === 0) return [];
  const array = text.bytes(lines.length + 1);
  array.set(lines, 1);
  array[0] = OPEN;
  for (let at = 0; (at = array.indexOf(NEWLINE, at + 1)) >= 0; ) array[at] = COMMA;
  array[lines.length] = CLOSE;
  try {
    return JSON.parse(text.decode(array));
  } catch (thrown) {
    // Thrown when the call has returned: an exception inside it would break the instance.
    return new Unreadable(thrown);
  }
}
