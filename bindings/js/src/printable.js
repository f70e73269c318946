// Makes text from outside fit for a terminal, a log or an error.
//
// A message from the service, a file name or the output of a process can hold any characters. Printed unescaped, they
// could move the cursor, forge a log line, or show something other than what is there. The machine and the Python package
// have the same function; `tests/golden/printable.json` tests all three.

const CHARACTERS_MAX = 1000;

/**
 * Characters that are invisible or change how text is shown: controls (C0, DEL, C1), line and paragraph separators,
 * bidirectional controls, zero-width characters, annotations, tags, and unpaired surrogates.
 */
const HIDDEN = new RegExp(
  "[\\u{0}-\\u{1f}\\u{7f}-\\u{9f}\\u{2028}\\u{2029}\\u{61c}\\u{200e}\\u{200f}\\u{202a}-\\u{202e}\\u{2066}-\\u{2069}"
  + "\\u{200b}-\\u{200d}\\u{2060}-\\u{2064}\\u{feff}\\u{fff9}-\\u{fffb}\\u{e0000}-\\u{e007f}\\p{Surrogate}]",
  "gu",
);

const SHORT = { "\n": "\\n", "\r": "\\r", "\t": "\\t" };

/** Converts any value to text, escapes hidden characters, and cuts it after 1,000 characters. */
export function printable(value) {
  const text = toText(value);
  // A character is one or two code units.
  if (text.length <= CHARACTERS_MAX) return escaped(text);
  let end = 0;
  let count = 0;
  for (const character of text) {
    if (count < CHARACTERS_MAX) end += character.length;
    count += 1;
  }
  const more = count - CHARACTERS_MAX;
  return more > 0 ? `${escaped(text.slice(0, end))}… (${more} characters more)` : escaped(text);
}

/** Escapes hidden characters without cutting, for text made of printable parts. */
export function escaped(text) {
  return text.replace(HIDDEN, (character) => SHORT[character] ?? `\\u{${character.codePointAt(0).toString(16)}}`);
}

/** Returns whether `escaped` would leave the text unchanged. */
export function isPlain(text) {
  return text.search(HIDDEN) < 0;
}

function toText(value) {
  try {
    return String(value);
  } catch {
    // For example an object without a prototype.
    return typeof value;
  }
}
