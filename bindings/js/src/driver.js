// The loop: poll the reader, start what it asks for, and tell it what happened, at once, also while the consumer is at
// work on what it has. Batches wait here, as many as `limits.batches` lets out; nothing counts as delivered before the
// consumer says so.

import { plain } from "./component.js";
import { componentError, inWords, lostInWords, serviceError } from "./errors.js";

/** What a timer can hold. */
const SLEEP_MAX_MS = 0x7fff_ffff;

export class Driver {
  #reader;
  #transport;
  #onNotice;
  #batches = [];
  #flights = new Set();
  #timer;
  #wake = () => {};
  #waiting;
  #failure;
  #closed = false;
  /** How it ended. */
  outcome;

  constructor(reader, transport, onNotice) {
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
    if (this.#failure !== undefined) throw this.#failure;
    return this.#batches.shift();
  }

  delivered(id) {
    this.#input(() => this.#reader.handleDelivered(id, Driver.now()));
    if (this.#failure !== undefined) throw this.#failure;
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
      tell();
      this.#pump();
    } catch (thrown) {
      this.#failure = componentError(thrown);
    }
    if (this.isReady) this.#wake();
  }

  #pump() {
    clearTimeout(this.#timer);
    for (;;) {
      const { tag, val } = this.#reader.poll();
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
          if (val.until !== undefined) {
            const pause = Math.min(Number(val.until - Driver.now()) + 1, SLEEP_MAX_MS);
            this.#timer = setTimeout(() => this.#input(() => this.#reader.handleTimeout(Driver.now())), Math.max(pause, 0));
          }
          return;
        case "finish":
          this.outcome = plain(val);
          if (val.tag === "failed") this.#failure = serviceError(plain(val.val));
          return;
      }
    }
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
    const about = plain(val);
    try {
      this.#onNotice({ kind: tag, message: noticeInWords(tag, about), ...about });
    } catch (thrown) {
      // The consumer's own error, which it gets back as it is.
      this.#failure ??= thrown;
    }
  }
}

function noticeInWords(kind, about) {
  switch (kind) {
    case "lost":
      return lostInWords(about);
    case "retry":
      return inWords(about);
    case "shard":
      return `${about.shard}: ${about.state}`;
    default:
      return kind;
  }
}
