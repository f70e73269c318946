// The ways in which a reading can end.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

import { limitMemory } from "../memory.js";
import { bind } from "../src/bind.js";
import { connect, noState } from "../src/explicit.js";
import { post } from "../src/node/http.js";
import { read, readBatches } from "../src/node.js";
import { MemoryState, numbers, range } from "./emulator.js";
import { aheadState, modelFor, thrown } from "./model.js";

const FOREVER = new Promise(() => {});

/** The core modules; `patch` may change the bytes of one. */
function compiled(patch = (_, bytes) => bytes) {
  return async (name) => WebAssembly.compile(patch(name, await readFile(new URL(`../component/${name}`, import.meta.url))));
}

test("the memory of the component is limited", async () => {
  const bytes = await readFile(new URL("../component/reader.core.wasm", import.meta.url));
  assert.deepEqual(limitMemory(bytes, 512 << 20), bytes);
});

test("a trap ends the reading with an error and keeps the last checkpoint", async (t) => {
  const data = Buffer.alloc(8 << 20, "x").toString("base64");
  const model = await modelFor(t, { page: 5 });
  for (const record of model.records.slice(5)) record.Data = data;
  const { read, readBatches } = bind({ coreModule: compiled((name, bytes) => (name === "reader.core.wasm" ? limitMemory(bytes, 5 << 20) : bytes)), connect, post, state: noState });
  const state = new MemoryState();
  const options = model.options({ state, pageRecords: 5 });
  const reading = read(options);
  const had = [];
  const error = await thrown((async () => {
    for await (const { n } of reading) had.push(n);
  })());
  assert.equal(error.code, "component");
  assert.match(error.message, /^the component failed: /);
  assert.deepEqual(had, range(0, 5));
  // The reading reports the last checkpoint that was saved.
  assert.equal(reading.checkpoint(), state.saved);
  assert.deepEqual(reading.shards(), []);
  assert.deepEqual(await reading.next(), { value: undefined, done: true });
  assert.equal((await thrown((async () => {
    for await (const batch of readBatches(options)) await batch.ack();
  })())).code, "component");
});

test("a reading can be closed, stopped or aborted while it opens", async (t) => {
  const model = await modelFor(t);
  const opening = () => {
    const calls = [];
    const state = { lock: () => void calls.push("lock"), load: () => calls.push("load"), save: () => calls.push("save"), unlock: () => void calls.push("unlock") };
    return { calls, state };
  };
  // While credentials are fetched, which never arrive.
  const left = read(model.options({ credentials: () => FOREVER, until: "forever" }));
  const waiting = left.next();
  assert.deepEqual(await left.return(), { value: undefined, done: true });
  assert.deepEqual(await waiting, { value: undefined, done: true });
  // While the state is loading.
  for (const isAborted of [false, true]) {
    const { calls, state } = opening();
    const abort = new AbortController();
    const loads = new Promise((resolve) => (state.load = () => (calls.push("load"), resolve(), FOREVER)));
    const loading = read(model.options({ signal: abort.signal, until: "forever", state }));
    const first = loading.next();
    await loads;
    if (isAborted) {
      abort.abort(new Error("enough"));
      await assert.rejects(first, { message: "enough" });
    } else {
      await loading.return();
      assert.equal((await first).done, true);
    }
    assert.deepEqual(calls, ["lock", "load", "unlock"]);
  }
  // A lock that was not taken is not released.
  const { calls, state } = opening();
  const own = new Error("held");
  await assert.rejects(read(model.options({ state: { ...state, lock: () => Promise.reject(own) } })).next(), own);
  assert.deepEqual(calls, []);
  assert.deepEqual(model.requests, []);
  // Stopped before it was opened.
  const stopped = read(model.options({ until: "forever" }));
  stopped.stop();
  assert.deepEqual(await numbers(stopped), []);
  assert.equal(stopped.outcome, "stopped");
});

test("after an abort no more requests are sent, and acknowledged batches are kept", async (t) => {
  const model = await modelFor(t, { records: 100, page: 10 });
  const abort = new AbortController();
  const state = new MemoryState();
  const reading = readBatches(model.options({ state, signal: abort.signal, until: "forever" }));
  const { value: batch } = await reading.next();
  const { requests } = reading.totals();
  abort.abort(new Error("enough"));
  await batch.ack();
  assert.equal(reading.totals().requests, requests);
  await assert.rejects(reading.next(), { message: "enough" });
  assert.deepEqual(await numbers(read(model.options({ state }))), range(10, 100));
});

test("whatever a callback or state throws ends the reading with that error", async (t) => {
  const model = await modelFor(t, { records: 3 });
  for (const own of [new Error("own"), "own", undefined, null]) {
    for (const more of [
      { onNotice: () => Promise.reject(own), state: aheadState() },
      { onNotice: () => { throw own; }, state: aheadState() },
      { state: { load() {}, save: () => Promise.reject(own) } },
      { state: { load: () => Promise.reject(own), save() {} } },
      { onInvalidRecords: () => Promise.reject(own), payload: "text" },
      { onInvalidRecords: () => { throw own; }, payload: "text" },
    ]) {
      for (const record of model.records) record.Data = more.payload ? "/w==" : Buffer.from('{"n":1}').toString("base64");
      let ended = false;
      await numbers(read(model.options({ ...more, until: more.onNotice ? "forever" : "caught-up" }))).then(() => (ended = true), (error) => assert.equal(error, own));
      assert.ok(!ended, JSON.stringify([String(own), ...Object.keys(more)]));
    }
  }
});

test("an abort does not wait for onInvalidRecords", async (t) => {
  const model = await modelFor(t, { records: 1 });
  model.records[0].Data = "/w==";
  const reading = read(model.options({ onInvalidRecords: () => FOREVER, payload: "text", signal: AbortSignal.timeout(50) }));
  await assert.rejects(reading.next(), { name: "TimeoutError" });
});

test("times and durations that are too large for the component are refused", async (t) => {
  const model = await modelFor(t);
  for (const more of [{ behind: 1e300 }, { behind: "99999999999999999999d" }, { limits: { requestTimeout: Number.MAX_VALUE } }, { start: -8.64e15 }, { until: 1e300 }]) {
    assert.equal((await thrown(numbers(read(model.options(more))))).code, "option");
  }
  assert.deepEqual(model.requests, []);
});
