// What a consumer holds: the messages of a stream, or its batches, as something to iterate over.

import { KinesisReaderError } from "./errors.js";
import { Session, further } from "./session.js";
import { parsed } from "./text.js";

/** Lines are taken across in pieces of this size: small enough that what is made of one is gone before the next. */
const PIECE_SIZE = 1 << 17;

/** Records that one call returns. */
const RECORDS_AT_ONCE = 1000;

/** The last time that a `Date` can hold. */
const DATE_MAX = 8.64e15;

/** How long a consumer may wait for what cannot come before it is told so. */
const STARVED_MS = 10_000;

/** What both ways of reading have in common: an async iterator that is closed once, whatever ends it. */
class Reading {
  #session;
  #tail = Promise.resolve();
  #ended = false;
  #pending = 0;

  constructor(session) {
    this.#session = session;
  }

  [Symbol.asyncIterator]() {
    return this;
  }

  /** Ends the reading. What was acknowledged is kept. */
  return(value) {
    const ended = this.#ended;
    this.#ended = true;
    // Whoever waits for more is told that there is none.
    this.#session.close().catch(() => {});
    return this.#after(async () => {
      if (!ended) await this.#session.close();
      return { value, done: true };
    });
  }

  async throw(thrown) {
    await this.return();
    throw thrown;
  }

  async [Symbol.asyncDispose ?? Symbol.for("asyncDispose")]() {
    await this.return();
  }

  /** Asks for no more pages. What is here still comes, and then the end. */
  stop() {
    this.#session.stop();
  }

  /** The checkpoint as it would be kept now: JSON text. */
  checkpoint() {
    return this.#session.checkpoint();
  }

  /** Every shard known. */
  shards() {
    return this.#session.shards();
  }

  /** What was done since the beginning. */
  totals() {
    return this.#session.totals();
  }

  /** How it ended. */
  get outcome() {
    return this.#session.outcome();
  }

  get session() {
    return this.#session;
  }

  /** Whether a call is at work, so that the next one has to wait for it. */
  get isBusy() {
    return this.#pending > 0;
  }

  /** Runs one step of the iteration after those before it; a step that gives `undefined`, or throws, is the last. */
  step(step) {
    return this.#after(async () => {
      if (this.#ended) return { value: undefined, done: true };
      try {
        const value = (await this.#session.open()) ? await step() : undefined;
        if (value !== undefined) return { value, done: false };
      } catch (thrown) {
        this.#ended = true;
        // What was acknowledged is kept if it can be; what went wrong first is what is told.
        await this.#session.close().catch(() => {});
        throw thrown;
      }
      this.#ended = true;
      await this.#session.close();
      return { value: undefined, done: true };
    });
  }

  #after(work) {
    this.#pending += 1;
    const done = this.#tail.then(work).finally(() => (this.#pending -= 1));
    this.#tail = done.catch(() => {});
    return done;
  }
}

/**
 * The messages of a stream, one by one. A message is acknowledged when the next one is asked for: the one in hand when
 * the loop is left, by `break` as by an error, comes again in the next run.
 */
export class Messages extends Reading {
  #batch;
  #count = 0;
  /** The messages of the current piece, of which `#at` were given out, and `#before` that came before it. */
  #piece = [];
  #at = 0;
  #before = 0;
  /** One while the consumer has a message in hand. */
  #held = 0;

  constructor(options, platform) {
    super(new Session(options, platform, (component, checkpoint) => this.#partial(component, checkpoint)));
  }

  next() {
    // The usual path: the next message is here.
    if (this.#at < this.#piece.length && !this.isBusy && !this.session.isInterrupted) {
      return Promise.resolve({ value: this.#piece[this.#at++], done: false });
    }
    return this.step(() => this.#more());
  }

  return(value) {
    this.#piece = this.#piece.slice(0, this.#at);
    return super.return(value);
  }

  async #more() {
    this.#held = 0;
    this.session.check();
    if (this.#at >= this.#piece.length && !(await this.#advance())) return undefined;
    this.#held = 1;
    return this.#piece[this.#at++];
  }

  /** Goes on to the next piece, of this batch or the next one; false where there is none. */
  async #advance() {
    const session = this.session;
    if (this.#batch && this.#before + this.#piece.length >= this.#count) {
      const batch = this.#batch;
      this.#batch = undefined;
      this.#piece = [];
      session.delivered(batch);
      // So that requests and timers get their turn, however fast the consumer is.
      if (session.isReady) await turn();
    }
    if (this.#batch) {
      this.#before += this.#piece.length;
    } else {
      this.#batch = await session.take();
      if (!this.#batch) return false;
      this.#before = 0;
      this.#count = session.call(() => this.#batch.count());
    }
    this.#at = 0;
    this.#piece = parsed(() => session.call(() => this.#batch.lines(this.#before, PIECE_SIZE))).text;
    further(0, this.#piece.length);
    return true;
  }

  #partial(component, checkpoint) {
    const acknowledged = this.#before + this.#at - this.#held;
    if (!this.#batch || acknowledged === 0) return checkpoint;
    const [[{ sequence, subsequence }], own, shard] = component.call(() => [
      this.#batch.messages(acknowledged - 1, 1), this.#batch.checkpoint(), this.#batch.shard(),
    ]);
    const place = subsequence === undefined ? { after: sequence } : { after: sequence, sub: subsequence };
    return component.merge(checkpoint, JSON.stringify({ ...JSON.parse(own), shards: { [shard]: place } }));
  }
}

/** The batches of a stream: the messages of one page of one shard each, acknowledged by `ack()`. */
export class Batches extends Reading {
  constructor(options, platform) {
    super(new Session(options, platform));
  }

  next() {
    return this.step(async () => {
      const starved = setTimeout(() => this.session.warnIfStarved(), STARVED_MS);
      try {
        const batch = await this.session.take();
        return batch && new Batch(batch, this.session);
      } finally {
        clearTimeout(starved);
      }
    });
  }
}

/** The messages of one page of one shard, in order. */
class Batch {
  #batch;
  #session;
  #component;
  #acknowledged;
  /** The shard that all the messages are from. */
  shard;
  /** The number of messages. */
  count;
  /** The bytes of data in them. */
  size;
  /** How far the end of the batch is behind the tip of the shard, in milliseconds. */
  behind;

  constructor(batch, session) {
    this.#batch = batch;
    this.#session = session;
    this.#component = session.component;
    this.#component.call(() => {
      this.shard = batch.shard();
      this.count = batch.count();
      this.size = Number(batch.size());
      this.behind = Number(batch.behind());
    });
  }

  get checkpoint() {
    return this.#ask((batch) => batch.checkpoint());
  }

  get lines() {
    const pieces = [...this.pieces()];
    try {
      return pieces.join("");
    } catch (cause) {
      // A RangeError: engines limit the length of strings.
      throw new KinesisReaderError("component", "the lines of the batch do not fit into one string", { hint: "use pieces()", cause });
    }
  }

  *pieces(size = PIECE_SIZE) {
    for (let at = 0; at < this.count; ) {
      const { text, count } = this.#ask((batch) => batch.lines(at, size));
      at = further(at, at + count);
      yield text;
    }
  }

  *messages() {
    for (let at = 0; at < this.count; ) {
      const { text: messages, count } = parsed(() => this.#ask((batch) => batch.lines(at, PIECE_SIZE)));
      at = further(at, at + count);
      yield* messages;
    }
  }

  records() {
    const records = [];
    // In pieces, so that the component does not hold a second copy of them all.
    while (records.length < this.count) {
      const at = records.length;
      const some = this.#ask((batch) => batch.messages(at, RECORDS_AT_ONCE));
      further(at, at + some.length);
      for (const { arrived, ...record } of some) records.push({ ...record, arrived: dateOf(arrived) });
    }
    return records;
  }

  /** Tells that the messages are done with, and resolves once the checkpoint behind them is kept. */
  ack() {
    this.#acknowledged ??= this.#ack();
    return this.#acknowledged;
  }

  async #ack() {
    const batch = this.#held;
    this.#batch = undefined;
    this.#session.delivered(batch);
    await this.#session.save();
  }

  #ask(ask) {
    const batch = this.#held;
    return this.#component.call(() => ask(batch));
  }

  get #held() {
    if (this.#batch) return this.#batch;
    throw new KinesisReaderError("ended", "the batch is acknowledged, and what it held is gone", {
      hint: "take lines, messages and checkpoint before ack()",
    });
  }
}

function dateOf(milliseconds) {
  return new Date(Math.min(Number(milliseconds), DATE_MAX));
}

const turn = typeof setImmediate === "function"
  ? () => new Promise((resolve) => setImmediate(resolve))
  : () => new Promise((resolve) => setTimeout(resolve));
