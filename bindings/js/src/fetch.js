// Sends requests with `fetch`.

import { BoundedBody } from "./body.js";

/** Returns a platform's `post` that uses this `fetch`. */
export function fetchPost(fetch) {
  return async (url, { headers, body, signal, sizeLimit }) => {
    // Not every runtime knows `redirect: "error"`.
    const response = await fetch(url, { method: "POST", headers, body, signal, redirect: "manual" });
    const { status } = response;
    const received = new BoundedBody(sizeLimit(status));
    await receive(response, received, signal);
    return { status, header: (name) => response.headers.get(name) ?? undefined, ...received.finish() };
  };
}

/** Reads a body until it ends or is too large. */
async function receive(response, received, signal) {
  if (response.body === null) return;
  // Not every `fetch` supports streams.
  if (response.body === undefined) {
    received.push(new Uint8Array(await response.arrayBuffer()));
    return;
  }
  const reader = response.body.getReader();
  const cancel = () => reader.cancel().catch(() => {});
  signal.addEventListener("abort", cancel);
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      if (!received.push(value)) {
        cancel();
        return;
      }
    }
  } finally {
    signal.removeEventListener("abort", cancel);
  }
}
