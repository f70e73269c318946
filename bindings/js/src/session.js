// A run in progress: its component, its driver and its state.
//
// The checkpoint is saved before the first message is delivered, so that a crash cannot move the start; then every second,
// when a batch is acknowledged, and at the end, except after a trap of the component.

import { Component, advance, drop, plain } from "./component.js";
import { Driver } from "./driver.js";
import { KinesisReaderError } from "./errors.js";
import { fetchPost } from "./fetch.js";
import { checkedOptions, configure, sourceOf } from "./options.js";
import { Transport } from "./transport.js";

/** How much acknowledged work a crash may repeat. */
const SAVE_INTERVAL_MS = 1000;

/** The bytes of invalid records to pass on at a time. */
const INVALID_SIZE = 1 << 20;

/** Thrown by what is awaited when the run is closed. */
const CLOSED = Symbol("closed");

/** The states of a shard that is read on without an acknowledgement. */
const ACTIVE = new Set(["seeking", "sought", "ready", "reading", "ending"]);

export class Session {
  #options;
  #platform;
  #moved;
  #component;
  #reader;
  #driver;
  #state;
  /** The checkpoint that was last loaded or saved. */
  #saved;
  #saving = Promise.resolve();
  #pendingSaves = 0;
  #timer;
  /** An abort or a failed save, wrapped because any value can be thrown, even undefined. */
  #failure;
  /** Functions that interrupt what is awaited. */
  #interrupts = new Set();
  #opening;
  #isStopped = false;
  #isLocked = false;
  /** Whether the checkpoint was saved before the first message. */
  #isStartSaved = false;
  #closing;
  #last = { checkpoint: undefined, shards: [], totals: undefined };

  /**
   * @param {object} options  the user's options
   * @param {import("./bind.js").Platform} platform
   * @param {(component: Component, checkpoint: string) => string} moved  moves a checkpoint past acknowledged messages that
   *   the reader does not know about
   */
  constructor(options, platform, moved = (_, checkpoint) => checkpoint) {
    this.#options = checkedOptions(options);
    this.#platform = platform;
    this.#moved = moved;
  }

  /** Opens the reader. Returns false if the run was closed meanwhile. If this throws, nothing was sent. */
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
    // Timestamps have no sign.
    const now = Math.max(Date.now(), 0);
    this.#component = await this.#interruptible(Component.load(this.#platform.coreModule));
    const config = configure(this.#component.call((reading) => reading.defaults(source)), this.#options, now);
    const transport = await this.#connect();
    this.#state = this.#openState();
    // Not interruptible, so that we know whether there is a lock to release.
    await this.#state?.lock?.();
    this.#isLocked = true;
    this.#saved = checkedCheckpoint(await this.#interruptible(this.#state?.load()));
    const seed = crypto.getRandomValues(new BigUint64Array(1))[0];
    this.#reader = this.call(({ Reader }) => Reader.open(config, this.#saved, seed, Driver.now(), BigInt(now)));
    this.check();
    if (this.#closing) throw CLOSED;
    this.#driver = new Driver(this.#component, this.#reader, transport, onNotice);
    if (this.#isStopped) this.#driver.stop();
    this.#timer = setInterval(() => this.#saveRegularly(), SAVE_INTERVAL_MS);
    this.#timer.unref?.();
  }

  async #connect() {
    const { url, region, credentials, headers } = await this.#interruptible(this.#platform.connect(this.#options));
    const { fetch } = this.#options;
    const post = fetch === undefined ? this.#platform.post : fetchPost(fetch);
    const transport = new Transport({ url, region, credentials, headers, post });
    await this.#interruptible(transport.prepare());
    return transport;
  }

  #openState() {
    const { state } = this.#options;
    if (state === undefined || state === null) return undefined;
    if (typeof state === "object" && typeof state.load === "function" && typeof state.save === "function") return state;
    return this.#platform.state(state);
  }

  /** Awaits a promise, unless the run is aborted or closed first. */
  async #interruptible(promise) {
    let interrupt;
    const interrupted = new Promise((_, reject) => (interrupt = reject));
    this.#interrupts.add(interrupt);
    if (this.#closing || this.#failure !== undefined) interrupt(CLOSED);
    try {
      return await Promise.race([promise, interrupted]);
    } catch (thrown) {
      // An abort takes precedence.
      this.check();
      throw this.#closing ? CLOSED : thrown;
    } finally {
      this.#interrupts.delete(interrupt);
    }
  }

  #interrupt() {
    for (const interrupt of this.#interrupts) interrupt(CLOSED);
  }

  /** Returns the next batch, or undefined at the end. */
  async take() {
    for (;;) {
      this.check();
      if (this.#closing) return undefined;
      if (!this.#isStartSaved && this.#driver.isReady) {
        this.#isStartSaved = true;
        await this.save();
        continue;
      }
      const batch = this.#driver.take();
      if (batch) return (await this.#passInvalidRecords(batch)) ? batch : undefined;
      if (this.#driver.outcome) return undefined;
      await this.#driver.ready();
    }
  }

  /** Passes the invalid records of a batch to `onInvalidRecords`. Returns false if the run was closed meanwhile. */
  async #passInvalidRecords(batch) {
    const { onInvalidRecords } = this.#options;
    if (onInvalidRecords === undefined) return true;
    const count = this.call(() => batch.count());
    try {
      for (let at = 0; at < count; ) {
        const { text, next } = this.call(() => batch.invalidLines(at, INVALID_SIZE));
        at = advance(at, next);
        if (text !== "") await this.#interruptible(onInvalidRecords(text));
      }
    } catch (thrown) {
      if (thrown === CLOSED) return false;
      throw thrown;
    }
    return !this.#closing;
  }

  /** Throws if the run was aborted or the checkpoint could not be saved. */
  check() {
    if (this.#failure !== undefined) throw this.#failure.thrown;
  }

  get isInterrupted() {
    return this.#failure !== undefined;
  }

  /** Whether `take` would return at once. */
  get isReady() {
    return this.#driver.isReady;
  }

  /** Reports to the reader that a batch was delivered, and releases it. */
  delivered(batch) {
    if (this.#closing) {
      throw new KinesisReaderError("ended", "the batch can no longer be acknowledged: the run has ended", {
        hint: "acknowledge batches before you leave the loop; the next run delivers this one again",
      });
    }
    const id = this.call(() => batch.id());
    this.call(() => drop(batch));
    this.#driver.delivered(id);
  }

  /** For batches that are used after the run has ended. */
  get component() {
    return this.#component;
  }

  call(work) {
    return this.#component.call(work);
  }

  /** Whether the reader can do nothing until a batch is acknowledged. */
  get #isStarved() {
    const states = this.shards().map(({ state }) => state);
    return this.#driver?.waitReason === "delivery"
      || (states.includes("delivering") && !states.some((state) => ACTIVE.has(state)));
  }

  /** Warns a consumer that waits for a batch without acknowledging the ones it has. */
  async warnIfStarved() {
    try {
      if (!this.#isStarved) return;
      const message = "no more batches can arrive until one is acknowledged with ack()";
      await (this.#options.onNotice ?? warn)({ kind: "unacknowledged", message });
    } catch (thrown) {
      this.#fail(thrown);
    }
  }

  stop() {
    this.#isStopped = true;
    this.#driver?.stop();
  }

  /** Saves the current checkpoint, after all saves before. */
  save() {
    this.#pendingSaves += 1;
    const saved = this.#saving.then(() => this.#save()).finally(() => (this.#pendingSaves -= 1));
    this.#saving = saved.catch(() => {});
    return saved;
  }

  async #save() {
    if (!this.#state || !this.#isOpen || this.call(() => this.#reader.revision()) === 0n) return;
    const checkpoint = this.checkpoint();
    if (checkpoint === this.#saved) return;
    await this.#state.save(checkpoint);
    this.#saved = checkpoint;
  }

  /** Saves, unless a slow state is still busy. */
  #saveRegularly() {
    if (this.#pendingSaves === 0) this.save().catch((thrown) => this.#fail(thrown));
  }

  checkpoint() {
    if (!this.#isOpen) return this.#last.checkpoint ?? this.#saved;
    return this.#moved(this.#component, this.call(() => this.#reader.checkpoint()));
  }

  shards() {
    return this.#isOpen ? plain(this.call(() => this.#reader.shards())) : this.#last.shards;
  }

  totals() {
    return this.#isOpen ? plain(this.call(() => this.#reader.totals())) : this.#last.totals;
  }

  outcome() {
    return this.#driver?.outcome?.tag;
  }

  /** Whether the reader can be called. */
  get #isOpen() {
    return this.#reader !== undefined && this.#component.isSound;
  }

  /** Saves what was acknowledged and releases everything. */
  close() {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close() {
    this.#interrupt();
    // Otherwise it would continue after we have closed.
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
        // A trap. The reader is freed with the instance.
      }
    }
    this.#reader = undefined;
    this.#component = undefined;
  }

  #fail(thrown) {
    this.#failure ??= { thrown };
    this.#interrupt();
    // It may be a while until the consumer calls us and learns of the failure. No requests are sent until then.
    this.#driver?.stop();
    this.#driver?.wake();
  }

  #onAbort = () => this.#fail(this.#options.signal.reason);
}

function checkedCheckpoint(loaded) {
  if (loaded === undefined || loaded === null) return undefined;
  if (typeof loaded === "string") return loaded;
  throw new KinesisReaderError("state", `state: load() did not return a string: ${typeof loaded}`, {
    hint: "return the text that save(text) received, or undefined the first time",
  });
}

/** The default `onNotice`: warns of gaps and of batches that are not acknowledged. */
function warn({ kind, message }) {
  if (kind === "gap" || kind === "unacknowledged") console.warn(`kinesis-reader: ${message}`);
}
