// What `read` and `readBatches` return: one run, as an async iterator.

/** The common part of both iterators. A run is closed exactly once, however it ends. */
export class Run {
  #session;
  /** The last step, after which the next one runs. */
  #tail = Promise.resolve();
  #isEnded = false;
  #pending = 0;

  constructor(session) {
    this.#session = session;
  }

  [Symbol.asyncIterator]() {
    return this;
  }

  /** Ends the run. What was acknowledged is saved. */
  return(value) {
    const wasEnded = this.#isEnded;
    this.#isEnded = true;
    // Interrupts a pending call of `next`, which `#after` waits for.
    this.#session.close().catch(() => {});
    return this.#after(async () => {
      if (!wasEnded) await this.#session.close();
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

  stop() {
    this.#session.stop();
  }

  checkpoint() {
    return this.#session.checkpoint();
  }

  shards() {
    return this.#session.shards();
  }

  totals() {
    return this.#session.totals();
  }

  get outcome() {
    return this.#session.outcome();
  }

  get session() {
    return this.#session;
  }

  /** Whether a step is running, so that the next one has to wait for it. */
  get isBusy() {
    return this.#pending > 0;
  }

  /** Runs a step of the iteration after those before it. The run ends if it returns `undefined` or throws. */
  step(step) {
    return this.#after(async () => {
      if (this.#isEnded) return { value: undefined, done: true };
      try {
        const value = (await this.#session.open()) ? await step() : undefined;
        if (value !== undefined) return { value, done: false };
      } catch (thrown) {
        this.#isEnded = true;
        // The first error is the one to report.
        await this.#session.close().catch(() => {});
        throw thrown;
      }
      this.#isEnded = true;
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
