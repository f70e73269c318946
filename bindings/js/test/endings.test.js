// The ways in which a run can end.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

import { limitMemory } from "../memory.js";
import { bind } from "../src/bind.js";
import { connect, noState } from "../src/explicit.js";
import { post } from "../src/node/http.js";
import { read, readBatches } from "../src/node.js";
import { MemoryState, numbers, range } from "./emulator.js";
import { futureState, modelFor, thrown } from "./model.js";

const FOREVER = new Promise(() => {});

/** Returns a platform's `coreModule`. `patch` may change the bytes of a module. */
function coreModule(patch = (_, bytes) => bytes) {
  return async (name) => WebAssembly.compile(patch(name, await readFile(new URL(`../component/${name}`, import.meta.url))));
}

test("the component has limited memory", async () => {
  const bytes = await readFile(new URL("../component/reader.core.wasm", import.meta.url));
  assert.deepEqual(limitMemory(bytes, 512 << 20), bytes);
});

test("a trap ends the run with an error and keeps the last checkpoint", async (t) => {
  const data = Buffer.alloc(8 << 20, "x").toString("base64");
  const model = await modelFor(t, { page: 5 });
  for (const record of model.records.slice(5)) record.Data = data;
  const { read, readBatches } = bind({ coreModule: coreModule((name, bytes) => (name === "reader.core.wasm" ? limitMemory(bytes, 5 << 20) : bytes)), connect, post, state: noState });
  const state = new MemoryState();
  const options = model.options({ state, pageRecords: 5 });
  const run = read(options);
  const received = [];
  const error = await thrown((async () => {
    for await (const { n } of run) received.push(n);
  })());
  assert.equal(error.code, "component");
  assert.match(error.message, /^the component failed: /);
  assert.deepEqual(received, range(0, 5));
  assert.equal(run.checkpoint(), state.saved);
  assert.deepEqual(run.shards(), []);
  assert.deepEqual(await run.next(), { value: undefined, done: true });
  assert.equal((await thrown((async () => {
    for await (const batch of readBatches(options)) await batch.ack();
  })())).code, "component");
});

test("a run can be closed, stopped or aborted while it opens", async (t) => {
  const model = await modelFor(t);
  const opening = () => {
    const calls = [];
    const state = { lock: () => void calls.push("lock"), load: () => calls.push("load"), save: () => calls.push("save"), unlock: () => void calls.push("unlock") };
    return { calls, state };
  };
  // While it waits for credentials.
  const left = read(model.options({ credentials: () => FOREVER, until: "forever" }));
  const waiting = left.next();
  assert.deepEqual(await left.return(), { value: undefined, done: true });
  assert.deepEqual(await waiting, { value: undefined, done: true });
  // While it loads the state.
  for (const isAborted of [false, true]) {
    const { calls, state } = opening();
    const abort = new AbortController();
    const loads = new Promise((resolve) => (state.load = () => (calls.push("load"), resolve(), FOREVER)));
    const run = read(model.options({ signal: abort.signal, until: "forever", state }));
    const first = run.next();
    await loads;
    if (isAborted) {
      abort.abort(new Error("enough"));
      await assert.rejects(first, { message: "enough" });
    } else {
      await run.return();
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
  // Before it opens.
  const stopped = read(model.options({ until: "forever" }));
  stopped.stop();
  assert.deepEqual(await numbers(stopped), []);
  assert.equal(stopped.outcome, "stopped");
});

test("after an abort, no more requests are sent and acknowledged batches are saved", async (t) => {
  const model = await modelFor(t, { records: 100, page: 10 });
  const abort = new AbortController();
  const state = new MemoryState();
  const run = readBatches(model.options({ state, signal: abort.signal, until: "forever" }));
  const { value: batch } = await run.next();
  const { requests } = run.totals();
  abort.abort(new Error("enough"));
  await batch.ack();
  assert.equal(run.totals().requests, requests);
  await assert.rejects(run.next(), { message: "enough" });
  assert.deepEqual(await numbers(read(model.options({ state }))), range(10, 100));
});

test("whatever a callback or a state throws ends the run with that error", async (t) => {
  const model = await modelFor(t, { records: 3 });
  for (const own of [new Error("own"), "own", undefined, null]) {
    for (const more of [
      { onNotice: () => Promise.reject(own), state: futureState() },
      { onNotice: () => { throw own; }, state: futureState() },
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
  const run = read(model.options({ onInvalidRecords: () => FOREVER, payload: "text", signal: AbortSignal.timeout(50) }));
  await assert.rejects(run.next(), { name: "TimeoutError" });
});

test("times and durations that are too large for the component are refused", async (t) => {
  const model = await modelFor(t);
  for (const more of [{ behind: 1e300 }, { behind: "99999999999999999999d" }, { limits: { requestTimeout: Number.MAX_VALUE } }, { start: -8.64e15 }, { until: 1e300 }]) {
    assert.equal((await thrown(numbers(read(model.options(more))))).code, "option");
  }
  assert.deepEqual(model.requests, []);
});
