import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";

import { KinesisReaderError, mergeCheckpoints, read } from "../src/node.js";
import { MemoryState, numbers, range, sorted, startEmulator } from "./emulator.js";

let emulator;
before(async () => (emulator = await startEmulator()));
after(() => emulator.close());

test("10,000 messages come across splits and merges, stopped in the middle and gone on, each once", async () => {
  await emulator.create("resharded", 2);
  await emulator.put("resharded", 0, 3000);
  await emulator.split("resharded", 0);
  await emulator.put("resharded", 3000, 6000);
  const state = new MemoryState();
  const options = emulator.options("resharded", { state, pageRecords: 700 });

  // Left in the middle of a page, and once more in another.
  const first = await numbers(read(options), 1234);
  const second = await numbers(read(options), 2222);
  assert.deepEqual([first.length, second.length], [1234, 2222]);
  await emulator.merge("resharded", 1);
  await emulator.put("resharded", 6000, 8000);
  await emulator.split("resharded", 1);
  await emulator.put("resharded", 8000, 10000);
  const reading = read(options);
  const third = await numbers(reading);

  assert.deepEqual(sorted([...first, ...second, ...third]), range(0, 10000));
  assert.equal(reading.outcome, "reached");
  assert.equal(reading.shards().filter((shard) => shard.state === "drained").length, 4);
  assert.deepEqual(await numbers(read(options)), []);
});

test("in a shard messages come in order, and no child before its parents", async () => {
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

test("a message is its envelope and its payload, to the letter", async () => {
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

test("an error of the consumer's is thrown on, and the message in hand comes again with those after it", async () => {
  await emulator.create("thrown", 2);
  await emulator.put("thrown", 0, 1000);
  const state = new MemoryState();
  const options = emulator.options("thrown", { state });
  const had = [];
  const own = new Error("the consumer's own");
  await assert.rejects(async () => {
    for await (const { n } of read(options)) {
      if (had.length === 321) throw own;
      had.push(n);
    }
  }, own);
  assert.deepEqual(sorted([...had, ...(await numbers(read(options)))]), range(0, 1000));
});

test("a consumer that is killed loses nothing, and had only its last second for nothing", async () => {
  await emulator.create("killed", 2);
  await emulator.put("killed", 0, 2000);
  const { path, remove } = await temporary("state.json");
  // As a process of its own it can be killed; it tells each message when it is done with it.
  const child = spawn(process.execPath, [fileURLToPath(new URL("consumer.js", import.meta.url)), emulator.url, "killed", path], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const had = [];
  for await (const line of createInterface(child.stdout)) {
    if (line === "saved") child.kill("SIGKILL");
    else had.push(Number(line));
  }
  assert.equal((await onceExited(child)).signal, "SIGKILL");
  const rest = await numbers(read(emulator.options("killed", { state: path })));
  assert.deepEqual(sorted(new Set([...had, ...rest])), range(0, 2000));
  // It was killed after a checkpoint in the middle of a page was kept, and that was gone on from.
  assert.ok(had.length > 0 && had.length < 2000);
  assert.ok(rest.length < 2000, `${rest.length} messages came again`);
  await remove();
});

test("a slow consumer is waited for, and requests go on meanwhile", async () => {
  await emulator.create("slow", 3);
  await emulator.put("slow", 0, 900);
  let out = 0;
  let most = 0;
  const counted = async (...request) => {
    most = Math.max(most, ++out);
    try {
      return await fetch(...request);
    } finally {
      out -= 1;
    }
  };
  const reading = read(emulator.options("slow", { fetch: counted, pageRecords: 100 }));
  const had = [];
  for await (const { n } of reading) {
    if (had.length % 100 === 0) await new Promise((resolve) => setTimeout(resolve, 10));
    had.push(n);
  }
  assert.deepEqual(sorted(had), range(0, 900));
  assert.ok(most >= 3, `requests of all shards were out together: ${most}`);
});

test("a signal ends the reading where it stands, and what was acknowledged is kept", async () => {
  await emulator.create("aborted", 1);
  await emulator.put("aborted", 0, 1000);
  const state = new MemoryState();
  const abort = new AbortController();
  const had = [];
  await assert.rejects(async () => {
    for await (const { n } of read(emulator.options("aborted", { state, signal: abort.signal }))) {
      had.push(n);
      if (had.length === 100) abort.abort();
    }
  }, { name: "AbortError" });
  // Asking for the next one acknowledged the hundredth.
  assert.deepEqual(had, range(0, 100));
  assert.deepEqual(await numbers(read(emulator.options("aborted", { state }))), range(100, 1000));

  const before = read(emulator.options("aborted", { signal: AbortSignal.abort(new Error("too late")) }));
  await assert.rejects(before.next(), { message: "too late" });
});

test("it follows a stream that grows, until it is stopped", async () => {
  await emulator.create("followed", 1);
  const state = new MemoryState();
  const reading = read(emulator.options("followed", { until: "forever", state }));
  const had = [];
  const first = reading.next();
  await emulator.put("followed", 0, 5);
  had.push((await first).value.n);
  for await (const { n } of reading) {
    had.push(n);
    if (n === 4) await emulator.put("followed", 5, 10);
    if (n === 9) reading.stop();
  }
  assert.deepEqual(had, range(0, 10));
  assert.equal(reading.outcome, "stopped");
  assert.equal(state.saved, reading.checkpoint());
});

test("a start at LATEST is kept before there is a message, so that a crash skips nothing", async () => {
  await emulator.create("latest", 1);
  await emulator.put("latest", 0, 5);
  await nextSecond();
  const state = new MemoryState();
  assert.deepEqual(await numbers(read(emulator.options("latest", { start: "latest", state }))), []);
  await emulator.put("latest", 5, 8);
  assert.deepEqual(await numbers(read(emulator.options("latest", { start: "latest", state }))), [5, 6, 7]);
});

test("whoever waits for more is told of the end when the reading is left", async () => {
  await emulator.create("left", 1);
  const reading = read(emulator.options("left", { until: "forever" }));
  const waiting = reading.next();
  await reading.return();
  assert.deepEqual(await waiting, { value: undefined, done: true });
  assert.deepEqual(await reading.next(), { value: undefined, done: true });
});

test("calls of next that do not wait for each other get messages in order", async () => {
  await emulator.create("hasty", 1);
  await emulator.put("hasty", 0, 20);
  const reading = read(emulator.options("hasty", { pageRecords: 3 }));
  const results = await Promise.all(range(0, 22).map(() => reading.next()));
  assert.deepEqual(results.map(({ value }) => value?.n), [...range(0, 20), undefined, undefined]);
});

test("an exact number of messages comes, and the rest in the next run", async () => {
  await emulator.create("limited", 2);
  await emulator.put("limited", 0, 500);
  const options = emulator.options("limited", { state: new MemoryState() });
  const first = read({ ...options, maxMessages: 123 });
  const had = await numbers(first);
  assert.deepEqual([had.length, first.outcome, first.totals().messages], [123, "limited", 123]);
  assert.deepEqual(sorted([...had, ...(await numbers(read(options)))]), range(0, 500));
});

test("a range of time is read", async () => {
  await emulator.create("timed", 1);
  await emulator.put("timed", 0, 3);
  // The emulator dates records by the same clock.
  const from = await nextSecond();
  await emulator.put("timed", 3, 6);
  const to = await nextSecond();
  await emulator.put("timed", 6, 9);
  assert.deepEqual(await numbers(read(emulator.options("timed", { start: new Date(from), until: new Date(to) }))), [3, 4, 5]);
});

test("checkpoints of several writers are joined", async () => {
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

/** The emulator's clock shows whole seconds, and nothing is read from a later time than its own: waits for the next one. */
async function nextSecond() {
  const next = (Math.floor(Date.now() / 1000) + 1) * 1000;
  while (Date.now() < next) await new Promise((resolve) => setTimeout(resolve, next - Date.now()));
  return next;
}

async function onceExited(child) {
  if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
  return { code: child.exitCode, signal: child.signalCode };
}

async function temporary(name) {
  const { mkdtemp, rm } = await import("node:fs/promises");
  const { tmpdir } = await import("node:os");
  const { join } = await import("node:path");
  const folder = await mkdtemp(join(tmpdir(), "kinesis-reader-"));
  return { path: join(folder, name), remove: () => rm(folder, { recursive: true }) };
}
