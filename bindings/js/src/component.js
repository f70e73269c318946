// The WebAssembly component. Only this file knows how jco presents it.

import { instantiate } from "../component/reader.js";
import { KinesisReaderError, componentError, messageOf } from "./errors.js";

/** An instance of the component. Each run has its own, so a trap affects no other. */
export class Component {
  #reading;
  #trap;

  constructor(reading) {
    this.#reading = reading;
  }

  static async load(coreModule) {
    try {
      const { reading } = await instantiate(coreModule, {});
      return new Component(reading);
    } catch (cause) {
      if (cause instanceof KinesisReaderError) throw cause;
      throw new KinesisReaderError("component", `cannot load the component: ${messageOf(cause)}`, { cause });
    }
  }

  /**
   * Calls into the component, and throws its errors as `KinesisReaderError`s. After a trap, no more calls are made: the
   * instance is in an unknown state, and a checkpoint from it could be wrong.
   */
  call(work) {
    if (this.#trap !== undefined) throw this.#trap;
    try {
      return work(this.#reading);
    } catch (thrown) {
      const error = componentError(thrown);
      if (error.code === "component") this.#trap = error;
      throw error;
    }
  }

  /** Joins two checkpoints. */
  merge(left, right) {
    return this.call((reading) => {
      try {
        return reading.mergeCheckpoints(left, right);
      } catch (thrown) {
        const error = thrown?.payload ?? thrown;
        // This call throws the bare checkpoint error, which `open` wraps.
        throw error?.tag ? componentError({ tag: "checkpoint", val: error }) : thrown;
      }
    });
  }

  /** Whether calls are still possible. */
  get isSound() {
    return this.#trap === undefined;
  }
}

/** Releases a resource of the component. */
export function drop(resource) {
  resource[Symbol.dispose ?? Symbol.for("dispose")]();
}

/** Converts the component's BigInts, all below 2^53, to numbers. */
export function plain(value) {
  if (typeof value === "bigint") return Number(value);
  if (Array.isArray(value)) return value.map(plain);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, plain(inner)]));
}

/** Returns the next index in a batch. One that does not advance would loop forever. */
export function advance(index, next) {
  if (next > index) return next;
  throw new KinesisReaderError("component", `the component did not advance in a batch: from ${index} to ${next}`);
}
