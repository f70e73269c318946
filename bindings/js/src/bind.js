// What every entry of the package exports, made for the platform that it is for.

import { Batches } from "./batches.js";
import { Component } from "./component.js";
import { Messages } from "./messages.js";

/**
 * @param {object} platform
 * @param {(name: string) => WebAssembly.Module | Promise<WebAssembly.Module>} platform.coreModule  a file of `component/`
 * @param {(options: object) => Promise<{ url: URL, region: string, credentials: unknown, headers?: object }>} platform.connect
 *   where requests go, and in whose name
 * @param {(url: URL, request: object) => Promise<object>} platform.post  sends a request that is signed
 * @param {(state: unknown) => object | Promise<object>} platform.state  what a state is that is no object with load and save
 */
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
