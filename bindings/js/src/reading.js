// What both ways of reading have in common.

/** What both ways of reading have in common: an async iterator that is closed once, whatever ends it. */
export class Reading {
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
