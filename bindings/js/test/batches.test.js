import assert from "node:assert/strict";
import { after, before, mock, test } from "node:test";

import { mergeCheckpoints, readBatches } from "../src/node.js";
import { MemoryState, range, sorted, startEmulator } from "./emulator.js";

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

test("what was not acknowledged comes again, and nothing else, in whatever order it was done", async () => {
  await emulator.create("acked", 4);
  await emulator.put("acked", 0, 2000);
  const state = new MemoryState();
  const options = emulator.options("acked", { state, pageRecords: 100 });
  const had = [];
  let held = [];
  for await (const batch of readBatches(options)) {
    held.push(batch);
    // The last of four is done first; the first of the third four is never done.
    if (held.length < 4) continue;
    for (const done of held.reverse()) {
      const numbers = [...done.messages()].map(({ n }) => n);
      if (had.length >= 800 && done === held.at(-1)) break;
      await done.ack();
      had.push(...numbers);
    }
    if (had.length >= 1100) break;
    held = [];
  }
  const rest = [];
  for await (const batch of readBatches(options)) {
    rest.push(...[...batch.messages()].map(({ n }) => n));
    await batch.ack();
  }
  assert.equal(had.length, 1100);
  assert.deepEqual(sorted([...had, ...rest]), range(0, 2000));
});

test("a checkpoint is kept when ack() has resolved", async () => {
  await emulator.create("kept", 2);
  await emulator.put("kept", 0, 100);
  const state = new MemoryState();
  let own;
  for await (const batch of readBatches(emulator.options("kept", { state }))) {
    const checkpoint = batch.checkpoint;
    await batch.ack();
    assert.equal(await mergeCheckpoints(state.saved, checkpoint), state.saved);
    own = own === undefined ? checkpoint : await mergeCheckpoints(own, checkpoint);
  }
  // Joined from those of the batches, it is the reader's own.
  assert.deepEqual(JSON.parse(own).shards, JSON.parse(state.saved).shards);
});

test("a consumer that waits for its own ack() is told so", async () => {
  await emulator.create("starved", 2);
  await emulator.put("starved", 0, 10);
  const notices = [];
  const told = withResolvers();
  const onNotice = (notice) => {
    notices.push(notice.kind);
    if (notice.kind === "unacknowledged") told.resolve();
  };
  const reading = readBatches(emulator.options("starved", { onNotice }));
  const batches = [(await reading.next()).value, (await reading.next()).value];
  mock.timers.enable({ apis: ["setTimeout"] });
  const third = reading.next();
  await new Promise((resolve) => setImmediate(resolve));
  mock.timers.tick(10_000);
  mock.timers.reset();
  await told.promise;
  await Promise.all(batches.map((batch) => batch.ack()));
  assert.deepEqual(await third, { value: undefined, done: true });
  assert.equal(notices.filter((kind) => kind === "unacknowledged").length, 1);
});

test("an ack() after the loop was left says that it is too late", async () => {
  await emulator.create("late", 1);
  await emulator.put("late", 0, 10);
  let left;
  for await (const batch of readBatches(emulator.options("late"))) {
    left = batch;
    break;
  }
  await assert.rejects(left.ack(), { code: "ended", hint: /before leaving the loop/ });
});

function withResolvers() {
  const made = {};
  made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }));
  return made;
}
