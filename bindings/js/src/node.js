// The package in Node: what the options leave out is found as the AWS command line finds it, and a state may be a file.

import { readFile } from "node:fs/promises";

import "./node/text.js";
import { bind } from "./bind.js";
import { compiledOnce } from "./compiled.js";
import { connect } from "./node/aws.js";
import { fileState } from "./node/file.js";
import { post } from "./node/http.js";
import { badOption } from "./errors.js";

async function compile(name) {
  return WebAssembly.compile(await readFile(new URL(`../component/${name}`, import.meta.url)));
}

function state(given) {
  if (typeof given === "string" || given instanceof URL) return fileState(given);
  throw badOption("state", `it is no state: ${typeof given}`, "give the path of a file, or an object with load() and save(text)");
}

export const { read, readBatches, mergeCheckpoints } = bind({ coreModule: compiledOnce(compile), connect, post, state });
export { KinesisReaderError } from "./errors.js";
export { storageState } from "./state.js";
export { fileState };
