// A reader that is open: its component, its driver, and the place where its checkpoint is kept.
//
// The checkpoint is kept before the first message is handed out, so that a crash cannot move the beginning; then each
// second, when a batch is acknowledged, and at the end, whatever the end is, except a trap of the component.

import { Component, drop, plain } from "./component.js";
import { Driver } from "./driver.js";
import { KinesisReaderError } from "./errors.js";
import { posting } from "./fetch.js";
import { configure, optionsOf, sourceOf } from "./options.js";
import { Transport } from "./transport.js";

/** What a crash may cost to read again. */
const UNSAFE_TIME_MAX_MS = 1000;

/** Bytes of invalid records that are handed on at a time. */
const INVALID_SIZE = 1 << 20;

/** Rejects whatever is awaited when the reading is closed. */
const CLOSED = Symbol("closed");

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
  #savesOut = 0;
  #timer;
  /** What ended it from outside, wrapped because any value can be thrown, even undefined. */
  #error;
  /** Functions that interrupt what is awaited. */
  #waiting = new Set();
  #opening;
  #stopped = false;
  #isLocked = false;
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

  /** Opens the reader; false if it was closed meanwhile. If this throws, nothing was sent. */
  open() {
    this.#opening ??= this.#open().then(() => true, (thrown) => {
      if (thrown === CLOSED) return false;
      throw thrown;
    });
    return this.#opening;
  }

  async #open() {
    const { signal, onNotice = warn } = this.#options;
    signal?.throwIfAborted();
    signal?.addEventListener("abort", this.#onAbort);
    const source = sourceOf(this.#options);
    // The component has no times before 1970.
    const now = Math.max(Date.now(), 0);
    this.#component = await this.#unlessInterrupted(Component.load(this.#platform.coreModule));
    const config = configure(this.#component.call((reading) => reading.defaults(source)), this.#options, now);
    const { url, region, credentials, headers } = await this.#unlessInterrupted(this.#platform.connect(this.#options));
    const { fetch } = this.#options;
    const post = fetch === undefined ? this.#platform.post : posting(fetch);
    const transport = new Transport({ url, region, credentials, headers, post });
    await this.#unlessInterrupted(transport.prepare());
    this.#state = await this.#openState();
    // Not interruptible, so that we know whether there is a lock to release.
    await this.#state?.lock?.();
    this.#isLocked = true;
    this.#kept = checkpointOf(await this.#unlessInterrupted(this.#state?.load()));
    const seed = crypto.getRandomValues(new BigUint64Array(1))[0];
    this.#reader = this.call(({ Reader }) => Reader.open(config, this.#kept, seed, Driver.now(), BigInt(now)));
    this.check();
    if (this.#closing) throw CLOSED;
    this.#driver = new Driver(this.#component, this.#reader, transport, onNotice);
    if (this.#stopped) this.#driver.stop();
    this.#timer = setInterval(() => this.#saveInTime(), UNSAFE_TIME_MAX_MS);
    this.#timer.unref?.();
  }

  /** Awaits a promise, unless the reading is aborted or closed first. */
  async #unlessInterrupted(promise) {
    let interrupt;
    const interrupted = new Promise((_, reject) => (interrupt = reject));
    this.#waiting.add(interrupt);
    if (this.#closing || this.#error !== undefined) interrupt(CLOSED);
    try {
      return await Promise.race([promise, interrupted]);
    } catch (thrown) {
      // The reason of an abort comes before everything else.
      this.check();
      throw this.#closing ? CLOSED : thrown;
    } finally {
      this.#waiting.delete(interrupt);
    }
  }

  /** Interrupts what is awaited. */
  #interrupt() {
    for (const interrupt of this.#waiting) interrupt(CLOSED);
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
      if (batch) return (await this.#toldOfInvalidRecords(batch)) ? batch : undefined;
      if (this.#driver.outcome) return undefined;
      await this.#driver.ready();
    }
  }

  /** Hands on what of a batch is not as `payload` asks; false if the reading was closed meanwhile. */
  async #toldOfInvalidRecords(batch) {
    const { onInvalidRecords } = this.#options;
    if (onInvalidRecords === undefined) return true;
    const count = this.call(() => batch.count());
    try {
      for (let at = 0; at < count; ) {
        const { text, next } = this.call(() => batch.rejects(at, INVALID_SIZE));
        at = further(at, next);
        if (text !== "") await this.#unlessInterrupted(onInvalidRecords(text));
      }
    } catch (thrown) {
      if (thrown === CLOSED) return false;
      throw thrown;
    }
    return !this.#closing;
  }

  /** Throws what ended the reading from outside: its signal, or a checkpoint that could not be kept. */
  check() {
    if (this.#error !== undefined) throw this.#error.thrown;
  }

  get isInterrupted() {
    return this.#error !== undefined;
  }

  /** Whether the next batch is there, or the end is. */
  get isReady() {
    return this.#driver.isReady;
  }

  /** Tells the reader that a batch is done with, and gives it back. */
  delivered(batch) {
    if (this.#closing) {
      throw new KinesisReaderError("ended", "the reading has ended, and this batch with it", {
        hint: "acknowledge batches before leaving the loop; this one comes again in the next run",
      });
    }
    const id = this.call(() => batch.id());
    this.call(() => drop(batch));
    this.#driver.delivered(id);
  }

  /** The component, for batches that outlive the reading. */
  get component() {
    return this.#component;
  }

  /** Calls the component. */
  call(work) {
    return this.#component.call(work);
  }

  /** Whether nothing can come before a batch is acknowledged. */
  get #isStarved() {
    const states = this.shards().map(({ state }) => state);
    return this.#driver?.waitReason === "delivery"
      || (states.includes("delivering") && !states.some((state) => AT_WORK.has(state)));
  }

  /** Warns a consumer that waits for a batch but has not acknowledged others. */
  async warnIfStarved() {
    try {
      if (!this.#isStarved) return;
      const message = "every shard waits for the ack() of a batch: nothing more can come before";
      await (this.#options.onNotice ?? warn)({ kind: "unacknowledged", message });
    } catch (thrown) {
      this.#fail(thrown);
    }
  }

  stop() {
    this.#stopped = true;
    this.#driver?.stop();
  }

  /** Keeps the checkpoint as it is now. One save at a time, in the order in which they were asked for. */
  save() {
    this.#savesOut += 1;
    const saved = this.#saving.then(() => this.#save()).finally(() => (this.#savesOut -= 1));
    this.#saving = saved.catch(() => {});
    return saved;
  }

  /** Saves, unless a state that is slow has not done with the last save. */
  #saveInTime() {
    if (this.#savesOut === 0) this.save().catch((thrown) => this.#fail(thrown));
  }

  /** Ends everything, after what was acknowledged has been kept. */
  close() {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  checkpoint() {
    return this.#isOpen ? this.#partial(this.#component, this.call(() => this.#reader.checkpoint())) : this.#last.checkpoint ?? this.#kept;
  }

  shards() {
    return this.#isOpen ? plain(this.call(() => this.#reader.shards())) : this.#last.shards;
  }

  totals() {
    return this.#isOpen ? plain(this.call(() => this.#reader.totals())) : this.#last.totals;
  }

  /** Whether the reader can be called. */
  get #isOpen() {
    return this.#reader !== undefined && this.#component.isSound;
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
    if (!this.#state || !this.#isOpen || this.call(() => this.#reader.revision()) === 0n) return;
    const checkpoint = this.checkpoint();
    if (checkpoint === this.#kept) return;
    await this.#state.save(checkpoint);
    this.#kept = checkpoint;
  }

  async #close() {
    this.#interrupt();
    // Opening must be over, or it would go on after we closed.
    await this.#opening?.catch(() => {});
    clearInterval(this.#timer);
    this.#options.signal?.removeEventListener("abort", this.#onAbort);
    this.#driver?.close();
    try {
      await this.save();
    } finally {
      this.#release();
      if (this.#isLocked) await this.#state?.unlock?.();
    }
  }

  #release() {
    if (this.#isOpen) {
      try {
        this.#last = { checkpoint: this.checkpoint(), shards: this.shards(), totals: this.totals() };
        this.call(() => drop(this.#reader));
      } catch {
        // It trapped. Its memory is freed with the instance.
      }
    }
    this.#reader = undefined;
    this.#component = undefined;
  }

  #fail(thrown) {
    this.#error ??= { thrown };
    this.#interrupt();
    // The consumer may not call us for a while; send no more requests meanwhile.
    this.#driver?.stop();
    this.#driver?.wake();
  }

  #onAbort = () => this.#fail(this.#options.signal.reason);
}

/** The next position in a batch. One that does not advance would loop for ever. */
export function further(at, next) {
  if (next > at) return next;
  throw new KinesisReaderError("component", `the component does not advance in a batch: ${next} after ${at}`);
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
  if (kind === "gap" || kind === "unacknowledged") console.warn(`kinesis-reader: ${message}`);
}
