// The package in browsers, and wherever nothing of Node is there: endpoint, region and credentials are given, and the
// checkpoint is kept by an object with `load` and `save`.

import { bind } from "./bind.js";
import { compiledOnce } from "./compiled.js";
import { resolveEndpoint } from "./endpoint.js";
import { KinesisReaderError, badOption } from "./errors.js";

/** Named one by one, so that bundlers find them. */
const CORE_MODULES = {
  "reader.core.wasm": () => new URL("../component/reader.core.wasm", import.meta.url),
  "reader.core2.wasm": () => new URL("../component/reader.core2.wasm", import.meta.url),
  "reader.core3.wasm": () => new URL("../component/reader.core3.wasm", import.meta.url),
};

async function fetched(name) {
  const url = CORE_MODULES[name]();
  const response = await fetch(url);
  if (!response.ok) {
    throw new KinesisReaderError("component", `the component cannot be fetched: ${url} (status ${response.status})`);
  }
  return WebAssembly.compile(await response.arrayBuffer());
}

/** Where requests go when only the options say it. */
export async function connect(options) {
  const { credentials } = options;
  for (const option of ["profile", "roleArn"]) {
    if (options[option] !== undefined) throw badOption(option, "there are no AWS profiles here", "give credentials");
  }
  const { stream } = options;
  const endpoint = resolveEndpoint({ stream, endpoint: options.endpoint, region: options.region });
  if (credentials === undefined) {
    throw new KinesisReaderError("credentials", "no AWS credentials were given", {
      hint: "give credentials: { accessKeyId, secretAccessKey, sessionToken }, or a function that gives them (an emulator takes any values)",
    });
  }
  return { ...endpoint, credentials };
}

/** Where a checkpoint is kept when only the options say it. */
export function noState(state) {
  throw badOption("state", `it is no state here: ${typeof state}`, "give an object with load() and save(text), as storageState(key) is");
}

export const { read, readBatches, mergeCheckpoints } = bind({ coreModule: compiledOnce(fetched), connect, state: noState });
export { KinesisReaderError };
export { storageState } from "./state.js";
