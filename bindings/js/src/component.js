// The component, ready to open a reader: the only file that knows how jco hands it over.

import { instantiate } from "../component/reader.js";
import { KinesisReaderError, componentError, words } from "./errors.js";

/** A fresh instance, so that what goes wrong in one reader touches no other. */
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
      throw new KinesisReaderError("component", `cannot load the component: ${words(cause)}`, { cause });
    }
  }

  /**
   * Calls into the component and throws its errors as errors of this package. After a trap no more calls are made: the
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
        // The error of this call has no tag that names it.
        const error = thrown?.payload ?? thrown;
        throw error?.tag ? componentError({ tag: "checkpoint", val: error }) : thrown;
      }
    });
  }

  /** Whether it has not trapped. */
  get isSound() {
    return this.#trap === undefined;
  }
}

/** Gives a resource of the component back. */
export function drop(resource) {
  resource[Symbol.dispose ?? Symbol.for("dispose")]();
}

/** The component counts in BigInt; what people look at are numbers, all of them below 2^53. */
export function plain(value) {
  if (typeof value === "bigint") return Number(value);
  if (Array.isArray(value)) return value.map(plain);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, plain(inner)]));
}
