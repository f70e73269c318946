// The loop: poll the reader, start what it asks for, and tell it what happened, at once, also while the consumer is at
// work on what it has. Batches wait here, as many as `limits.batches` lets out; nothing counts as delivered before the
// consumer says so.

import { plain } from "./component.js";
import { KinesisReaderError, inWords, gapInWords, serviceError } from "./errors.js";
import { escaped } from "./printable.js";

/** What a timer can hold. */
const SLEEP_MAX_MS = 0x7fff_ffff;

/** Actions that the reader may return before it waits. It has a notice for each shard, and requests for some. */
const ACTIONS_MAX = 1_000_000;

export class Driver {
  #component;
  #reader;
  #transport;
  #onNotice;
  #batches = [];
  #flights = new Set();
  #timer;
  #wake = () => {};
  #waiting;
  /** What ended it, wrapped because any value can be thrown, even undefined. */
  #failure;
  #closed = false;
  /** How it ended. */
  outcome;

  constructor(component, reader, transport, onNotice) {
    this.#component = component;
    this.#reader = reader;
    this.#transport = transport;
    this.#onNotice = onNotice;
    this.#input(() => {});
  }

  /** Milliseconds on the clock that the reader is told of. */
  static now() {
    return BigInt(Math.floor(performance.now()));
  }

  /** Whether there is something to take without waiting. */
  get isReady() {
    return this.#batches.length > 0 || this.outcome !== undefined || this.#failure !== undefined || this.#closed;
  }

  /** What the reader waits for. */
  get waitReason() {
    return this.#waiting?.reason;
  }

  /** Resolves once there is something to take. */
  ready() {
    return this.isReady ? Promise.resolve() : new Promise((resolve) => (this.#wake = resolve));
  }

  /** The next batch; undefined at the end, or where there is none yet. Throws what ended the reader. */
  take() {
    if (this.#failure !== undefined) throw this.#failure.thrown;
    return this.#batches.shift();
  }

  delivered(id) {
    this.#input(() => this.#reader.handleDelivered(id, Driver.now()));
    if (this.#failure !== undefined) throw this.#failure.thrown;
  }

  stop() {
    this.#input(() => this.#reader.stop(Driver.now()));
  }

  /** Wakes who waits, to look at something that the driver does not know of. */
  wake() {
    this.#wake();
  }

  /** Ends everything that is on its way. */
  close() {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#timer);
    for (const flight of this.#flights) flight.abort();
    this.#wake();
  }

  #input(tell) {
    if (this.#closed || this.#failure !== undefined) return;
    try {
      this.#component.call(tell);
      this.#pump();
    } catch (thrown) {
      this.#fail(thrown);
    }
    if (this.isReady) this.#wake();
  }

  #fail(thrown) {
    this.#failure ??= { thrown };
    this.#wake();
  }

  #pump() {
    for (let actions = 0; actions < ACTIONS_MAX; actions += 1) {
      const { tag, val } = this.#component.call(() => this.#reader.poll());
      switch (tag) {
        case "send":
          this.#launch(val);
          break;
        case "deliver":
          this.#batches.push(val);
          break;
        case "notice":
          this.#notify(val);
          break;
        case "wait":
          this.#waiting = val;
          // A notice handler may have called back into the driver and set it.
          clearTimeout(this.#timer);
          if (val.until !== undefined) {
            const pause = Math.min(Number(val.until - Driver.now()) + 1, SLEEP_MAX_MS);
            this.#timer = setTimeout(() => this.#input(() => this.#reader.handleTimeout(Driver.now())), Math.max(pause, 0));
          }
          return;
        case "finish":
          this.outcome = plain(val);
          if (val.tag === "failed") this.#fail(serviceError(plain(val.val)));
          return;
      }
    }
    throw new KinesisReaderError("component", `the component returned more than ${ACTIONS_MAX} actions without waiting`);
  }

  #launch({ id, target, body, deadline }) {
    const flight = new AbortController();
    const late = setTimeout(() => flight.abort(), Math.max(Number(deadline - Driver.now()), 0));
    this.#flights.add(flight);
    const land = (tell) => {
      clearTimeout(late);
      this.#flights.delete(flight);
      this.#input(tell);
    };
    this.#transport.send({ target, body }, flight.signal).then(
      (response) => land(() => this.#reader.handleResponse(id, response, Driver.now())),
      (failure) => land(() => this.#reader.handleFailure(id, failure, Driver.now())),
    );
  }

  #notify({ tag, val }) {
    // The component calls a gap `lost`.
    const kind = tag === "lost" ? "gap" : tag;
    const about = plain(val);
    try {
      const told = this.#onNotice({ kind, message: escaped(noticeInWords(kind, about)), ...about });
      // An unhandled rejection would end the process.
      if (typeof told?.then === "function") told.then(undefined, (thrown) => this.#fail(thrown));
    } catch (thrown) {
      // The consumer's own error, which it gets back as it is.
      this.#fail(thrown);
    }
  }
}

function noticeInWords(kind, about) {
  switch (kind) {
    case "gap":
      return gapInWords(about);
    case "retry":
      return inWords(about);
    case "shard":
      return `${about.shard}: ${about.state}`;
    default:
      return kind;
  }
}
