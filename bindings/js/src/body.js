// Limits the size of answers.

import { text } from "./text.js";

/**
 * A page holds 10 MiB of data, which is 13.4 MiB as base64 and less than twice that in any encoding. A listing names up to
 * 10,000 shards. All other answers are a few hundred bytes.
 */
const SIZES_MAX = { GetRecords: 64 << 20, ListShards: 16 << 20 };
const SIZE_MAX = 64 << 10;

/** A larger error is a proxy's page, and its status says enough. */
const ERROR_SIZE_MAX = 1 << 20;

/** Returns a function from the status of an answer to its maximum size, for the operation in an `X-Amz-Target` header. */
export function sizeLimit(target) {
  const operation = target.slice(target.lastIndexOf(".") + 1);
  return (status) => (isSuccess(status) ? SIZES_MAX[operation] ?? SIZE_MAX : ERROR_SIZE_MAX);
}

export function isSuccess(status) {
  return status >= 200 && status < 300;
}

export function describeSize(size) {
  return size >= 1 << 20 ? `${size >> 20} MiB` : `${size >> 10} KiB`;
}

/** Collects the parts of a body up to a maximum size. */
export class BoundedBody {
  #sizeMax;
  #parts = [];
  #size = 0;

  constructor(sizeMax) {
    this.#sizeMax = sizeMax;
  }

  /** Adds a part. Returns false if the body is now too large. */
  push(part) {
    const room = Math.max(this.#sizeMax - this.#size, 0);
    this.#parts.push(part.length > room ? part.subarray(0, room) : part);
    this.#size += part.length;
    return part.length <= room;
  }

  /** Returns the bytes up to the maximum, and whether there were more. */
  finish() {
    const isCut = this.#size > this.#sizeMax;
    const bytes = text.bytes(Math.min(this.#size, this.#sizeMax));
    this.#parts.reduce((at, part) => (bytes.set(part, at), at + part.length), 0);
    return { bytes, isCut };
  }
}
