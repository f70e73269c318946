// The time to sign requests with: this machine's clock, corrected if Kinesis refuses a signature because of it.

/** AWS accepts signatures that are up to five minutes off. */
const SKEW_MIN_MS = 4 * 60_000;

/** A service's time outside this range is not believed. */
const SERVICE_TIME_MIN = Date.UTC(2015);
const SERVICE_TIME_MAX = Date.UTC(2100);

/** The last time that fits in a signature. */
const SIGNABLE_MAX = Date.UTC(10_000) - 1;

const MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(" ");

export class Clock {
  /** How far the service's clock is ahead of ours, in milliseconds. */
  #offset = 0;

  /** Returns the service's time, as far as we know it. */
  now() {
    return Date.now() + this.#offset;
  }

  /**
   * Sets the clock by the `date` of an answer that refused a request signed at `signed`. Returns false if the date is
   * implausible, or if the clock was not the reason.
   */
  correct(date, signed) {
    if (date === undefined || date < SERVICE_TIME_MIN || date >= SERVICE_TIME_MAX) return false;
    if (Math.abs(date - signed) < SKEW_MIN_MS) return false;
    this.#offset = date - Date.now();
    return true;
  }
}

export function isSignable(time) {
  return time >= 0 && time <= SIGNABLE_MAX;
}

/** Parses a `Date` header in the form that servers must send. Returns undefined if it is invalid or before 1970. */
export function parseHttpDate(header) {
  const [, day, month, year, hour, minute, second] = /^[A-Z][a-z]{2}, (\d\d) ([A-Z][a-z]{2}) (\d{4}) (\d\d):(\d\d):(\d\d) GMT$/.exec(header ?? "") ?? [];
  // `Date.UTC` takes years below 100 as 19xx.
  if (!(year >= 1970)) return undefined;
  const at = Date.UTC(year, MONTHS.indexOf(month), day, hour, minute, second);
  // `Date.UTC` turns February 30 into a day in March.
  return new Date(at).toUTCString().slice(5) === header.slice(5) ? at : undefined;
}
