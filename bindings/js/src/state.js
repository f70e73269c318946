// A checkpoint in the storage of a browser.

/** A state under this key of `localStorage`, or of anything that works like it. */
export function storageState(key, storage = globalThis.localStorage) {
  return {
    load: () => storage.getItem(key) ?? undefined,
    save: (checkpoint) => storage.setItem(key, checkpoint),
  };
}
