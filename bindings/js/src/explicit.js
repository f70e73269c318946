// Endpoint, region, credentials and state where nothing but the options says them: in browsers and at the edge.

import { resolveEndpoint } from "./endpoint.js";
import { KinesisReaderError, badOption } from "./errors.js";
import { posting } from "./fetch.js";

/** Requests go by the global `fetch`, as it is when they go. */
export const post = posting((...request) => globalThis.fetch(...request));

/** Where requests go, and in whose name. */
export async function connect(options) {
  for (const option of ["profile", "roleArn"]) {
    if (options[option] !== undefined) throw badOption(option, "there are no AWS profiles here", "give credentials");
  }
  const { stream, endpointUrl, region, credentials } = options;
  const resolved = resolveEndpoint({ stream, endpointUrl, region });
  if (credentials === undefined) {
    throw new KinesisReaderError("credentials", "no AWS credentials were given", {
      hint: "give credentials: { accessKeyId, secretAccessKey, sessionToken }, or a function that gives them (an emulator takes any values)",
    });
  }
  return { ...resolved, credentials };
}

/** What is no object with `load` and `save` is no state. */
export function noState(state) {
  throw badOption("state", `it is no state here: ${typeof state}`, "give an object with load() and save(text), as storageState(key) is");
}
