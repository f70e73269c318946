// A reader that is open: its component, its driver, and the place where its checkpoint is kept.
//
// The checkpoint is kept before the first message is handed out, so that a crash cannot move the beginning; then each
// second, when a batch is acknowledged, and at the end, whatever the end is.

import { drop, load, plain } from "./component.js";
import { Driver } from "./driver.js";
import { KinesisReaderError, componentError } from "./errors.js";
import { configure, optionsOf, sourceOf } from "./options.js";
import { Transport, posting } from "./transport.js";

/** What a crash may cost to read again. */
const UNSAFE_TIME_MAX_MS = 1000;

/** Bytes of bad records that are handed on at a time. */
const REJECTS_SIZE = 1 << 20;

/** States of a shard from which it goes on without the consumer. */
const AT_WORK = new Set(["seeking", "sought", "ready", "reading", "ending"]);

export class Session {
  #options;
  #platform;
  #partial;
  #component;
  #reader;
  #driver;
  #state;
  #kept;
  #saving = Promise.resolve();
  #timer;
  #error;
  #begun = false;
  #closing;
  #last = { checkpoint: undefined, shards: [], totals: undefined };

  /**
   * @param {object} options  as the user gave them
   * @param {object} platform  what differs between Node, browsers and the edge
   * @param {(component: object, checkpoint: string) => string} partial  moves a checkpoint past what was taken of a
   *   batch that is not reported
   */
  constructor(options, platform, partial = (_, checkpoint) => checkpoint) {
    this.#options = optionsOf(options);
    this.#platform = platform;
    this.#partial = partial;
  }

  /** Opens the reader. Whatever throws here, nothing was sent. */
  async open() {
    const { signal, onNotice = warn } = this.#options;
    signal?.throwIfAborted();
    const source = sourceOf(this.#options);
    const now = Date.now();
    this.#component = await load(this.#platform.coreModule);
    const config = configure(this.#component.defaults(source), this.#options, now);
    const { url, region, credentials, headers } = await this.#platform.connect(this.#options);
    const { fetch } = this.#options;
    const post = fetch === undefined ? this.#platform.post : posting(fetch);
    const transport = new Transport({ url, region, credentials, headers, post });
    await transport.prepare();
    this.#state = await this.#openState();
    this.#kept = checkpointOf(await this.#state?.load());
    const seed = crypto.getRandomValues(new BigUint64Array(1))[0];
    this.#reader = called(() => this.#component.Reader.open(config, this.#kept, seed, Driver.now(), BigInt(now)));
    signal?.addEventListener("abort", this.#onAbort);
    signal?.throwIfAborted();
    this.#driver = new Driver(this.#reader, transport, onNotice);
    this.#timer = setInterval(() => this.save().catch((thrown) => this.#fail(thrown)), UNSAFE_TIME_MAX_MS);
    this.#timer.unref?.();
  }

  /** The next batch; undefined at the end. */
  async take() {
    for (;;) {
      this.check();
      if (this.#closing) return undefined;
      if (!this.#begun && this.#driver.isReady) {
        this.#begun = true;
        await this.save();
        continue;
      }
      const batch = this.#driver.take();
      if (batch) return (await this.#toldOfBadRecords(batch)) ? batch : undefined;
      if (this.#driver.outcome) return undefined;
      await this.#driver.ready();
    }
  }

  /** Hands on what of a batch is not as `payload` asks; false if the reading was closed meanwhile. */
  async #toldOfBadRecords(batch) {
    const { onBadRecords } = this.#options;
    if (onBadRecords === undefined) return true;
    const count = batch.count();
    for (let at = 0; at < count && !this.#closing; ) {
      const { text, next } = batch.rejects(at, REJECTS_SIZE);
      if (text !== "") await onBadRecords(text);
      at = next;
    }
    return !this.#closing;
  }

  /** Throws what ended the reading from outside: its signal, or a checkpoint that could not be kept. */
  check() {
    if (this.#error !== undefined) throw this.#error;
  }

  get isInterrupted() {
    return this.#error !== undefined;
  }

  /** Whether the next batch is there, or the end is. */
  get isReady() {
    return this.#driver.isReady;
  }

  /** Whether nothing can come before a batch that is out is acknowledged. */
  get isStarved() {
    const states = this.shards().map(({ state }) => state);
    return this.#driver?.waitReason === "delivery"
      || (states.includes("delivering") && !states.some((state) => AT_WORK.has(state)));
  }

  /** Tells the reader that a batch is done with, and gives it back. */
  delivered(batch) {
    if (this.#closing) {
      throw new KinesisReaderError("ended", "the reading has ended, and this batch with it", {
        hint: "acknowledge batches before leaving the loop; this one comes again in the next run",
      });
    }
    const id = batch.id();
    drop(batch);
    this.#driver.delivered(id);
  }

  notice(notice) {
    (this.#options.onNotice ?? warn)(notice);
  }

  stop() {
    this.#driver?.stop();
  }

  /** Keeps the checkpoint as it is now. One save at a time, in the order in which they were asked for. */
  save() {
    const saved = this.#saving.then(() => this.#save());
    this.#saving = saved.catch(() => {});
    return saved;
  }

  /** Ends everything, after what was acknowledged has been kept. */
  close() {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  checkpoint() {
    return this.#reader ? this.#partial(this.#component, this.#reader.checkpoint()) : this.#last.checkpoint;
  }

  shards() {
    return this.#reader ? plain(this.#reader.shards()) : this.#last.shards;
  }

  totals() {
    return this.#reader ? plain(this.#reader.totals()) : this.#last.totals;
  }

  outcome() {
    return this.#driver?.outcome?.tag;
  }

  async #openState() {
    const { state } = this.#options;
    if (state === undefined || state === null) return undefined;
    if (typeof state === "object" && typeof state.load === "function" && typeof state.save === "function") return state;
    return this.#platform.state(state);
  }

  async #save() {
    if (!this.#state || !this.#reader || this.#reader.revision() === 0n) return;
    const checkpoint = this.checkpoint();
    if (checkpoint === this.#kept) return;
    await this.#state.save(checkpoint);
    this.#kept = checkpoint;
  }

  async #close() {
    clearInterval(this.#timer);
    this.#options.signal?.removeEventListener("abort", this.#onAbort);
    this.#driver?.close();
    try {
      await this.save();
    } finally {
      this.#release();
    }
  }

  #release() {
    if (!this.#reader) return;
    try {
      this.#last = { checkpoint: this.checkpoint(), shards: this.shards(), totals: this.totals() };
      drop(this.#reader);
    } catch {
      // A component that trapped says nothing any more, and its memory goes with its instance.
    }
    this.#reader = undefined;
    this.#component = undefined;
  }

  #fail(thrown) {
    this.#error ??= thrown;
    this.#driver?.wake();
  }

  #onAbort = () => this.#fail(this.#options.signal.reason);
}

function called(call) {
  try {
    return call();
  } catch (thrown) {
    throw componentError(thrown);
  }
}

function checkpointOf(loaded) {
  if (loaded === undefined || loaded === null) return undefined;
  if (typeof loaded === "string") return loaded;
  throw new KinesisReaderError("state", `state: load() gave no text: ${typeof loaded}`, {
    hint: "let load() give what save(text) was given, and undefined the first time",
  });
}

/** What nobody asked to be told of, and should know all the same. */
function warn({ kind, message }) {
  if (kind === "lost" || kind === "unacknowledged") console.warn(`kinesis-reader: ${message}`);
}
