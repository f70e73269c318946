import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";

import { KinesisReaderError, mergeCheckpoints, read } from "../src/node.js";
import { MemoryState, numbers, range, sorted, startEmulator } from "./emulator.js";

let emulator;
before(async () => (emulator = await startEmulator()));
after(() => emulator.close());

test("three runs read 10,000 messages across splits and merges, each once", async () => {
  await emulator.create("resharded", 2);
  await emulator.put("resharded", 0, 3000);
  await emulator.split("resharded", 0);
  await emulator.put("resharded", 3000, 6000);
  const state = new MemoryState();
  const options = emulator.options("resharded", { state, pageRecords: 700 });

  // Both loops are left in the middle of a page.
  const first = await numbers(read(options), 1234);
  const second = await numbers(read(options), 2222);
  assert.deepEqual([first.length, second.length], [1234, 2222]);
  await emulator.merge("resharded", 1);
  await emulator.put("resharded", 6000, 8000);
  await emulator.split("resharded", 1);
  await emulator.put("resharded", 8000, 10000);
  const run = read(options);
  const third = await numbers(run);

  assert.deepEqual(sorted([...first, ...second, ...third]), range(0, 10000));
  assert.equal(run.outcome, "reached");
  assert.equal(run.shards().filter((shard) => shard.state === "drained").length, 4);
  assert.deepEqual(await numbers(read(options)), []);
});

test("the messages of a shard are in order, and a child follows its parents", async () => {
  await emulator.create("ordered", 1);
  await emulator.put("ordered", 0, 500);
  await emulator.split("ordered", 0);
  await emulator.put("ordered", 500, 1000);
  const last = new Map();
  let parents = 0;
  for await (const { n, _kinesis } of read(emulator.options("ordered", { pageRecords: 50 }))) {
    if (n < 500) parents += 1;
    else assert.equal(parents, 500);
    assert.ok(n > (last.get(_kinesis.shard_id) ?? -1));
    last.set(_kinesis.shard_id, n);
  }
  assert.equal(last.size, 3);
});

test("a message has its envelope and its exact payload", async () => {
  await emulator.create("letters", 1);
  await emulator.put("letters", 7, 8);
  await emulator.put("letters", 8, 9, () => "not JSON");
  const [json, text] = await all(read(emulator.options("letters")));
  assert.deepEqual({ ...json, _kinesis: undefined, _kinesis_msg_id: undefined }, { _kinesis: undefined, _kinesis_msg_id: undefined, n: 7, item: "żółta herbata" });
  assert.equal(json._kinesis.stream_name, "letters");
  assert.equal(json._kinesis.partition, "key-7");
  assert.match(json._kinesis_msg_id, /^[0-9a-f]{32}$/);
  assert.ok(Math.abs(Date.parse(json._kinesis.ts) - Date.now()) < 600_000);
  assert.equal(text.data, "not JSON");
});

test("after an error of the consumer, the next run continues with the message in hand", async () => {
  await emulator.create("thrown", 2);
  await emulator.put("thrown", 0, 1000);
  const state = new MemoryState();
  const options = emulator.options("thrown", { state });
  const received = [];
  const own = new Error("own");
  await assert.rejects(async () => {
    for await (const { n } of read(options)) {
      if (received.length === 321) throw own;
      received.push(n);
    }
  }, own);
  assert.deepEqual(sorted([...received, ...(await numbers(read(options)))]), range(0, 1000));
});

test("a killed consumer loses nothing and repeats little", async (t) => {
  await emulator.create("killed", 2);
  await emulator.put("killed", 0, 2000);
  const directory = await mkdtemp(join(tmpdir(), "kinesis-reader-"));
  t.after(() => rm(directory, { recursive: true }));
  const path = join(directory, "state.json");
  const child = spawn(process.execPath, [fileURLToPath(new URL("consumer.js", import.meta.url)), emulator.url, "killed", path], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const received = [];
  for await (const line of createInterface(child.stdout)) {
    if (line === "saved") child.kill("SIGKILL");
    else received.push(Number(line));
  }
  assert.equal((await untilExit(child)).signal, "SIGKILL");
  const rest = await numbers(read(emulator.options("killed", { state: path })));
  assert.deepEqual(sorted(new Set([...received, ...rest])), range(0, 2000));
  // A checkpoint in the middle of a page was saved, and the next run continued from it.
  assert.ok(received.length > 0 && received.length < 2000);
  assert.ok(rest.length < 2000, `${rest.length} messages in the second run`);
});

test("requests continue while a slow consumer works", async () => {
  await emulator.create("slow", 3);
  await emulator.put("slow", 0, 900);
  let pending = 0;
  let most = 0;
  const counted = async (...request) => {
    most = Math.max(most, ++pending);
    try {
      return await fetch(...request);
    } finally {
      pending -= 1;
    }
  };
  const run = read(emulator.options("slow", { fetch: counted, pageRecords: 100 }));
  const received = [];
  for await (const { n } of run) {
    if (received.length % 100 === 0) await new Promise((resolve) => setTimeout(resolve, 10));
    received.push(n);
  }
  assert.deepEqual(sorted(received), range(0, 900));
  assert.ok(most >= 3, `${most} concurrent requests for three shards`);
});

test("a signal ends the run, and what was acknowledged is saved", async () => {
  await emulator.create("aborted", 1);
  await emulator.put("aborted", 0, 1000);
  const state = new MemoryState();
  const abort = new AbortController();
  const received = [];
  await assert.rejects(async () => {
    for await (const { n } of read(emulator.options("aborted", { state, signal: abort.signal }))) {
      received.push(n);
      if (received.length === 100) abort.abort();
    }
  }, { name: "AbortError" });
  // Requesting the next message acknowledged the hundredth.
  assert.deepEqual(received, range(0, 100));
  assert.deepEqual(await numbers(read(emulator.options("aborted", { state }))), range(100, 1000));

  const before = read(emulator.options("aborted", { signal: AbortSignal.abort(new Error("too late")) }));
  await assert.rejects(before.next(), { message: "too late" });
});

test("a run without an end follows a growing stream until it is stopped", async () => {
  await emulator.create("followed", 1);
  const state = new MemoryState();
  const run = read(emulator.options("followed", { until: "forever", state }));
  const received = [];
  const first = run.next();
  await emulator.put("followed", 0, 5);
  received.push((await first).value.n);
  for await (const { n } of run) {
    received.push(n);
    if (n === 4) await emulator.put("followed", 5, 10);
    if (n === 9) run.stop();
  }
  assert.deepEqual(received, range(0, 10));
  assert.equal(run.outcome, "stopped");
  assert.equal(state.saved, run.checkpoint());
});

test("a start at latest is saved before the first message, so that a crash skips nothing", async () => {
  await emulator.create("latest", 1);
  await emulator.put("latest", 0, 5);
  await nextSecond();
  const state = new MemoryState();
  assert.deepEqual(await numbers(read(emulator.options("latest", { start: "latest", state }))), []);
  await emulator.put("latest", 5, 8);
  assert.deepEqual(await numbers(read(emulator.options("latest", { start: "latest", state }))), [5, 6, 7]);
});

test("leaving a run ends a pending call of next", async () => {
  await emulator.create("left", 1);
  const run = read(emulator.options("left", { until: "forever" }));
  const waiting = run.next();
  await run.return();
  assert.deepEqual(await waiting, { value: undefined, done: true });
  assert.deepEqual(await run.next(), { value: undefined, done: true });
});

test("concurrent calls of next receive messages in order", async () => {
  await emulator.create("concurrent", 1);
  await emulator.put("concurrent", 0, 20);
  const run = read(emulator.options("concurrent", { pageRecords: 3 }));
  const results = await Promise.all(range(0, 22).map(() => run.next()));
  assert.deepEqual(results.map(({ value }) => value?.n), [...range(0, 20), undefined, undefined]);
});

test("maxMessages ends a run after exactly that many messages", async () => {
  await emulator.create("limited", 2);
  await emulator.put("limited", 0, 500);
  const options = emulator.options("limited", { state: new MemoryState() });
  const first = read({ ...options, maxMessages: 123 });
  const received = await numbers(first);
  assert.deepEqual([received.length, first.outcome, first.totals().messages], [123, "limited", 123]);
  assert.deepEqual(sorted([...received, ...(await numbers(read(options)))]), range(0, 500));
});

test("start and until select a range of time", async () => {
  await emulator.create("timed", 1);
  await emulator.put("timed", 0, 3);
  // The emulator and the test have the same clock.
  const from = await nextSecond();
  await emulator.put("timed", 3, 6);
  const to = await nextSecond();
  await emulator.put("timed", 6, 9);
  assert.deepEqual(await numbers(read(emulator.options("timed", { start: new Date(from), until: new Date(to) }))), [3, 4, 5]);
});

test("checkpoints of several writers can be joined", async () => {
  await emulator.create("joined", 1);
  await emulator.put("joined", 0, 10);
  const [early, late] = [new MemoryState(), new MemoryState()];
  await numbers(read(emulator.options("joined", { state: early, maxMessages: 3 })));
  await numbers(read(emulator.options("joined", { state: late, maxMessages: 7 })));
  assert.equal(await mergeCheckpoints(early.saved, late.saved), late.saved);
  await assert.rejects(mergeCheckpoints(early.saved, "{"), (error) => error instanceof KinesisReaderError && error.code === "checkpoint");
});

async function all(iterable) {
  const items = [];
  for await (const item of iterable) items.push(item);
  return items;
}

/** Waits for the next second, because the emulator's clock has no fractions and times in the future are not read. */
async function nextSecond() {
  const next = (Math.floor(Date.now() / 1000) + 1) * 1000;
  while (Date.now() < next) await new Promise((resolve) => setTimeout(resolve, next - Date.now()));
  return next;
}

async function untilExit(child) {
  if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
  return { code: child.exitCode, signal: child.signalCode };
}
