import assert from "node:assert/strict";
import { after, before, mock, test } from "node:test";

import { mergeCheckpoints, read, readBatches } from "../src/node.js";
import { MemoryState, aggregate, range, sorted, startEmulator } from "./emulator.js";

let emulator;
before(async () => (emulator = await startEmulator()));
after(() => emulator.close());

test("a batch has lines, messages, records and a checkpoint", async () => {
  await emulator.create("forms", 1);
  await emulator.put("forms", 0, 300);
  for await (const batch of readBatches(emulator.options("forms"))) {
    assert.deepEqual([batch.shard, batch.count, batch.behind], ["shardId-000000000000", 300, 0]);
    const lines = batch.lines.trimEnd().split("\n").map((line) => JSON.parse(line));
    assert.deepEqual(lines.map(({ n }) => n), range(0, 300));
    assert.deepEqual([...batch.messages()], lines);
    assert.equal([...batch.pieces(1000)].join(""), batch.lines);
    const records = batch.records();
    assert.deepEqual(records.map(({ id, sequence }) => [id, sequence]), lines.map((line) => [line._kinesis_msg_id, line._kinesis.seq_no]));
    assert.equal(records.reduce((sum, { data }) => sum + data.length, 0), batch.size);
    assert.deepEqual(JSON.parse(new TextDecoder().decode(records[7].data)), { n: 7, item: "żółta herbata" });
    assert.deepEqual([records[7].partitionKey, records[7].arrived.toISOString()], ["key-7", lines[7]._kinesis.ts]);
    assert.deepEqual(JSON.parse(batch.checkpoint).shards, { "shardId-000000000000": { after: lines[299]._kinesis.seq_no } });
    await batch.ack();
    assert.throws(() => batch.lines, { code: "ended" });
    await batch.ack();
  }
});

test("only batches that were not acknowledged are delivered again, in whatever order the others were", async () => {
  await emulator.create("acked", 4);
  await emulator.put("acked", 0, 2000);
  const state = new MemoryState();
  const options = emulator.options("acked", { state, pageRecords: 100 });
  const acknowledged = [];
  let batches = [];
  for await (const batch of readBatches(options)) {
    batches.push(batch);
    // Four at a time, the last one first. In the third round, the first one is never acknowledged.
    if (batches.length < 4) continue;
    for (const finished of batches.reverse()) {
      const numbers = [...finished.messages()].map(({ n }) => n);
      if (acknowledged.length >= 800 && finished === batches.at(-1)) break;
      await finished.ack();
      acknowledged.push(...numbers);
    }
    if (acknowledged.length >= 1100) break;
    batches = [];
  }
  const rest = [];
  for await (const batch of readBatches(options)) {
    rest.push(...[...batch.messages()].map(({ n }) => n));
    await batch.ack();
  }
  assert.equal(acknowledged.length, 1100);
  assert.deepEqual(sorted([...acknowledged, ...rest]), range(0, 2000));
});

test("the checkpoint is saved when ack() resolves", async () => {
  await emulator.create("saved", 2);
  await emulator.put("saved", 0, 100);
  const state = new MemoryState();
  let joined;
  for await (const batch of readBatches(emulator.options("saved", { state }))) {
    const checkpoint = batch.checkpoint;
    await batch.ack();
    assert.equal(await mergeCheckpoints(state.saved, checkpoint), state.saved);
    joined = joined === undefined ? checkpoint : await mergeCheckpoints(joined, checkpoint);
  }
  assert.deepEqual(JSON.parse(joined).shards, JSON.parse(state.saved).shards);
});

test("a consumer that waits for its own ack() is warned", async () => {
  await emulator.create("starved", 2);
  await emulator.put("starved", 0, 10);
  const notices = [];
  const warned = withResolvers();
  const onNotice = (notice) => {
    notices.push(notice.kind);
    if (notice.kind === "unacknowledged") warned.resolve();
  };
  const run = readBatches(emulator.options("starved", { onNotice }));
  const batches = [(await run.next()).value, (await run.next()).value];
  mock.timers.enable({ apis: ["setTimeout"] });
  const third = run.next();
  await new Promise((resolve) => setImmediate(resolve));
  mock.timers.tick(10_000);
  mock.timers.reset();
  await warned.promise;
  await Promise.all(batches.map((batch) => batch.ack()));
  assert.deepEqual(await third, { value: undefined, done: true });
  assert.equal(notices.filter((kind) => kind === "unacknowledged").length, 1);
});

test("an ack() after the loop was left is an error", async () => {
  await emulator.create("late", 1);
  await emulator.put("late", 0, 10);
  let left;
  for await (const batch of readBatches(emulator.options("late"))) {
    left = batch;
    break;
  }
  await assert.rejects(left.ack(), { code: "ended", hint: /before you leave the loop/ });
});

function withResolvers() {
  const result = {};
  result.promise = new Promise((resolve, reject) => Object.assign(result, { resolve, reject }));
  return result;
}

test("a page that is rendered to more than a batch may have comes in batches that go on from each other", async () => {
  await emulator.create("grown", 1);
  const payloads = range(0, 400).map((n) => JSON.stringify({ n }));
  const records = [aggregate(payloads.slice(0, 200), "ż".repeat(256)), aggregate(payloads.slice(200), "ż".repeat(256))];
  await emulator.put("grown", 0, 2, (n) => records[n]);
  const state = new MemoryState();
  const options = emulator.options("grown", { state, limits: { batchBytes: 50_000 } });
  const had = [];
  let batches = 0;
  for await (const batch of readBatches(options)) {
    assert.ok(Buffer.byteLength(batch.lines) <= 50_000, `${Buffer.byteLength(batch.lines)} bytes`);
    assert.equal(batch.records().length, batch.count);
    // The fourth is not acknowledged, and comes again.
    if ((batches += 1) === 4) break;
    had.push(...[...batch.messages()].map(({ n }) => n));
    await batch.ack();
  }
  assert.match(state.saved, /"sub":\d+/);
  for await (const { n } of read(options)) had.push(n);
  assert.deepEqual(had, range(0, 400));
});

test("a key that no key can be makes a record one message", async () => {
  await emulator.create("bomb", 1);
  await emulator.put("bomb", 0, 1, () => aggregate(Array(1000).fill(""), "K".repeat(500_000)));
  for await (const batch of readBatches(emulator.options("bomb"))) {
    assert.equal(batch.count, 1);
    assert.ok(batch.lines.length < 1_000_000);
    await batch.ack();
  }
});
