// The time in answers.

const MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(" ");

/** The time in a `Date` header in the form that servers must send; undefined if it is invalid or before 1970. */
export function dateOf(header) {
  const [, day, month, year, hour, minute, second] = /^[A-Z][a-z]{2}, (\d\d) ([A-Z][a-z]{2}) (\d{4}) (\d\d):(\d\d):(\d\d) GMT$/.exec(header ?? "") ?? [];
  // `Date.UTC` takes years below 100 as 19xx.
  if (!(year >= 1970)) return undefined;
  const at = Date.UTC(year, MONTHS.indexOf(month), day, hour, minute, second);
  // `Date.UTC` turns a 30th of February into a day in March.
  return new Date(at).toUTCString().slice(5) === header.slice(5) ? at : undefined;
}
