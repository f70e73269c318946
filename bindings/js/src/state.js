// A checkpoint in the storage of a browser.

import { KinesisReaderError, shown } from "./errors.js";

/** Time to wait for the lock of a page that is being unloaded, as in a reload. */
const LOCK_TIME_MAX_MS = 2000;

const HINT = { hint: "give each reader a state of its own" };

/**
 * A state under this key of `localStorage`, or of anything that works like it. In `localStorage` it is locked against
 * other pages of the origin. With another storage, a save fails if another reader has written the state.
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
        throw new KinesisReaderError("state", `another reader has written the state, or removed it: ${shown(key)}`, HINT);
      }
      storage.setItem(key, checkpoint);
      text = checkpoint;
    },
    async lock() {
      if (isShared(storage)) release = await locked(key);
    },
    unlock: () => release(),
  };
}

/** Whether it is the storage that all pages of an origin share. */
function isShared(storage) {
  return typeof document !== "undefined" && storage === globalThis.localStorage && globalThis.navigator?.locks !== undefined;
}

/** Takes the browser's lock for a key, which ends with the page; returns a function that releases it. */
function locked(key) {
  return new Promise((resolve, reject) => {
    const granted = () => new Promise((release) => resolve(release));
    const signal = AbortSignal.timeout(LOCK_TIME_MAX_MS);
    navigator.locks.request(`kinesis-reader ${key}`, { signal }, granted).catch(() => {
      reject(new KinesisReaderError("state", `another reader holds the state: ${shown(key)}`, HINT));
    });
  });
}
