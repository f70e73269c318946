// From options to the component's configuration. Nothing past this file looks at an option that is not checked.

import { KinesisReaderError, badOption, shown, words } from "./errors.js";
import { duration, time } from "./times.js";

const TIME_HINT = "write trim-horizon, latest, a Date, 2025-11-23T12:00:00Z, 2025-11-23, or a length of time ago, as in 1h30m ago";
const UNTIL_HINT = "write caught-up, forever, a Date, 2025-11-23T12:00:00Z, 2025-11-23, or a length of time ago, as in 1h ago";

/** Options that say how the stream is reached and where its checkpoint is kept; all others go to the component. */
const OURS = new Set([
  "stream", "start", "until", "behind", "limits", "state", "signal", "onNotice", "onInvalidRecords",
  "endpointUrl", "region", "profile", "roleArn", "credentials", "fetch", "maxMessages", "pageRecords", "pace",
]);

/** Options that are limits of the configuration. */
const LIMIT_OPTIONS = { maxMessages: "messages", pageRecords: "pageRecords", pace: "pace" };

/** Values that lift a limit. */
const UNLIMITED = { pace: "off", failures: null };

/** Limits that are lengths of time, in milliseconds. */
const DURATIONS = new Set(["listInterval", "requestTimeout", "backoffFirst", "backoffMax"]);

/** The greatest number that crosses to the component as it is, where that is not 32 bits; it judges the rest itself. */
const WIDTHS = { pace: 0xff, messages: Number.MAX_SAFE_INTEGER };

/** Words of the configuration; a word that is not among them is told with those that are. */
const WORDS = {
  payload: ["merged", "json", "text", "base64"],
  messageId: ["sha256", "dlt"],
  wire: ["json", "cbor"],
  onGap: ["tell", "fail"],
  recreated: ["refuse", "follow"],
};

/** Which stream, by name or ARN. */
export function sourceOf({ stream }) {
  if (typeof stream !== "string" || stream === "") {
    throw badOption("stream", "it is missing", 'give the name or the ARN of a stream: read({ stream: "orders" })');
  }
  return stream.startsWith("arn:") ? { tag: "arn", val: stream } : { tag: "name", val: stream };
}

/**
 * The component's defaults with what the options change. An option that the configuration has and this file does not
 * know is handed on as it is, so that a newer component needs no newer code here.
 */
export function configure(defaults, options, now) {
  const config = { ...defaults, limits: limits(defaults.limits, options) };
  for (const option of ["onNotice", "onInvalidRecords"]) {
    const given = options[option];
    if (given !== undefined && typeof given !== "function") throw badOption(option, `it is no function: ${shown(given)}`);
  }
  config.start = start(options.start, now) ?? config.start;
  config.until = until(options, now) ?? config.until;
  for (const [option, value] of Object.entries(options)) {
    if (OURS.has(option) || value === undefined) continue;
    if (!Object.hasOwn(config, option) || option === "source") throw unknown(option, [...OURS, ...Object.keys(config)]);
    const known = WORDS[option];
    if (known && !known.includes(value)) throw badOption(option, `not known: ${shown(value)}`, `write ${known.join(", ")}`);
    if (typeof value !== typeof config[option]) {
      throw badOption(option, `it is no ${typeof config[option]}: ${shown(value)}`);
    }
    config[option] = value;
  }
  return config;
}

function start(value, now) {
  if (value === undefined) return undefined;
  switch (word(value)) {
    case "trim-horizon":
      return { tag: "trim-horizon" };
    case "latest":
      return { tag: "latest" };
  }
  const at = checked("start", value, TIME_HINT, () => time(value, now));
  if (at > now) throw badOption("start", `it is in the future: ${shownTime(value)}`, "use latest for what arrives from now on");
  return { tag: "at-timestamp", val: BigInt(at) };
}

function until({ until: value, behind }, now) {
  const caughtUp = value === undefined || word(value) === "caught-up";
  if (behind !== undefined && !caughtUp) {
    throw badOption("behind", `it has no meaning with this end: ${shown(value)}`, "it says what counts as caught up: leave it out");
  }
  if (caughtUp) {
    if (value === undefined && behind === undefined) return undefined;
    const lag = behind === undefined ? 0 : checked("behind", behind, "write 90s, 15m or 1h30m", () => duration(behind));
    return { tag: "caught-up", val: BigInt(lag) };
  }
  if (word(value) === "forever") return { tag: "stopped" };
  return { tag: "time", val: BigInt(checked("until", value, UNTIL_HINT, () => time(value, now))) };
}

function limits(defaults, options) {
  const { limits: given = {} } = options;
  if (typeof given !== "object" || given === null) throw badOption("limits", "it is no object", "write limits: { requests: 10 }");
  const limits = { ...defaults };
  for (const [option, name] of Object.entries(LIMIT_OPTIONS)) {
    if (options[option] !== undefined) limits[name] = limit(name, options[option], option);
  }
  const known = Object.keys(defaults).filter((name) => !Object.values(LIMIT_OPTIONS).includes(name));
  for (const [name, value] of Object.entries(given)) {
    if (value === undefined) continue;
    if (!known.includes(name)) throw unknown(`limits.${name}`, known.map((other) => `limits.${other}`));
    limits[name] = limit(name, value, `limits.${name}`);
  }
  return limits;
}

function limit(name, value, path) {
  if (DURATIONS.has(name)) return BigInt(checked(path, value, "write milliseconds, 90s, 15m or 1h30m", () => duration(value)));
  if (Object.hasOwn(UNLIMITED, name) && value === UNLIMITED[name]) return undefined;
  if (Number.isSafeInteger(value) && value >= 0 && value <= (WIDTHS[name] ?? 0xffff_ffff)) return name === "messages" ? BigInt(value) : value;
  throw badOption(path, `it is no whole number that can be: ${shown(value)}`);
}

function checked(option, value, hint, parse) {
  try {
    return parse();
  } catch (why) {
    throw badOption(option, `not understood: ${shownTime(value)} (${words(why)})`, hint);
  }
}

function unknown(option, known) {
  return badOption(shown(option), "there is no such option", `those there are: ${[...new Set(known)].filter((name) => name !== "source").sort().join(", ")}`);
}

/** A word as it is known: AWS writes TRIM_HORIZON. */
function word(value) {
  return typeof value === "string" ? value.trim().toLowerCase().replaceAll("_", "-") : undefined;
}

function shownTime(value) {
  return value instanceof Date ? (Number.isNaN(value.getTime()) ? "an invalid Date" : value.toISOString()) : shown(value);
}

/** Refuses what is no object of options before anything is looked for in it. */
export function optionsOf(options) {
  if (typeof options === "object" && options !== null) return options;
  throw new KinesisReaderError("option", `options are missing: ${shown(options)}`, { hint: 'write read({ stream: "orders" })' });
}
