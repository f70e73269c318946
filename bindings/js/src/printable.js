// Text from outside made fit for a terminal, a log or an error.
//
// The message of a service, the name of a file or the output of a process can hold anything. Printed as it is, it could
// move the cursor, forge a line of a log, or show something other than it says. The machine and the Python package have the
// same function; `tests/golden/printable.json` tests all three.

/** Longer text is cut. */
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

/** Escapes invisible characters, and cuts text after 1,000 characters. */
export function printable(text) {
  const whole = String(text);
  // A character is one or two code units.
  if (whole.length <= CHARACTERS_MAX) return escaped(whole);
  let end = 0;
  let count = 0;
  for (const character of whole) {
    if (count < CHARACTERS_MAX) end += character.length;
    count += 1;
  }
  const more = count - CHARACTERS_MAX;
  return more > 0 ? `${escaped(whole.slice(0, end))}… (${more} characters more)` : escaped(whole);
}

/** The same without cutting, for text that is made of printable parts. */
export function escaped(text) {
  return text.replace(HIDDEN, (character) => SHORT[character] ?? `\\u{${character.codePointAt(0).toString(16)}}`);
}

/** Whether `escaped` would leave the text as it is. */
export function isPlain(text) {
  return text.search(HIDDEN) < 0;
}
