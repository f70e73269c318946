// The package in browsers, and wherever nothing of Node is there.

import { bind } from "./bind.js";
import { compiledOnce } from "./compiled.js";
import { KinesisReaderError } from "./errors.js";
import { connect, noState, post } from "./explicit.js";

/** Named one by one, so that bundlers find them. */
const CORE_MODULES = {
  "reader.core.wasm": () => new URL("../component/reader.core.wasm", import.meta.url),
  "reader.core2.wasm": () => new URL("../component/reader.core2.wasm", import.meta.url),
  "reader.core3.wasm": () => new URL("../component/reader.core3.wasm", import.meta.url),
};

async function compile(name) {
  const url = CORE_MODULES[name]();
  const response = await fetch(url);
  if (!response.ok) {
    throw new KinesisReaderError("component", `the component cannot be fetched: ${url} (status ${response.status})`);
  }
  return WebAssembly.compile(await response.arrayBuffer());
}

export const { read, readBatches, mergeCheckpoints } = bind({ coreModule: compiledOnce(compile), connect, post, state: noState });
export { KinesisReaderError };
export { storageState } from "./state.js";
