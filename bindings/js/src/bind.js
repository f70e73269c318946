// Creates the functions that all entry points export, for one platform.

import { Batches } from "./batches.js";
import { Component } from "./component.js";
import { Messages } from "./messages.js";

/**
 * What differs between Node, browsers and the edge.
 *
 * @typedef {object} Platform
 * @property {(name: string) => WebAssembly.Module | Promise<WebAssembly.Module>} coreModule  loads a file of `component/`
 * @property {(options: object) => Promise<{ url: URL, region: string, credentials: unknown, headers?: object }>} connect
 *   resolves the endpoint and credentials
 * @property {(url: URL, request: object) => Promise<object>} post  sends a signed request
 * @property {(state: unknown) => object} state  returns a state for an option that is not an object with `load` and `save`
 */

/** @param {Platform} platform */
export function bind(platform) {
  return {
    read: (options) => new Messages(options, platform),
    readBatches: (options) => new Batches(options, platform),
    async mergeCheckpoints(left, right) {
      const component = await Component.load(platform.coreModule);
      return component.merge(left, right);
    },
  };
}
