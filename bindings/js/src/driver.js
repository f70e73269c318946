// The loop that polls the reader, sends its requests, and reports what happened.
//
// It also runs while the consumer works. Batches queue here, at most `limits.batches` of them, and none counts as
// delivered until the consumer says so.

import { plain } from "./component.js";
import { describeNotice } from "./describe.js";
import { KinesisReaderError, serviceError } from "./errors.js";
import { escaped } from "./printable.js";

/** The longest time that a timer can hold. */
const SLEEP_MAX_MS = 0x7fff_ffff;

/** Actions that the reader may return before it waits. It has a notice for each shard, and requests for some. */
const ACTIONS_MAX = 1_000_000;

export class Driver {
  #component;
  #reader;
  #transport;
  #onNotice;
  #batches = [];
  #requests = new Set();
  #timer;
  #wake = () => {};
  #wait;
  /** What ended the loop, wrapped because any value can be thrown, even undefined. */
  #failure;
  #isClosed = false;
  /** The component's outcome, once there is one. */
  outcome;

  constructor(component, reader, transport, onNotice) {
    this.#component = component;
    this.#reader = reader;
    this.#transport = transport;
    this.#onNotice = onNotice;
    this.#input(() => {});
  }

  /** The current instant. */
  static now() {
    return BigInt(Math.floor(performance.now()));
  }

  /** Whether `take` would return a batch, or nothing more will come. */
  get isReady() {
    return this.#batches.length > 0 || this.outcome !== undefined || this.#failure !== undefined || this.#isClosed;
  }

  /** What the reader waits for. */
  get waitReason() {
    return this.#wait?.reason;
  }

  /** Resolves once `isReady`, or after `wake`. */
  ready() {
    return this.isReady ? Promise.resolve() : new Promise((resolve) => (this.#wake = resolve));
  }

  /** Returns the next batch, if there is one. Throws what ended the loop. */
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

  /** Wakes whoever awaits `ready`, to check for something that the driver does not know about. */
  wake() {
    this.#wake();
  }

  /** Cancels all requests and the timer. */
  close() {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearTimeout(this.#timer);
    for (const request of this.#requests) request.abort();
    this.#wake();
  }

  #input(handle) {
    if (this.#isClosed || this.#failure !== undefined) return;
    try {
      this.#component.call(handle);
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

  /** Polls the reader until it waits or finishes. */
  #pump() {
    for (let actions = 0; actions < ACTIONS_MAX; actions += 1) {
      const { tag, val } = this.#component.call(() => this.#reader.poll());
      switch (tag) {
        case "send":
          this.#send(val);
          break;
        case "deliver":
          this.#batches.push(val);
          break;
        case "notice":
          this.#notify(val);
          break;
        case "wait":
          this.#sleep(val);
          return;
        case "finish":
          this.outcome = plain(val);
          if (val.tag === "failed") this.#fail(serviceError(plain(val.val)));
          return;
      }
    }
    throw new KinesisReaderError("component", `the component returned more than ${ACTIONS_MAX} actions without waiting`);
  }

  #send({ id, target, body, deadline }) {
    const request = new AbortController();
    const timer = setTimeout(() => request.abort(), Math.max(Number(deadline - Driver.now()), 0));
    this.#requests.add(request);
    const end = (handle) => {
      clearTimeout(timer);
      this.#requests.delete(request);
      this.#input(handle);
    };
    this.#transport.send({ target, body }, request.signal).then(
      (response) => end(() => this.#reader.handleResponse(id, response, Driver.now())),
      (failure) => end(() => this.#reader.handleFailure(id, failure, Driver.now())),
    );
  }

  #sleep(wait) {
    this.#wait = wait;
    // A timer may be set already: by an earlier wait, or by a call of `stop` from `onNotice`.
    clearTimeout(this.#timer);
    if (wait.until === undefined) return;
    const pause = Math.min(Number(wait.until - Driver.now()) + 1, SLEEP_MAX_MS);
    this.#timer = setTimeout(() => this.#input(() => this.#reader.handleTimeout(Driver.now())), Math.max(pause, 0));
  }

  #notify({ tag: kind, val }) {
    const notice = plain(val);
    try {
      const result = this.#onNotice({ kind, message: escaped(describeNotice(kind, notice)), ...notice });
      // An unhandled rejection would end the process.
      if (typeof result?.then === "function") result.then(undefined, (thrown) => this.#fail(thrown));
    } catch (thrown) {
      this.#fail(thrown);
    }
  }
}
