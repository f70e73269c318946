// Bodies of answers, up to a bound.

import { text } from "./text.js";

/**
 * How large an answer to an operation may be. A page holds 10 MiB of data, which is 13.4 MiB as base64 and less than
 * twice that in any encoding; a listing names up to 10,000 shards; all others are a few hundred bytes.
 */
const ANSWER_SIZES_MAX = { GetRecords: 64 << 20, ListShards: 16 << 20 };
const ANSWER_SIZE_MAX = 64 << 10;

/** How much of an error is read. Longer ones are pages of proxies, and their status says enough. */
const REFUSAL_SIZE_MAX = 1 << 20;

/** Returns how many bytes of an answer to this operation may be read, by its status. */
export function boundOf(target) {
  const operation = target.slice(target.lastIndexOf(".") + 1);
  return (status) => (isSuccess(status) ? ANSWER_SIZES_MAX[operation] ?? ANSWER_SIZE_MAX : REFUSAL_SIZE_MAX);
}

export function inWords(size) {
  return size >= 1 << 20 ? `${size >> 20} MiB` : `${size >> 10} KiB`;
}

export function isSuccess(status) {
  return status >= 200 && status < 300;
}

/** Collects the body of an answer up to a bound. */
export class Taken {
  #most;
  #parts = [];
  #size = 0;

  constructor(most) {
    this.#most = most;
  }

  /** Adds a part; false if it exceeds the bound. */
  take(part) {
    const room = Math.max(this.#most - this.#size, 0);
    this.#parts.push(part.length > room ? part.subarray(0, room) : part);
    this.#size += part.length;
    return part.length <= room;
  }

  /** The bytes up to the bound, and whether there were more. */
  whole() {
    const isCut = this.#size > this.#most;
    const bytes = text.bytes(Math.min(this.#size, this.#most));
    this.#parts.reduce((at, part) => (bytes.set(part, at), at + part.length), 0);
    return { bytes, isCut };
  }
}
