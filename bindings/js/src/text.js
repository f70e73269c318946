// Passes text into the component and out of it, in place of the code that jco generates (see `build.js`). That code looks
// at each character in JavaScript, and decodes UTF-8 to a string only to encode it again.

import { KinesisReaderError, messageOf } from "./errors.js";

const decoder = new TextDecoder();
const encoder = new TextEncoder();

/** Functions that a platform may replace with faster ones. */
export const text = {
  /** Returns whether bytes are known to be UTF-8. Otherwise they are decoded, with invalid bytes replaced. */
  isUtf8: () => false,
  /** Returns an array of bytes, which need not be zeroed. */
  bytes: (length) => new Uint8Array(length),
  decode: (bytes) => decoder.decode(bytes),
};

/** Copies text into the component's memory: a string, or bytes that are UTF-8. */
export function lower(value, realloc, memory) {
  const bytes = typeof value === "string" ? encoder.encode(value) : value;
  const len = bytes.length;
  if (len === 0) return { ptr: 1, len };
  const ptr = realloc(0, 0, 1, len);
  new Uint8Array(memory.buffer, ptr, len).set(bytes);
  return { ptr, len };
}

/** Takes the place of lines that could not be parsed. */
class Unparsable {
  constructor(thrown) {
    this.thrown = thrown;
  }
}

const toString = (bytes) => text.decode(bytes);
let convert = toString;

/** Copies text out of the component's memory; `bytes` is a view of it. */
export function lift(bytes) {
  return convert(bytes);
}

/** Makes a call into the component that returns lines of JSON as `text`, and parses them: `text` becomes an array. */
export function parsed(call) {
  convert = parseLines;
  let result;
  try {
    result = call();
  } finally {
    convert = toString;
  }
  if (!(result.text instanceof Unparsable)) return result;
  throw new KinesisReaderError("component", `cannot parse a message: ${messageOf(result.text.thrown)}`, {
    hint: 'use payload: "text", or the lines of readBatches',
  });
}

const [NEWLINE, COMMA, OPEN, CLOSE] = "\n,[]".split("").map((character) => character.charCodeAt(0));

/** Parses all lines at once, as one JSON array. The only line breaks in the text are those between lines. */
function parseLines(lines) {
  if (lines.length === 0) return [];
  const array = text.bytes(lines.length + 1);
  array.set(lines, 1);
  array[0] = OPEN;
  for (let at = 0; (at = array.indexOf(NEWLINE, at + 1)) >= 0; ) array[at] = COMMA;
  array[lines.length] = CLOSE;
  try {
    return JSON.parse(text.decode(array));
  } catch (thrown) {
    // An exception here, inside the call, would break the instance.
    return new Unparsable(thrown);
  }
}
