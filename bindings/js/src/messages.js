// The run that `read` returns: the messages of a stream, one by one.

import { advance } from "./component.js";
import { Run } from "./run.js";
import { Session } from "./session.js";
import { parsed } from "./text.js";

/** The bytes of lines to take from the component at a time: few enough that their objects die young. */
export const PIECE_SIZE = 1 << 17;

/**
 * Calling `next` acknowledges the previous message. The message that the consumer holds when it leaves the loop, by `break`
 * or by an error, is not acknowledged, and is delivered again by the next run.
 */
export class Messages extends Run {
  #batch;
  /** The number of messages in the batch. */
  #count = 0;
  /** Some messages of the batch, parsed. */
  #piece = [];
  /** The number of messages of the batch before the piece. */
  #before = 0;
  /** The number of messages of the piece that were returned. */
  #at = 0;
  /** 1 while the consumer holds a message, else 0. */
  #held = 0;

  constructor(options, platform) {
    super(new Session(options, platform, (component, checkpoint) => this.#moved(component, checkpoint)));
  }

  next() {
    // The fast path: the next message is at hand.
    if (this.#at < this.#piece.length && !this.isBusy && !this.session.isInterrupted) {
      return Promise.resolve({ value: this.#piece[this.#at++], done: false });
    }
    return this.step(() => this.#next());
  }

  return(value) {
    this.#piece = this.#piece.slice(0, this.#at);
    return super.return(value);
  }

  async #next() {
    this.#held = 0;
    this.session.check();
    if (this.#at >= this.#piece.length && !(await this.#nextPiece())) return undefined;
    this.#held = 1;
    return this.#piece[this.#at++];
  }

  /** Takes the next piece, of this batch or the next one. Returns false at the end. */
  async #nextPiece() {
    const session = this.session;
    if (this.#batch && this.#before + this.#piece.length >= this.#count) {
      const batch = this.#batch;
      this.#batch = undefined;
      this.#piece = [];
      session.delivered(batch);
      // Lets requests and timers run, however fast the consumer is.
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
    advance(0, this.#piece.length);
    return true;
  }

  /** Moves a checkpoint past the acknowledged messages of the current batch. */
  #moved(component, checkpoint) {
    const acknowledged = this.#before + this.#at - this.#held;
    if (!this.#batch || acknowledged === 0) return checkpoint;
    const [[{ sequence, subsequence }], own, shard] = component.call(() => [
      this.#batch.messages(acknowledged - 1, 1), this.#batch.checkpoint(), this.#batch.shard(),
    ]);
    const position = subsequence === undefined ? { after: sequence } : { after: sequence, sub: subsequence };
    return component.merge(checkpoint, JSON.stringify({ ...JSON.parse(own), shards: { [shard]: position } }));
  }
}

const turn = typeof setImmediate === "function"
  ? () => new Promise((resolve) => setImmediate(resolve))
  : () => new Promise((resolve) => setTimeout(resolve));
