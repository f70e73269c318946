// Parses times and durations, into milliseconds. Both functions throw an `Error` that says why the value is invalid.

const UNITS = { ms: 1, s: 1000, m: 60_000, min: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 };

/** As milliseconds, smaller numbers are in 1973 or before; as seconds, they reach to the year 5138. */
const MILLISECONDS_MIN = 100_000_000_000;

/** The last time that a `Date` can hold. */
const TIME_MAX = 8.64e15;

/**
 * Parses a time: a `Date`, milliseconds since the Unix epoch as from `Date.now()`, RFC 3339, a date at 00:00 UTC, or a
 * duration ago.
 */
export function parseTime(value, now) {
  if (typeof value === "number" && value > 0 && value < MILLISECONDS_MIN) {
    throw new Error("too small for milliseconds; are these seconds?");
  }
  if (value instanceof Date || typeof value === "number") return checkedTime(Number(value));
  if (typeof value !== "string") throw new Error("not a time");
  const text = value.trim();
  if (text.endsWith("ago")) return checkedTime(now - parseDuration(text.slice(0, -3)));
  if (!/^\d{4}-\d\d-\d\d/.test(text)) throw new Error("not a keyword or a time");
  // Without an offset, `Date.parse` would take a time of day as local time.
  if (text.length > 10 && !/(Z|[+-]\d\d:?\d\d)$/i.test(text)) throw new Error("no UTC offset; end it with Z");
  return checkedTime(Date.parse(text));
}

function checkedTime(at) {
  if (!(at <= TIME_MAX)) throw new Error("not a time");
  if (at < 0) throw new Error("before 1970");
  return Math.floor(at);
}

/** Parses a duration: milliseconds, or text such as `90s`, `1h30m` or `2d`. */
export function parseDuration(value) {
  if (typeof value === "number" && value >= 0 && Number.isFinite(value)) return checkedDuration(Math.floor(value));
  if (typeof value !== "string") throw new Error("not a duration");
  const text = value.trim().toLowerCase();
  if (text === "0") return 0;
  if (/^\d+$/.test(text)) throw new Error("no unit");
  if (!/^(\d+(\.\d+)?\s*(ms|min|[smhdw])\s*)+$/.test(text)) throw new Error("not a duration");
  let sum = 0;
  for (const [, number, unit] of text.matchAll(/(\d+(?:\.\d+)?)\s*(ms|min|[smhdw])/g)) sum += Number(number) * UNITS[unit];
  return checkedDuration(Math.round(sum));
}

/** Refuses durations that a number cannot hold exactly. */
function checkedDuration(duration) {
  if (!Number.isSafeInteger(duration)) throw new Error("too long");
  return duration;
}
