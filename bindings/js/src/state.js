// Keeps a checkpoint in a browser's storage.

import { KinesisReaderError } from "./errors.js";
import { printable } from "./printable.js";

/** How long to wait for the lock of a page that is being unloaded, for example by a reload. */
const LOCK_TIME_MAX_MS = 2000;

const HINT = "give each reader its own state";

/**
 * Returns a state that is kept under this key of `localStorage`, or of any object with the same methods. In
 * `localStorage`, it is locked against other pages of the origin. With any other storage, a save fails if another reader
 * has changed the state.
 */
export function storageState(key, storage = globalThis.localStorage) {
  let isLoaded = false;
  /** The text that was last loaded or saved. */
  let text;
  let release = () => {};
  const read = () => storage.getItem(key) ?? undefined;
  const load = () => {
    isLoaded = true;
    return (text = read());
  };
  return {
    load,
    save(checkpoint) {
      if (!isLoaded) load();
      if (read() !== text) {
        throw new KinesisReaderError("state", `state changed or removed by another reader: ${printable(key)}`, { hint: HINT });
      }
      storage.setItem(key, checkpoint);
      text = checkpoint;
    },
    async lock() {
      if (isShared(storage)) release = await lock(key);
    },
    unlock: () => release(),
  };
}

/** Whether this is the storage that all pages of an origin share, in a browser with locks. */
function isShared(storage) {
  return typeof document !== "undefined" && storage === globalThis.localStorage && globalThis.navigator?.locks !== undefined;
}

/** Takes the browser's lock for a key, which the page holds at most until it is closed. Returns a function that releases it. */
function lock(key) {
  return new Promise((resolve, reject) => {
    const granted = () => new Promise((release) => resolve(release));
    const signal = AbortSignal.timeout(LOCK_TIME_MAX_MS);
    navigator.locks.request(`kinesis-reader ${key}`, { signal }, granted).catch(() => {
      reject(new KinesisReaderError("state", `state in use by another reader: ${printable(key)}`, { hint: HINT }));
    });
  });
}
