// The run that `readBatches` returns: the batches of a stream, each acknowledged by its `ack()`.

import { advance } from "./component.js";
import { KinesisReaderError } from "./errors.js";
import { PIECE_SIZE } from "./messages.js";
import { Run } from "./run.js";
import { Session } from "./session.js";
import { parsed } from "./text.js";

/** How many bytes of records to take from the component at a time, so that a large page is not copied all at once. */
const RECORDS_SIZE = 1 << 20;

/** The last time that a `Date` can hold. */
const DATE_MAX = 8.64e15;

/** How long a consumer may wait for its own `ack()` before it is warned. */
const STARVED_MS = 10_000;

export class Batches extends Run {
  constructor(options, platform) {
    super(new Session(options, platform));
  }

  next() {
    return this.step(async () => {
      const timer = setTimeout(() => this.session.warnIfStarved(), STARVED_MS);
      try {
        const batch = await this.session.take();
        return batch && new Batch(batch, this.session);
      } finally {
        clearTimeout(timer);
      }
    });
  }
}

class Batch {
  #batch;
  #session;
  #component;
  #acknowledged;
  shard;
  count;
  size;
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
    return this.#call((batch) => batch.checkpoint());
  }

  get lines() {
    const pieces = [...this.pieces()];
    try {
      return pieces.join("");
    } catch (cause) {
      // Engines limit the length of strings.
      throw new KinesisReaderError("component", "the lines of the batch do not fit in one string", { hint: "use pieces()", cause });
    }
  }

  *pieces(size = PIECE_SIZE) {
    for (let at = 0; at < this.count; ) {
      const { text, count } = this.#call((batch) => batch.lines(at, size));
      at = advance(at, at + count);
      yield text;
    }
  }

  *messages() {
    for (let at = 0; at < this.count; ) {
      const { text: messages, count } = parsed(() => this.#call((batch) => batch.lines(at, PIECE_SIZE)));
      at = advance(at, at + count);
      yield* messages;
    }
  }

  records() {
    const records = [];
    while (records.length < this.count) {
      const at = records.length;
      const some = this.#call((batch) => batch.messages(at, RECORDS_SIZE));
      advance(at, at + some.length);
      for (const { arrived, ...record } of some) records.push({ ...record, arrived: toDate(arrived) });
    }
    return records;
  }

  ack() {
    this.#acknowledged ??= this.#ack();
    return this.#acknowledged;
  }

  async #ack() {
    const batch = this.#open;
    this.#batch = undefined;
    this.#session.delivered(batch);
    await this.#session.save();
  }

  #call(work) {
    const batch = this.#open;
    return this.#component.call(() => work(batch));
  }

  /** The component's batch. Throws after `ack()`. */
  get #open() {
    if (this.#batch) return this.#batch;
    throw new KinesisReaderError("ended", "the batch was acknowledged, and its messages are gone", {
      hint: "use lines, messages and checkpoint before ack()",
    });
  }
}

function toDate(timestamp) {
  return new Date(Math.min(Number(timestamp), DATE_MAX));
}
