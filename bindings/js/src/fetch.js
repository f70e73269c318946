// Requests by `fetch`.

import { Taken } from "./body.js";

/** A way to post by `fetch`. */
export function posting(fetch) {
  return async (url, { headers, body, signal, bound }) => {
    // Not "error", which not every runtime knows.
    const response = await fetch(url, { method: "POST", headers, body, signal, redirect: "manual" });
    const { status } = response;
    const taken = response.body === null ? new Taken(0) : await takenOf(response, bound(status), signal);
    return { status, header: (name) => response.headers.get(name) ?? undefined, ...taken.whole() };
  };
}

/** Reads a body up to a bound, and no further. */
async function takenOf(response, most, signal) {
  const taken = new Taken(most);
  // Not every `fetch` has streams.
  if (response.body === undefined) {
    taken.take(new Uint8Array(await response.arrayBuffer()));
    return taken;
  }
  const reader = response.body.getReader();
  const leave = () => reader.cancel().catch(() => {});
  signal.addEventListener("abort", leave);
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return taken;
      if (!taken.take(value)) {
        leave();
        return taken;
      }
    }
  } finally {
    signal.removeEventListener("abort", leave);
  }
}
