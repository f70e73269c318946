/** AWS credentials, as in AWS's SDK. */
export interface Credentials {
  accessKeyId: string;
  secretAccessKey: string;
  sessionToken?: string;
  /** New credentials are requested five minutes before this. */
  expiration?: Date;
}

/** Returns credentials. The providers of `@aws-sdk/credential-providers` are such functions. */
export type CredentialProvider = (options?: { forceRefresh?: boolean }) => Promise<Credentials>;

/** Keeps a checkpoint between runs. A checkpoint is JSON text. */
export interface State {
  /** Returns what was last saved, or `undefined` or `null` if nothing was. */
  load(): string | undefined | null | Promise<string | undefined | null>;
  /** Replaces what was saved. Resolves once it is durable. */
  save(checkpoint: string): void | Promise<void>;
  /** Locks the state for one reader. Called before `load()`. Throws if another reader holds the lock. */
  lock?(): void | Promise<void>;
  /** Releases the lock. Called when the run has ended, if `lock()` succeeded. */
  unlock?(): void | Promise<void>;
}

/**
 * A point in time: a `Date`, milliseconds since the Unix epoch, RFC 3339, a date at 00:00 UTC, or how long ago, as in
 * `1h30m ago`.
 */
export type Time = Date | number | string;

/** A duration: milliseconds, or text such as `90s`, `15m`, `1h30m` or `2d`. */
export type Duration = number | string;

/** Limits that rarely need to change. */
export interface Limits {
  /** Requests in flight. Default: 32. */
  requests?: number;
  /** Pages requested or not yet acknowledged, over all shards. A page holds up to 10 MiB. Default: 12. */
  batches?: number;
  /**
   * Bytes of rendered lines per batch. A batch holds as many messages of its page as fit, and at least one. The rest of the
   * page follows in more batches. Default: 96 MiB, which only pages of aggregated records can exceed.
   */
  batchBytes?: number;
  /** Time between two listings of the shards. Default: 1 minute. */
  listInterval?: Duration;
  /** Time after which a request counts as failed. Default: 30 seconds. */
  requestTimeout?: Duration;
  /** Backoff after the first failure. Default: 250 ms. */
  backoffFirst?: Duration;
  /** Maximum backoff. Default: 10 seconds. */
  backoffMax?: Duration;
  /** Failures in a row that end the run. Default: about a minute of failures. `null`: never. */
  failures?: number | null;
}

export interface Options {
  /** The name or ARN of the stream. */
  stream: string;
  /** Where the first run begins; later runs continue from `state`. Default: `trim-horizon`, the oldest record. */
  start?: "trim-horizon" | "latest" | Time;
  /** When the run ends. Default: `caught-up`, where the tip was when the run began. */
  until?: "caught-up" | "forever" | Time;
  /** The lag that counts as caught up. Default: 0. */
  behind?: Duration;
  /** Where to keep the checkpoint: an object with `load` and `save`, or, in Node, the path of a file. Default: nowhere. */
  state?: State | string | URL;
  /** Ends the run after exactly this many messages. Default: no maximum. */
  maxMessages?: number;
  /** Records to request per page, from 1 to 10,000. Default: 10,000. */
  pageRecords?: number;
  /**
   * The share to use of Kinesis's limits on reading a shard, in percent, from 1 to 100. `off` suits emulators.
   * Default: 80.
   */
  pace?: number | "off";
  /** How often to look for new records in a shard that was read to its tip. Default: `1s`. */
  idleInterval?: Duration;
  /**
   * How a message shows its data: `merged` puts the members of a JSON object beside the envelope; `json` puts a JSON value
   * under `data`; `text` puts text under `data`; `base64` puts any bytes under `data_base64`. A message whose data is not in
   * this form is an invalid record: it has `data` if its data is text, or else `data_base64`. Default: `merged`.
   */
  payload?: "merged" | "json" | "text" | "base64";
  /** How to make `_kinesis_msg_id`: with SHA-256, or as dlt's Kinesis source does. Default: `sha256`. */
  messageId?: "sha256" | "dlt";
  /** How to encode requests and answers. CBOR is smaller, but not every emulator supports it. Default: `json`. */
  wire?: "json" | "cbor";
  /**
   * Whether to split aggregated records of the Kinesis Producer Library into their user records, which have
   * `_kinesis.sub_seq`. Default: `true`.
   */
  deaggregate?: boolean;
  /**
   * What to do if records left the stream before they were read: `continue` gives a notice and continues with the records that
   * are left; `fail` ends this run, and every later one, with an error before the gap. Default: `continue`.
   */
  onGap?: "continue" | "fail";
  /**
   * What to do if the stream was deleted and created again under its name: `refuse` ends the run with an error; `follow`
   * reads the new stream from its oldest record. Default: `refuse`.
   */
  recreated?: "refuse" | "follow";
  /**
   * Receives the invalid records of each page before the page is delivered, as lines of JSON with the reason under
   * `_kinesis_reason`. The page includes them too. The run waits for the result. An error ends the run, and the next run
   * delivers the page again.
   */
  onInvalidRecords?: (lines: string) => void | Promise<void>;
  /**
   * Receives what the operator should know. Default: `console.warn` for gaps, and for a consumer that waits for its own
   * `ack()`. An error ends the run.
   */
  onNotice?: (notice: Notice) => void | Promise<void>;
  /** Ends the run: what was acknowledged is saved, and the loop throws the signal's reason. */
  signal?: AbortSignal;
  limits?: Limits;
  /** The URL of the endpoint, if it is not AWS's. */
  endpointUrl?: string | URL;
  /** The region. Default: that of the ARN, or, in Node, of the environment or the profile. */
  region?: string;
  /** Default in Node: found as by the AWS command line. Required elsewhere. */
  credentials?: Credentials | CredentialProvider;
  /** A profile of `~/.aws/config`. Only in Node. */
  profile?: string;
  /** A role to assume with the credentials. Only in Node. */
  roleArn?: string;
  /** Sends the requests. Default: the global `fetch`, or, in Node, its HTTP client, which is faster. */
  fetch?: typeof fetch;
}

/** Something that the operator should know and that is not an error. */
export type Notice =
  | GapNotice
  /** A request failed and will be retried. */
  | ({ kind: "retry"; message: string } & ServiceErrorDetails)
  /** A shard was found, or reached a state that is final for this run. */
  | ({ kind: "shard"; message: string } & Shard)
  /** The consumer waits for a batch, but every shard waits for an `ack()`. */
  | { kind: "unacknowledged"; message: string };

/** Records may have left the stream before they were read. */
export interface GapNotice extends Gap {
  kind: "gap";
  message: string;
}

export interface Gap {
  shard: string;
  /** The sequence number of the last message before the gap, if there was one. */
  after: string | undefined;
  /**
   * Set if the checkpoint was in the future, because it was saved with a wrong clock: its time, in milliseconds since the
   * Unix epoch.
   */
  ahead: number | undefined;
}

/** What every message has besides its payload. */
export interface Envelope {
  _kinesis: {
    shard_id: string;
    /** The sequence number. */
    seq_no: string;
    /** The arrival time: RFC 3339 with milliseconds, in UTC. */
    ts: string;
    /** The partition key, or `null` if the stream distributes records by itself. */
    partition: string | null;
    stream_name: string;
    /** The subsequence number, if the message is a user record of an aggregated record. */
    sub_seq?: number;
  };
  /** The message id, which is the same each time the message is read. */
  _kinesis_msg_id: string;
}

/** A message: its envelope and its payload. The payload is not checked, and invalid records have another form. */
export type Message<Payload = Record<string, any>> = Envelope & Payload;

export interface Shard {
  shard: string;
  /** None, one after a split, or two after a merge. */
  parents: string[];
  /** Whether the shard was resharded and accepts no more records. */
  closed: boolean;
  state:
    | "blocked" | "seeking" | "sought" | "ready" | "reading" | "delivering" | "ending" | "caught-up" | "drained" | "failed";
  position:
    | { tag: "trim-horizon" } | { tag: "at"; val: number } | { tag: "end" }
    | { tag: "after"; val: { sequence: string; subsequence: number | undefined } };
  /** The lag when the shard was last read, in milliseconds. */
  behind: number | undefined;
}

/** Counts since the run began. */
export interface Totals {
  messages: number;
  bytes: number;
  /** User records that were skipped because they do not belong to their shard. */
  dropped: number;
  pages: number;
  emptyPages: number;
  requests: number;
  throttled: number;
  retried: number;
}

/**
 * How a run ended: `until` was reached, all shards are closed and drained, `maxMessages` were delivered, `stop` was called,
 * or it failed. `undefined` if it has not ended, or was left early.
 */
export type Outcome = "reached" | "exhausted" | "limited" | "stopped" | "failed" | undefined;

/** One run. It can be iterated over once. However the loop is left, what was acknowledged is saved. */
export interface Run<Item> extends AsyncIterableIterator<Item> {
  next(): Promise<IteratorResult<Item, undefined>>;
  return(value?: any): Promise<IteratorReturnResult<any>>;
  throw(thrown?: any): Promise<never>;
  /** Requests no more pages. What has arrived is still delivered. */
  stop(): void;
  /** The current checkpoint, or `undefined` before the first message was requested. */
  checkpoint(): string | undefined;
  shards(): Shard[];
  /** `undefined` before the first message was requested. */
  totals(): Totals | undefined;
  readonly outcome: Outcome;
}

/** A message with its data as bytes. */
export interface KinesisRecord {
  id: string;
  sequence: string;
  /** Set if the message is a user record of an aggregated record. */
  subsequence: number | undefined;
  /** `undefined` if the stream distributes records by itself. */
  partitionKey: string | undefined;
  arrived: Date;
  data: Uint8Array;
}

/** Messages of one shard, in order: a page, or part of one that exceeds `batchBytes`. There is at least one. */
export interface Batch<Payload = Record<string, any>> {
  readonly shard: string;
  readonly count: number;
  /** The bytes of data in the messages. Rendered lines are longer. */
  readonly size: number;
  /** The lag at the end of the batch, in milliseconds. */
  readonly behind: number;
  /**
   * The checkpoint of this shard alone, after this batch. If you store it in one transaction with the messages, joined by
   * `mergeCheckpoints` with what was stored before, each message is stored exactly once.
   */
  readonly checkpoint: string;
  /** The messages as newline-delimited JSON, with payloads as they were written. */
  readonly lines: string;
  /** The same text in pieces of whole lines, of about this many bytes. Default: 128 KiB. */
  pieces(size?: number): IterableIterator<string>;
  messages(): IterableIterator<Message<Payload>>;
  records(): KinesisRecord[];
  /**
   * Acknowledges the messages. Resolves once the checkpoint is saved. Afterwards the next page of the shard is read, and
   * the messages of this batch are gone.
   */
  ack(): Promise<void>;
}

/**
 * Reads the messages of a stream. Requesting the next message acknowledges the one before. The message in hand when the
 * loop is left, by `break` or by an error, is not acknowledged, and is delivered again by the next run. To stop after an
 * exact number, use `maxMessages`.
 */
export function read<Payload = Record<string, any>>(options: Options): Run<Message<Payload>>;

/**
 * Reads the batches of a stream. Each is acknowledged by its `ack()`, in any order. A shard is not read on until then.
 */
export function readBatches<Payload = Record<string, any>>(options: Options): Run<Batch<Payload>>;

/** Joins two checkpoints of one stream: for each shard, the later position. */
export function mergeCheckpoints(left: string, right: string): Promise<string>;

/**
 * Returns a state that is kept under this key of `localStorage`, or of any object with the same methods. In `localStorage`,
 * it is locked against other pages of the origin. With any other storage, a save fails if another reader has changed the
 * state.
 */
export function storageState(key: string, storage?: Pick<Storage, "getItem" | "setItem">): State;

/**
 * Returns a state that is kept in a file. Only in Node, where setting `state` to a path does the same.
 *
 * Each save replaces the file as a whole. A new file has mode 600, and an existing one keeps its mode. Only regular files
 * are accepted. Symbolic links in place of the lock or the temporary file are not followed.
 *
 * The file is locked during a run, with the same lock as in the program and the Python package. On Linux, this requires the
 * program `flock` of util-linux or BusyBox. Without it, only readers in this process exclude each other, and a save fails if
 * another reader has changed the state.
 */
export function fileState(path: string | URL): State;

export type ErrorCode =
  /** An option is invalid. Nothing was sent. */
  | "option"
  /** There are no usable credentials. Nothing was sent. */
  | "credentials"
  /** The state cannot be read, written or locked. */
  | "state"
  /** The checkpoint is invalid or belongs to another stream. Nothing was sent. */
  | "checkpoint"
  /** A request failed for good. `service` has the details. */
  | "service"
  /** A batch was used after it was acknowledged, or acknowledged after the run ended. */
  | "ended"
  /** The component failed. */
  | "component";

/** A request that failed. A plain object, not an `Error`. */
export interface ServiceErrorDetails {
  operation: "describe-stream-summary" | "list-shards" | "get-shard-iterator" | "get-records";
  /** The shard that the request was for, if it was for one. */
  shard: string | undefined;
  /** How often the request was sent. */
  attempts: number;
  cause:
    /** Kinesis answered with an error. `awsRequestId` is the AWS request id. */
    | { tag: "rejected"; val: { status: number; code: string; message: string; awsRequestId: string | undefined; hint: string | undefined } }
    /** The answer was invalid. */
    | { tag: "unintelligible"; val: string }
    /** There was no answer. */
    | { tag: "failure"; val: { tag: "transient" | "permanent"; val: string } }
    | { tag: "timeout" }
    /** The stream was recreated, and `recreated` is `refuse`. */
    | { tag: "recreated"; val: string }
    /** There is a gap, and `onGap` is `fail`. */
    | { tag: "gap"; val: Gap };
}

/** Every error that this package creates. Errors of callbacks and of your own `state` are thrown unchanged. */
export class KinesisReaderError extends Error {
  constructor(code: ErrorCode, message: string, more?: { hint?: string; cause?: unknown; service?: ServiceErrorDetails });
  readonly name: "KinesisReaderError";
  /** What went wrong, followed by `hint` on a line of its own. */
  readonly message: string;
  readonly code: ErrorCode;
  /** What to do about it. */
  readonly hint: string | undefined;
  /** The error that led to this one, such as one of the file system. */
  readonly cause?: unknown;
  /** Set if `code` is `service`. */
  readonly service: ServiceErrorDetails | undefined;
}
