// Times and lengths of time as people write them; in milliseconds.

const UNITS = { ms: 1, s: 1000, m: 60_000, min: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 };

/** A number of milliseconds below this was in 1973; as seconds it is in the year 5138. */
const MILLISECONDS_MIN = 100_000_000_000;

/**
 * A time: a `Date`, milliseconds since 1970 as `Date.now()` gives them, RFC 3339, a date at 00:00 UTC, or a length of
 * time ago. Throws words that say why it is none.
 */
export function time(value, now) {
  if (value instanceof Date || typeof value === "number") return milliseconds(Number(value), value);
  if (typeof value !== "string") throw "it is no time";
  const text = value.trim();
  if (text.endsWith("ago")) return milliseconds(now - duration(text.slice(0, -3)));
  if (!/^\d{4}-\d\d-\d\d/.test(text)) throw "it is no word and no time";
  // What has a time of day and no offset would be taken in the zone of whoever runs this.
  if (text.length > 10 && !/(Z|[+-]\d\d:?\d\d)$/i.test(text)) throw "it has no offset from UTC: end it with Z";
  return milliseconds(Date.parse(text));
}

/** A length of time: milliseconds, or `90s`, `1h30m`, `2d`. Throws words that say why it is none. */
export function duration(value) {
  if (typeof value === "number" && value >= 0 && Number.isFinite(value)) return bounded(Math.floor(value));
  if (typeof value !== "string") throw "it is no length of time";
  const text = value.trim().toLowerCase();
  if (text === "0") return 0;
  if (/^\d+$/.test(text)) throw "it has no unit";
  if (!/^(\d+(\.\d+)?\s*(ms|min|[smhdw])\s*)+$/.test(text)) throw "it is no length of time";
  let sum = 0;
  for (const [, number, unit] of text.matchAll(/(\d+(?:\.\d+)?)\s*(ms|min|[smhdw])/g)) sum += Number(number) * UNITS[unit];
  return bounded(Math.round(sum));
}

/** Larger numbers would be rounded. */
function bounded(length) {
  if (!Number.isSafeInteger(length)) throw "it is too long";
  return length;
}

/** The last time that a `Date` can hold. */
const TIME_MAX = 8.64e15;

function milliseconds(at, given) {
  if (!(at <= TIME_MAX)) throw "it is no time";
  if (at < 0) throw "it is before 1970";
  if (typeof given === "number" && at < MILLISECONDS_MIN && at > 0) throw "it is too small for milliseconds: are these seconds?";
  return Math.floor(at);
}
