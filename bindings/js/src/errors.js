// What can go wrong, in words: what was wrong, where, and what to do about it.

/** Everything that this package throws by itself. */
export class KinesisReaderError extends Error {
  /**
   * @param {import("./index.d.ts").ErrorCode} code  whose fault it is
   * @param {string} message  what was wrong and where
   * @param {{ hint?: string, cause?: unknown, service?: object }} [more]
   */
  constructor(code, message, { hint, cause, service } = {}) {
    super(hint ? `${message}\nhint: ${hint}` : message, cause === undefined ? undefined : { cause });
    this.name = "KinesisReaderError";
    this.code = code;
    this.hint = hint;
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
    return badOption(optionOf(error.val.field), error.val.message);
  }
  if (error?.tag === "checkpoint") return checkpointError(error.val);
  return new KinesisReaderError("component", `the component failed: ${words(thrown)}`, { cause: thrown });
}

/** A checkpoint that cannot be used. */
export function checkpointError({ tag, val }) {
  if (tag === "foreign") {
    return new KinesisReaderError("checkpoint", `the checkpoint belongs to another stream: ${val}`, {
      hint: "name the stream that it belongs to, or give this stream another state",
    });
  }
  return new KinesisReaderError("checkpoint", `the checkpoint is damaged: ${val}`, {
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
  if (cause.tag === "lost") return lostInWords(cause.val);
  const asked = OPERATIONS[operation] ?? operation;
  const about = shard === undefined ? asked : `${asked} of ${shard}`;
  const tries = attempts > 1 ? `, after ${attempts} tries` : "";
  return `${about} ${causeInWords(cause)}${tries}`;
}

/** A gap, in words. */
export function lostInWords({ shard, after, ahead }) {
  if (ahead !== undefined) {
    return `the checkpoint of ${shard} is ahead of the present, at ${ahead} ms since 1970: records that arrived since may be unread`;
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

/** The fields of the configuration are options by another name. */
function optionOf(field) {
  const name = field.replace(/-([a-z])/g, (_, letter) => letter.toUpperCase());
  return name === "source" ? "stream" : name;
}

/** The words of whatever was thrown. */
export function words(thrown) {
  return thrown instanceof Error ? thrown.message : String(thrown?.tag ?? thrown);
}
