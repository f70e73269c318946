// The component, ready to open a reader: the only file that knows how jco hands it over.

import { instantiate } from "../component/reader.js";

/** A fresh instance, so that what goes wrong in one reader touches no other. */
export async function load(coreModule) {
  const { reading } = await instantiate(coreModule, {});
  return reading;
}

/** Gives a resource of the component back. */
export function drop(resource) {
  resource[Symbol.dispose ?? Symbol.for("dispose")]();
}

/** The component counts in BigInt; what people look at are numbers, all of them below 2^53. */
export function plain(value) {
  if (typeof value === "bigint") return Number(value);
  if (Array.isArray(value)) return value.map(plain);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, plain(inner)]));
}
