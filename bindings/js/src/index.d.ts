/** Credentials of AWS, as its SDK has them. */
export interface Credentials {
  accessKeyId: string;
  secretAccessKey: string;
  sessionToken?: string;
  /** New ones are asked for five minutes before this. */
  expiration?: Date;
}

/** Gives credentials; those of `@aws-sdk/credential-providers` are such functions. */
export type CredentialProvider = (options?: { forceRefresh?: boolean }) => Promise<Credentials>;

/** A place for a checkpoint, which is JSON text. */
export interface State {
  /** What was saved last; `undefined` or `null` if nothing was. */
  load(): string | undefined | null | Promise<string | undefined | null>;
  /** Replaces what was saved. Resolves once it is safe. */
  save(checkpoint: string): void | Promise<void>;
  /** Locks the state for one reader. Called before `load()`; throws if another reader holds it. */
  lock?(): void | Promise<void>;
  /** Releases the lock. Called once after a successful `lock()`, when the reading has ended. */
  unlock?(): void | Promise<void>;
}

/** A time: a `Date`, milliseconds since 1970, RFC 3339, a date at 00:00 UTC, or a length of time ago, as in `1h30m ago`. */
export type Time = Date | number | string;

/** A length of time: milliseconds, or `90s`, `15m`, `1h30m`, `2d`. */
export type Duration = number | string;

/** Bounds on the work. What is left out has the component's own value; `null` lifts a bound that may be lifted. */
export interface Limits {
  /** Requests out at a time. Default: 32. */
  requests?: number;
  /** Pages asked for or not yet acknowledged at a time, over all shards. A page holds up to 10 MiB. Default: 12. */
  batches?: number;
  /** Time between two listings of the shards. Default: a minute. */
  listInterval?: Duration;
  /** Time after which a request counts as failed. Default: 30 seconds. */
  requestTimeout?: Duration;
  /** First pause after a failure. Default: a quarter of a second. */
  backoffFirst?: Duration;
  /** Greatest pause after a failure. Default: 10 seconds. */
  backoffMax?: Duration;
  /** Failures in a row that end the reading, about a minute's worth by default. `null`: never. */
  failures?: number | null;
}

export interface Options {
  /** The name or the ARN of a stream. */
  stream: string;
  /** Where the first run begins; later ones go by the state. Default: `trim-horizon`, the oldest record there is. */
  start?: "trim-horizon" | "latest" | Time;
  /** When to end. Default: `caught-up`, at the tip as it was at the beginning. */
  until?: "caught-up" | "forever" | Time;
  /** How far behind the tip counts as caught up. Default: 0. */
  behind?: Duration;
  /** End once exactly this many messages are delivered. Default: none. */
  maxMessages?: number;
  /** Records asked for in a page: 1 to 10,000, which is the default. */
  pageRecords?: number;
  /**
   * The share of the service's limits on reading a shard that may be used, in percent: 1 to 100, which is the default.
   * `off`: no pace is kept, which suits emulators.
   */
  pace?: number | "off";
  /** How the data of a message appears: its members beside the envelope, whole under `data`, as text, or as base64. */
  payload?: "merged" | "json" | "text" | "base64";
  /** How `_kinesis_msg_id` is made. */
  messageId?: "sha256" | "dlt";
  /** The encoding asked of Kinesis. CBOR is smaller; not every emulator speaks it. Default: `json`. */
  wire?: "json" | "cbor";
  /**
   * Make messages of the user records in what the Kinesis Producer Library aggregated. Default: the component's, as its
   * interface tells.
   */
  deaggregate?: boolean;
  /**
   * What follows where records left the stream before they were read: it is told and reading goes on from what is left,
   * or reading ends before it with an error, and so does the next run. Default: `tell`.
   */
  onGap?: "tell" | "fail";
  /**
   * What follows where the stream was deleted and made again under its name: reading ends with an error, or the new
   * stream is read from its oldest record. Default: `refuse`.
   */
  recreated?: "refuse" | "follow";
  /**
   * Is given the messages whose data is not as `payload` asks, as lines of JSON, each with the reason under
   * `_kinesis_reason`; for each page that has any, before it is given out. They come among the others too. What it
   * returns is awaited, and what it throws ends the reading, so that the page comes again in the next run.
   */
  onInvalidRecords?: (lines: string) => void | Promise<void>;
  limits?: Limits;
  /** Where the checkpoint is kept: an object with `load` and `save`, and in Node the path of a file too. */
  state?: State | string | URL;
  /** Ends the reading: what was acknowledged is kept, and the loop throws the signal's reason. */
  signal?: AbortSignal;
  /**
   * Is told what an operator should know. Without it, what was lost and a consumer that waits for its own `ack()` are
   * told by `console.warn`.
   */
  onNotice?: (notice: Notice) => void;
  /** The URL of the endpoint, where it is not AWS's own. */
  endpointUrl?: string | URL;
  /** The region; in Node otherwise that of the ARN, the environment or the profile. */
  region?: string;
  /** In Node otherwise found as the AWS command line finds them. */
  credentials?: Credentials | CredentialProvider;
  /** A profile of `~/.aws/config`; only in Node. */
  profile?: string;
  /** A role to assume with the credentials found; only in Node. */
  roleArn?: string;
  /** What sends requests. Default: the global one, and in Node its HTTP client, which is faster. */
  fetch?: typeof fetch;
}

/** Something that an operator should know and that is not an error. */
export type Notice =
  /** Records left the stream unread, by age. */
  | { kind: "gap"; message: string; shard: string; after?: string; ahead?: number }
  /** A request failed and will be tried again. */
  | ({ kind: "retry"; message: string } & ServiceError)
  /** A shard was found, or reached a state that is final for this run. */
  | ({ kind: "shard"; message: string } & Shard)
  /** The consumer waits for a batch, and every shard for its `ack()`. */
  | { kind: "unacknowledged"; message: string };

/** What every message has beside its payload. */
export interface Envelope {
  _kinesis: {
    shard_id: string;
    seq_no: string;
    /** When it arrived: RFC 3339 with milliseconds, in UTC. */
    ts: string;
    partition: string;
    stream_name: string;
  };
  /** Equal each time that the message is read. */
  _kinesis_msg_id: string;
}

/** A message: its envelope, and its payload as `payload` asks. */
export type Message<Payload = Record<string, any>> = Envelope & Payload;

/** A shard as the reader sees it. */
export interface Shard {
  shard: string;
  parents: string[];
  /** It takes no more records. */
  closed: boolean;
  state:
    | "blocked" | "seeking" | "sought" | "ready" | "reading" | "delivering" | "ending" | "caught-up" | "drained" | "failed";
  place:
    | { tag: "trim-horizon" } | { tag: "at"; val: number } | { tag: "end" }
    | { tag: "after"; val: { sequence: string; subsequence?: number } };
  /** How far behind the tip it was when last read, in milliseconds. */
  behind?: number;
}

/** Counts since the beginning. */
export interface Totals {
  messages: number;
  bytes: number;
  /** User records that were not of their shard. */
  dropped: number;
  pages: number;
  emptyPages: number;
  requests: number;
  throttled: number;
  retried: number;
}

/** How it ended; `undefined` while it goes on. */
export type Outcome = "reached" | "exhausted" | "limited" | "stopped" | "failed" | undefined;

/** What can be iterated over once. Leaving the loop, in whatever way, keeps what was acknowledged. */
export interface Reading<Item> extends AsyncIterableIterator<Item> {
  next(): Promise<IteratorResult<Item, undefined>>;
  return(value?: any): Promise<IteratorResult<Item, undefined>>;
  throw(thrown?: any): Promise<IteratorResult<Item, undefined>>;
  /** Asks for no more pages: what is here still comes, and then the end. */
  stop(): void;
  /** The checkpoint as it would be kept now; `undefined` before the first message was asked for. */
  checkpoint(): string | undefined;
  shards(): Shard[];
  totals(): Totals | undefined;
  readonly outcome: Outcome;
}

/** A record as bytes. */
export interface KinesisRecord {
  id: string;
  sequence: string;
  /** The place within an aggregated record. */
  subsequence?: number;
  partitionKey?: string;
  arrived: Date;
  data: Uint8Array;
}

/** The messages of one page of one shard: at least one, in order. */
export interface Batch<Payload = Record<string, any>> {
  readonly shard: string;
  readonly count: number;
  /** The bytes of data in the messages. */
  readonly size: number;
  /** How far the end of the batch is behind the tip of the shard, in milliseconds. */
  readonly behind: number;
  /**
   * The checkpoint of this shard alone as it is once this batch is safe: stored in one transaction with the messages
   * and joined by `mergeCheckpoints` with what was stored before, it makes each message be there exactly once.
   */
  readonly checkpoint: string;
  /** The messages as newline-delimited JSON, to the letter as they were put. */
  readonly lines: string;
  /** The same text in pieces of whole lines, of about so many bytes: 128 KiB by default. */
  pieces(size?: number): IterableIterator<string>;
  messages(): IterableIterator<Message<Payload>>;
  records(): KinesisRecord[];
  /**
   * Tells that the messages are done with, and resolves once the checkpoint behind them is kept. The shard is read on
   * from here; what the batch holds is gone.
   */
  ack(): Promise<void>;
}

/**
 * The messages of a stream, one by one. A message is acknowledged when the next one is asked for. The one in hand when
 * the loop is left, by `break` or by an error, is not, and comes again in the next run: end by `maxMessages` to stop
 * after an exact number.
 */
export function read<Payload = Record<string, any>>(options: Options): Reading<Message<Payload>>;

/** The batches of a stream. Each is acknowledged by its `ack()`, in any order; its shard rests until then. */
export function readBatches<Payload = Record<string, any>>(options: Options): Reading<Batch<Payload>>;

/** Joins two checkpoints of one stream: of each shard, the further place. */
export function mergeCheckpoints(left: string, right: string): Promise<string>;

/**
 * A state under this key of `localStorage`, or of anything that works like it. In `localStorage` it is locked against
 * other pages of the origin. With another storage, a save fails if another reader has written the state.
 */
export function storageState(key: string, storage?: Pick<Storage, "getItem" | "setItem">): State;

/**
 * A state in a file, which is replaced as a whole by each save; only in Node, where a path given as `state` is the same.
 * A new file has mode 600, and an existing one keeps its mode. Only regular files are accepted. Symbolic links in place of
 * the lock or the temporary file are not followed.
 *
 * While a reading is open the file is locked with the same lock as in the program and the Python package. On Linux this
 * takes the program `flock` of util-linux or BusyBox. Without it only readers in this process exclude each other, and a
 * save fails if another reader has written the state.
 */
export function fileState(path: string | URL): State;

/** Whose fault it is. */
export type ErrorCode =
  /** An option cannot be meant. Nothing was sent. */
  | "option"
  /** There are no credentials. Nothing was sent. */
  | "credentials"
  /** The state cannot be read or written. */
  | "state"
  /** The checkpoint is damaged or another stream's. Nothing was sent. */
  | "checkpoint"
  /** Kinesis, or the way to it, ended the reading. `service` tells more. */
  | "service"
  /** A batch was used after its end. */
  | "ended"
  /** The component failed. */
  | "component";

/** A request that did not succeed. */
export interface ServiceError {
  operation: "describe-stream-summary" | "list-shards" | "get-shard-iterator" | "get-records";
  shard?: string;
  attempts: number;
  cause:
    | { tag: "rejected"; val: { status: number; code: string; message: string; trace?: string; hint?: string } }
    | { tag: "unintelligible"; val: string }
    | { tag: "failure"; val: { tag: "transient" | "permanent"; val: string } }
    | { tag: "timeout" }
    | { tag: "recreated"; val: string }
    | { tag: "lost"; val: { shard: string; after?: string; ahead?: number } };
}

export class KinesisReaderError extends Error {
  readonly code: ErrorCode;
  /** What to do about it. */
  readonly hint?: string;
  readonly service?: ServiceError;
}
