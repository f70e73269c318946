// The entry point for browsers and all other runtimes without Node's modules.

import { bind } from "./bind.js";
import { compileOnce } from "./compile-once.js";
import { KinesisReaderError } from "./errors.js";
import { connect, noState, post } from "./explicit.js";

/** Written out, because bundlers only find URLs of this form. */
const CORE_MODULES = {
  "reader.core.wasm": () => new URL("../component/reader.core.wasm", import.meta.url),
  "reader.core2.wasm": () => new URL("../component/reader.core2.wasm", import.meta.url),
  "reader.core3.wasm": () => new URL("../component/reader.core3.wasm", import.meta.url),
};

async function compile(name) {
  const url = CORE_MODULES[name]();
  const response = await fetch(url);
  if (!response.ok) throw new KinesisReaderError("component", `cannot fetch the component: ${url}: status ${response.status}`);
  return WebAssembly.compile(await response.arrayBuffer());
}

export const { read, readBatches, mergeCheckpoints } = bind({ coreModule: compileOnce(compile), connect, post, state: noState });
export { KinesisReaderError };
export { storageState } from "./state.js";
