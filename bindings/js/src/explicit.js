// Endpoint, credentials and state where only options can provide them: in browsers and at the edge.

import { resolveEndpoint } from "./endpoint.js";
import { KinesisReaderError, optionError } from "./errors.js";
import { fetchPost } from "./fetch.js";

/** Looks up the global `fetch` for each request, because it may be replaced. */
export const post = fetchPost((...request) => globalThis.fetch(...request));

export async function connect({ stream, endpointUrl, region, credentials, profile, roleArn }) {
  for (const [option, value] of Object.entries({ profile, roleArn })) {
    if (value !== undefined) throw optionError(option, "only supported in Node", "set region and credentials instead");
  }
  const endpoint = resolveEndpoint({ stream, endpointUrl, region });
  if (credentials === undefined) {
    throw new KinesisReaderError("credentials", "no credentials", {
      hint: "set credentials: { accessKeyId, secretAccessKey, sessionToken }, or a function that returns them (emulators accept any values)",
    });
  }
  return { ...endpoint, credentials };
}

export function noState(state) {
  throw optionError("state", `expected an object: ${typeof state}`, "use storageState(key), or an object with load() and save(text)");
}
