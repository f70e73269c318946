// Turns options into the component's configuration. Nothing after this file sees an unchecked option.

import { KinesisReaderError, messageOf, optionError } from "./errors.js";
import { printable } from "./printable.js";
import { parseDuration, parseTime } from "./times.js";

const TIME_HINT = "write a Date, 2025-11-23T12:00:00Z, 2025-11-23, or how long ago, as in 1h30m ago";
const START_HINT = `use trim-horizon or latest, or ${TIME_HINT}`;
const UNTIL_HINT = `use caught-up or forever, or ${TIME_HINT}`;
const DURATION_HINT = "write 90s, 15m or 1h30m";

/** Options that become limits in the configuration. */
const LIMIT_OPTIONS = { maxMessages: "maxMessages", pageRecords: "pageRecords", pace: "pace", idleInterval: "idleInterval" };

/** Options that are handled here or by the host. All others belong to the component. */
const HOST_OPTIONS = new Set([
  "stream", "start", "until", "behind", "limits", "state", "signal", "onNotice", "onInvalidRecords",
  "endpointUrl", "region", "profile", "roleArn", "credentials", "fetch", ...Object.keys(LIMIT_OPTIONS),
]);

/** Limits that are durations, in milliseconds. */
const DURATIONS = new Set(["idleInterval", "listInterval", "requestTimeout", "backoffFirst", "backoffMax"]);

/** Values that lift a limit. */
const UNLIMITED = { pace: "off", failures: null };

/** The largest value that fits the component's type, if that is not 32 bits. The component checks the actual range. */
const LARGEST = { pace: 0xff, maxMessages: Number.MAX_SAFE_INTEGER };

/** The values of options that are enums in the configuration. */
const CHOICES = {
  payload: ["merged", "json", "text", "base64"],
  messageId: ["sha256", "dlt"],
  wire: ["json", "cbor"],
  onGap: ["continue", "fail"],
  recreated: ["refuse", "follow"],
};

/** Returns the options if they are an object. */
export function checkedOptions(options) {
  if (typeof options === "object" && options !== null) return options;
  throw new KinesisReaderError("option", `expected an object with options: ${printable(options)}`, {
    hint: 'write read({ stream: "orders" })',
  });
}

/** Returns the stream, by name or ARN, as the component's `source`. */
export function sourceOf({ stream }) {
  if (typeof stream !== "string" || stream === "") {
    throw optionError("stream", "required", 'set it to the name or ARN of a stream: read({ stream: "orders" })');
  }
  return stream.startsWith("arn:") ? { tag: "arn", val: stream } : { tag: "name", val: stream };
}

/**
 * Returns the component's defaults with the options applied. Fields of the configuration that this file does not know
 * can be set too, so a newer component needs no changes here.
 */
export function configure(defaults, options, now) {
  const config = { ...defaults, limits: limits(defaults.limits, options) };
  for (const option of ["onNotice", "onInvalidRecords"]) {
    const callback = options[option];
    if (callback !== undefined && typeof callback !== "function") {
      throw optionError(option, `expected a function: ${printable(callback)}`);
    }
  }
  config.start = start(options.start, now) ?? config.start;
  config.until = until(options, now) ?? config.until;
  for (const [option, value] of Object.entries(options)) {
    if (HOST_OPTIONS.has(option) || value === undefined) continue;
    if (!Object.hasOwn(config, option) || option === "source") {
      throw unknownOption(option, [...HOST_OPTIONS, ...Object.keys(config)]);
    }
    const choices = CHOICES[option];
    if (choices && !choices.includes(value)) {
      throw optionError(option, `unknown value: ${printable(value)}`, `use one of ${choices.join(", ")}`);
    }
    if (typeof value !== typeof config[option]) {
      throw optionError(option, `expected a ${typeof config[option]}: ${printable(value)}`);
    }
    config[option] = value;
  }
  return config;
}

function start(value, now) {
  if (value === undefined) return undefined;
  switch (keyword(value)) {
    case "trim-horizon":
      return { tag: "trim-horizon" };
    case "latest":
      return { tag: "latest" };
  }
  const at = parsed("start", value, START_HINT, () => parseTime(value, now));
  if (at > now) {
    throw optionError("start", `in the future: ${printableTime(value)}`, "use latest to read what arrives from now on");
  }
  return { tag: "at-timestamp", val: BigInt(at) };
}

function until({ until: value, behind }, now) {
  const isCaughtUp = value === undefined || keyword(value) === "caught-up";
  if (behind !== undefined && !isCaughtUp) {
    throw optionError("behind", `cannot be combined with until: ${printableTime(value)}`, "leave one of the two out");
  }
  if (isCaughtUp) {
    if (value === undefined && behind === undefined) return undefined;
    const lag = behind === undefined ? 0 : parsed("behind", behind, DURATION_HINT, () => parseDuration(behind));
    return { tag: "caught-up", val: BigInt(lag) };
  }
  if (keyword(value) === "forever") return { tag: "stopped" };
  return { tag: "time", val: BigInt(parsed("until", value, UNTIL_HINT, () => parseTime(value, now))) };
}

function limits(defaults, options) {
  const { limits: more = {} } = options;
  if (typeof more !== "object" || more === null) {
    throw optionError("limits", `expected an object: ${printable(more)}`, "write limits: { requests: 10 }");
  }
  const limits = { ...defaults };
  for (const [option, name] of Object.entries(LIMIT_OPTIONS)) {
    if (options[option] !== undefined) limits[name] = limit(name, options[option], option);
  }
  const known = Object.keys(defaults).filter((name) => !Object.values(LIMIT_OPTIONS).includes(name));
  for (const [name, value] of Object.entries(more)) {
    if (value === undefined) continue;
    if (!known.includes(name)) throw unknownOption(`limits.${name}`, known.map((other) => `limits.${other}`));
    limits[name] = limit(name, value, `limits.${name}`);
  }
  return limits;
}

/** Returns the value of a limit as the component takes it. */
function limit(name, value, option) {
  if (DURATIONS.has(name)) return BigInt(parsed(option, value, DURATION_HINT, () => parseDuration(value)));
  if (Object.hasOwn(UNLIMITED, name) && value === UNLIMITED[name]) return undefined;
  if (!Number.isSafeInteger(value) || value < 0) {
    const or = Object.hasOwn(UNLIMITED, name) ? ` or ${JSON.stringify(UNLIMITED[name])}` : "";
    throw optionError(option, `expected a whole number${or}: ${printable(value)}`);
  }
  if (value > (LARGEST[name] ?? 0xffff_ffff)) throw optionError(option, `too large: ${value}`);
  return name === "maxMessages" ? BigInt(value) : value;
}

function parsed(option, value, hint, parse) {
  try {
    return parse();
  } catch (why) {
    throw optionError(option, `cannot parse: ${printableTime(value)} (${messageOf(why)})`, hint);
  }
}

function unknownOption(option, known) {
  const names = [...new Set(known)].filter((name) => name !== "source").sort();
  return new KinesisReaderError("option", `unknown option: ${printable(option)}`, { hint: `the options are ${names.join(", ")}` });
}

/** Returns a keyword in its usual form: AWS writes TRIM_HORIZON. */
function keyword(value) {
  return typeof value === "string" ? value.trim().toLowerCase().replaceAll("_", "-") : undefined;
}

function printableTime(value) {
  if (!(value instanceof Date)) return printable(value);
  return Number.isNaN(value.getTime()) ? "an invalid Date" : value.toISOString();
}
