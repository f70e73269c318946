// The entry point for Cloudflare Workers, which cannot compile code at run time: the core modules are imported.

import core from "../component/reader.core.wasm";
import core2 from "../component/reader.core2.wasm";
import core3 from "../component/reader.core3.wasm";

import { bind } from "./bind.js";
import { connect, noState, post } from "./explicit.js";

const MODULES = { "reader.core.wasm": core, "reader.core2.wasm": core2, "reader.core3.wasm": core3 };

export const { read, readBatches, mergeCheckpoints } = bind({ coreModule: (name) => MODULES[name], connect, post, state: noState });
export { KinesisReaderError } from "./errors.js";
export { storageState } from "./state.js";
