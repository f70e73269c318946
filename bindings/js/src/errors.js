// The package's error class, and constructors for the errors of options and of the component.
//
// Text from outside passes through `printable` where it enters a message, which limits its length. The constructor
// escapes the whole message once more, so that nothing else reaches a terminal or a log unescaped.

import { describeServiceError, serviceHint } from "./describe.js";
import { escaped, isPlain, printable } from "./printable.js";

/** How many causes of causes are made printable. */
const CAUSES_MAX = 8;

/** Options that have another name in the component's configuration. */
const OPTIONS_BY_FIELD = {
  source: "stream",
  "limits.maxMessages": "maxMessages",
  "limits.pageRecords": "pageRecords",
  "limits.pace": "pace",
  "limits.idleInterval": "idleInterval",
};

/** Every error that this package creates. */
export class KinesisReaderError extends Error {
  /**
   * @param {import("./index.d.ts").ErrorCode} code
   * @param {string} message
   * @param {{ hint?: string, cause?: unknown, service?: import("./index.d.ts").ServiceErrorDetails }} [more]
   */
  constructor(code, message, { hint, cause, service } = {}) {
    const line = escaped(message);
    const hintLine = hint && escaped(hint);
    super(hintLine ? `${line}\nhint: ${hintLine}` : line, cause === undefined ? undefined : { cause: printableCause(cause) });
    this.name = "KinesisReaderError";
    this.code = code;
    this.hint = hintLine;
    this.service = service;
  }
}

export function optionError(option, message, hint) {
  return new KinesisReaderError("option", `${option}: ${message}`, { hint });
}

/** Converts what the component throws: plain values are its own errors, everything else is a trap. */
export function componentError(thrown) {
  if (thrown instanceof KinesisReaderError) return thrown;
  const error = thrown?.payload ?? thrown;
  switch (error?.tag) {
    case "config":
      return optionError(optionOf(error.val.field), printable(error.val.message));
    case "checkpoint":
      return checkpointError(error.val);
    default:
      return new KinesisReaderError("component", `the component failed: ${messageOf(thrown)}`, { cause: thrown });
  }
}

/** Returns the option that sets a field of the configuration, such as `limits.page-records`. */
function optionOf(field) {
  const name = field.replace(/-([a-z])/g, (_, letter) => letter.toUpperCase());
  return OPTIONS_BY_FIELD[name] ?? name;
}

function checkpointError({ tag, val }) {
  if (tag === "foreign") {
    return new KinesisReaderError("checkpoint", `the checkpoint belongs to another stream: ${printable(val)}`, {
      hint: "read that stream, or give this one its own state",
    });
  }
  return new KinesisReaderError("checkpoint", `invalid checkpoint: ${printable(val)}`, {
    hint: "restore it from a backup; or move it away, together with the messages read so far, and start over",
  });
}

/** Converts the component's error that ends a run. */
export function serviceError(error) {
  return new KinesisReaderError("service", describeServiceError(error), { hint: serviceHint(error), service: error });
}

/** Returns the message of a thrown value, made printable. */
export function messageOf(thrown) {
  return printable(thrown instanceof Error ? thrown.message : thrown?.tag ?? thrown);
}

/**
 * Returns the cause to attach to an error, because Node prints causes too: the original if its message is printable, or
 * else a copy with a printable message.
 */
function printableCause(cause, left = CAUSES_MAX) {
  if (!(cause instanceof Error)) return typeof cause === "string" ? printable(cause) : cause;
  const inner = left > 0 && cause.cause !== undefined ? printableCause(cause.cause, left - 1) : undefined;
  if (isPlain(String(cause.message)) && inner === cause.cause) return cause;
  const copy = new Error(messageOf(cause), inner === undefined ? undefined : { cause: inner });
  copy.name = printable(cause.name);
  if (cause.code !== undefined) copy.code = cause.code;
  // The stack would point here.
  copy.stack = `${copy.name}: ${copy.message}`;
  return copy;
}
