// The messages of a stream, one by one.

import { Reading } from "./reading.js";
import { Session, further } from "./session.js";
import { parsed } from "./text.js";

/** Lines are taken across in pieces of this size: small enough that what is made of one is gone before the next. */
export const PIECE_SIZE = 1 << 17;

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

const turn = typeof setImmediate === "function"
  ? () => new Promise((resolve) => setImmediate(resolve))
  : () => new Promise((resolve) => setTimeout(resolve));
