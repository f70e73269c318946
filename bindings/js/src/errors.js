// What can go wrong, in words: what was wrong, where, and what to do about it.
//
// Text from outside is passed through `printable` where it enters a message, which also limits its length. The whole
// message is escaped once more here, so nothing can slip through to a terminal or a log.

import { escaped, isPlain, printable } from "./printable.js";

/** Everything that this package throws by itself. */
export class KinesisReaderError extends Error {
  /**
   * @param {import("./index.d.ts").ErrorCode} code  whose fault it is
   * @param {string} message  what was wrong and where
   * @param {{ hint?: string, cause?: unknown, service?: object }} [more]
   */
  constructor(code, message, { hint, cause, service } = {}) {
    const line = escaped(message);
    const advice = hint && escaped(hint);
    super(advice ? `${line}\nhint: ${advice}` : line, cause === undefined ? undefined : { cause: shownCause(cause) });
    this.name = "KinesisReaderError";
    this.code = code;
    this.hint = advice;
    this.service = service;
  }
}

/** An option that cannot be meant. */
export function badOption(option, message, hint) {
  return new KinesisReaderError("option", `${option}: ${message}`, { hint });
}

/** What the component throws: its own errors are plain values, and anything else is a trap. */
export function componentError(thrown) {
  if (thrown instanceof KinesisReaderError) return thrown;
  const error = thrown?.payload ?? thrown;
  if (error?.tag === "config") {
    return badOption(optionOf(error.val.field), shown(error.val.message));
  }
  if (error?.tag === "checkpoint") return checkpointError(error.val);
  return new KinesisReaderError("component", `the component failed: ${words(thrown)}`, { cause: thrown });
}

/** A checkpoint that cannot be used. */
export function checkpointError({ tag, val }) {
  if (tag === "foreign") {
    return new KinesisReaderError("checkpoint", `the checkpoint belongs to another stream: ${shown(val)}`, {
      hint: "name the stream that it belongs to, or give this stream another state",
    });
  }
  return new KinesisReaderError("checkpoint", `the checkpoint is damaged: ${shown(val)}`, {
    hint: "bring it back from a copy; or move it away with the messages that go with it, and read anew",
  });
}

/** A run that Kinesis, or the way to it, ended. */
export function serviceError(error) {
  return new KinesisReaderError("service", inWords(error), { hint: serviceHint(error), service: error });
}

/** A request that did not succeed, in words. */
export function inWords({ operation, shard, cause, attempts }) {
  if (cause.tag === "recreated") return `the checkpoint is of another stream of this name: ${cause.val}`;
  if (cause.tag === "lost") return gapInWords(cause.val);
  const asked = OPERATIONS[operation] ?? operation;
  const about = shard === undefined ? asked : `${asked} of ${shard}`;
  const tries = attempts > 1 ? `, after ${attempts} tries` : "";
  return `${about} ${causeInWords(cause)}${tries}`;
}

/** A gap, in words. */
export function gapInWords({ shard, after, ahead }) {
  if (ahead !== undefined) {
    // Later times do not fit into a `Date`.
    const at = new Date(Math.min(ahead, 8.64e15)).toISOString();
    return `the checkpoint of ${shard} is ahead of the present, at ${at}: records that arrived since may be unread`;
  }
  return `records of ${shard} have left the stream unread${after ? `, after ${after}` : ""}`;
}

function causeInWords({ tag, val }) {
  switch (tag) {
    case "rejected": {
      const message = val.message ? `: ${val.message}` : "";
      const trace = val.trace === undefined ? "" : ` (request ${val.trace})`;
      return `was refused: ${val.code}${message}${trace}`;
    }
    case "unintelligible":
      return `has an answer that cannot be understood: ${val}`;
    case "failure":
      return `has no answer: ${val.val}`;
    case "timeout":
      return "has no answer in time";
    default:
      return `failed: ${tag}`;
  }
}

function serviceHint({ cause }) {
  switch (cause.tag) {
    case "rejected":
      return cause.val.hint;
    case "failure":
    case "timeout":
      return "look at the network, the region, the credentials and the endpoint; read again to go on from here";
    case "recreated":
      return 'the stream was deleted and made again: give the new one another state, or read it from its oldest record by recreated: "follow"';
    case "lost":
      return 'onGap: "tell" reads on from what is left';
    case "unintelligible":
      return "look whether the endpoint is a Kinesis";
    default:
      return undefined;
  }
}

const OPERATIONS = {
  "describe-stream-summary": "DescribeStreamSummary",
  "list-shards": "ListShards",
  "get-shard-iterator": "GetShardIterator",
  "get-records": "GetRecords",
};

const OPTIONS_BY_FIELD = {
  source: "stream",
  "limits.messages": "maxMessages",
  "limits.pageRecords": "pageRecords",
  "limits.pace": "pace",
};

/** The fields of the configuration are options by another name. */
function optionOf(field) {
  const name = field.replace(/-([a-z])/g, (_, letter) => letter.toUpperCase());
  return OPTIONS_BY_FIELD[name] ?? name;
}

/** The message of a thrown value, printable. */
export function words(thrown) {
  return shown(thrown instanceof Error ? thrown.message : thrown?.tag ?? thrown);
}

/** Any value as printable text. */
export function shown(value) {
  try {
    return printable(value);
  } catch {
    // Some objects cannot be converted to a string.
    return typeof value;
  }
}

/** How deep a chain of causes is followed. */
const CAUSES_MAX = 8;

/**
 * The cause to attach to an error, which Node prints with it: the original if its message is printable, else a copy with
 * a printable message.
 */
function shownCause(cause, left = CAUSES_MAX) {
  if (!(cause instanceof Error)) return typeof cause === "string" ? printable(cause) : cause;
  const inner = left > 0 && cause.cause !== undefined ? shownCause(cause.cause, left - 1) : undefined;
  if (isPlain(String(cause.message)) && inner === cause.cause) return cause;
  const stand = new Error(words(cause), inner === undefined ? undefined : { cause: inner });
  stand.name = shown(cause.name);
  if (cause.code !== undefined) stand.code = cause.code;
  // A stack of this function would only mislead.
  stand.stack = `${stand.name}: ${stand.message}`;
  return stand;
}
