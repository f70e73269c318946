// The entry point for Node. Endpoint and credentials are resolved as by the AWS command line, and a state can be a file.

import { readFile } from "node:fs/promises";

import "./node/text.js";
import { bind } from "./bind.js";
import { compileOnce } from "./compile-once.js";
import { connect } from "./node/aws.js";
import { fileState } from "./node/file.js";
import { post } from "./node/http.js";
import { optionError } from "./errors.js";

async function compile(name) {
  return WebAssembly.compile(await readFile(new URL(`../component/${name}`, import.meta.url)));
}

function state(path) {
  if (typeof path === "string" || path instanceof URL) return fileState(path);
  throw optionError("state", `expected a path or an object: ${typeof path}`, "use the path of a file, or an object with load() and save(text)");
}

export const { read, readBatches, mergeCheckpoints } = bind({ coreModule: compileOnce(compile), connect, post, state });
export { KinesisReaderError } from "./errors.js";
export { storageState } from "./state.js";
export { fileState };
