// Gaps, recreated streams, invalid records and aggregated records.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { KinesisReaderError, read, readBatches } from "../src/node.js";
import { MemoryState, aggregate, numbers, range, startEmulator } from "./emulator.js";
import { thrown } from "./model.js";

let emulator;
before(async () => (emulator = await startEmulator()));
after(() => emulator.close());

test("a recreated stream is refused or followed, and the old one's unread records are a gap", async () => {
  await emulator.create("recreated", 1);
  await emulator.put("recreated", 0, 10);
  const state = new MemoryState();
  const notices = [];
  const options = (more) => emulator.options("recreated", { state, onNotice: (notice) => notices.push(notice), ...more });
  assert.deepEqual(await numbers(read(options())), range(0, 10));
  // Streams that were created in the same second cannot be told apart.
  const checkpoint = JSON.parse(state.saved);
  checkpoint.stream.created -= 60_000;
  const before = (state.saved = JSON.stringify(checkpoint));
  await emulator.delete("recreated");
  await emulator.create("recreated", 1);
  await emulator.put("recreated", 10, 20);

  const refused = await thrown(numbers(read(options())));
  assert.ok(refused instanceof KinesisReaderError);
  assert.equal(refused.service.cause.tag, "recreated");
  assert.match(refused.message, /^the stream was recreated since the checkpoint: [^]*hint: .*recreated: "follow"/);
  const failed = await thrown(numbers(read(options({ recreated: "follow", onGap: "fail" }))));
  assert.equal(failed.service.cause.tag, "gap");
  assert.match(failed.message, /^gap in shardId-000000000000: records after \d+ may have left the stream unread\nhint: set onGap: "continue"/);
  // The checkpoint stays before the gap.
  assert.equal(state.saved, before);

  notices.length = 0;
  assert.deepEqual(await numbers(read(options({ recreated: "follow" }))), range(10, 20));
  assert.deepEqual(notices.filter(({ kind }) => kind === "gap").map(({ shard }) => shard), ["shardId-000000000000"]);
  assert.deepEqual(await numbers(read(options())), []);
});

test("invalid records are passed on with the reason, before their page is delivered", async () => {
  await emulator.create("invalid", 1);
  await emulator.put("invalid", 0, 8, (n) => (n % 4 === 1 ? `no. ${n}` : n === 7 ? Buffer.from([0xff, n]) : JSON.stringify({ n })));
  const invalid = [];
  const onInvalidRecords = async (lines) => invalid.push(...lines.trimEnd().split("\n").map((line) => JSON.parse(line)));
  const options = (more) => emulator.options("invalid", { onInvalidRecords, ...more });
  let count = 0;
  for await (const batch of readBatches(options())) {
    assert.equal(invalid.length, 3);
    count += batch.count;
    await batch.ack();
  }
  assert.equal(count, 8);
  assert.deepEqual(invalid.map(({ data, data_base64 }) => data ?? data_base64), ["no. 1", "no. 5", "/wc="]);
  assert.deepEqual(invalid.map((line) => line._kinesis_reason), ["not JSON", "not JSON", "not UTF-8"]);
  assert.ok(invalid.every((line) => line._kinesis.seq_no && line._kinesis_msg_id));

  // If they cannot be stored, the next run delivers them and their page again.
  const state = new MemoryState();
  const full = async () => { throw new Error("the disk is full"); };
  await assert.rejects(numbers(read(options({ state, onInvalidRecords: full }))), /the disk is full/);
  invalid.length = 0;
  assert.equal((await numbers(read(options({ state })))).length, 8);
  assert.equal(invalid.length, 3);
  invalid.length = 0;
  assert.equal((await numbers(read(options({ payload: "base64" })))).length, 8);
  assert.deepEqual(invalid, []);
});

test("a run that ends inside an aggregated record is continued there", async () => {
  await emulator.create("aggregated", 1);
  const payload = (n) => JSON.stringify({ n });
  await emulator.put("aggregated", 0, 2);
  await emulator.put("aggregated", 2, 3, () => aggregate(range(2, 7).map(payload)));
  await emulator.put("aggregated", 7, 9);
  const state = new MemoryState();
  const options = (more) => emulator.options("aggregated", { state, ...more });
  const position = () => Object.values(JSON.parse(state.saved).shards)[0];

  assert.deepEqual(await numbers(read(options()), 4), range(0, 4));
  assert.equal(position().sub, 1);
  assert.deepEqual(await numbers(read(options({ maxMessages: 2 }))), [4, 5]);
  assert.equal(position().sub, 3);
  const rest = [];
  for await (const { n, _kinesis } of read(options())) rest.push([n, _kinesis.sub_seq]);
  assert.deepEqual(rest, [[6, 4], [7, undefined], [8, undefined]]);
  assert.equal(position().sub, undefined);
  assert.equal((await numbers(read(options({ state: undefined, deaggregate: false })))).length, 5);
});
