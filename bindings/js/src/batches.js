// The batches of a stream.

import { KinesisReaderError } from "./errors.js";
import { PIECE_SIZE } from "./messages.js";
import { Reading } from "./reading.js";
import { Session, further } from "./session.js";
import { parsed } from "./text.js";

/** Records that one call returns. */
const RECORDS_AT_ONCE = 1000;

/** The last time that a `Date` can hold. */
const DATE_MAX = 8.64e15;

/** How long a consumer may wait for what cannot come before it is told so. */
const STARVED_MS = 10_000;

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
