import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { KinesisReaderError, read, readBatches } from "../src/node.js";
import { MemoryState, aggregate, numbers, range, startEmulator } from "./emulator.js";

let emulator;
before(async () => (emulator = await startEmulator()));
after(() => emulator.close());

test("a stream that was made again is refused or followed, and what left with the old one is told or fails", async () => {
  await emulator.create("again", 1);
  await emulator.put("again", 0, 10);
  const state = new MemoryState();
  const notices = [];
  const options = (more) => emulator.options("again", { state, onNotice: (notice) => notices.push(notice), ...more });
  assert.deepEqual(await numbers(read(options())), range(0, 10));
  // Streams of one second are not told apart.
  const kept = JSON.parse(state.saved);
  kept.stream.created -= 60_000;
  const before = (state.saved = JSON.stringify(kept));
  await emulator.delete("again");
  await emulator.create("again", 1);
  await emulator.put("again", 10, 20);

  const refused = await thrown(numbers(read(options())));
  assert.equal(refused.service.cause.tag, "recreated");
  assert.match(refused.message, /another stream of this name[^]*hint: .*recreated: "follow"/);
  const failed = await thrown(numbers(read(options({ recreated: "follow", onGap: "fail" }))));
  assert.equal(failed.service.cause.tag, "lost");
  assert.match(failed.message, /records of shardId-000000000000 have left the stream unread, after \d+\nhint: onGap: "tell"/);
  // It stays before the gap, so that another run finds it again.
  assert.equal(state.saved, before);

  notices.length = 0;
  assert.deepEqual(await numbers(read(options({ recreated: "follow" }))), range(10, 20));
  assert.deepEqual(notices.filter(({ kind }) => kind === "gap").map(({ shard }) => shard), ["shardId-000000000000"]);
  assert.deepEqual(await numbers(read(options())), []);
});

test("messages that are not as asked are handed on with the reason, before the page that has them", async () => {
  await emulator.create("bad", 1);
  await emulator.put("bad", 0, 8, (n) => (n % 4 === 1 ? `no. ${n}` : n === 7 ? Buffer.from([0xff, n]) : JSON.stringify({ n })));
  const bad = [];
  const onInvalidRecords = async (lines) => bad.push(...lines.trimEnd().split("\n").map((line) => JSON.parse(line)));
  const options = (more) => emulator.options("bad", { onInvalidRecords, ...more });
  let had = 0;
  for await (const batch of readBatches(options())) {
    assert.equal(bad.length, 3);
    had += batch.count;
    await batch.ack();
  }
  assert.equal(had, 8);
  assert.deepEqual(bad.map(({ data, data_base64 }) => data ?? data_base64), ["no. 1", "no. 5", "/wc="]);
  assert.deepEqual(bad.map((line) => line._kinesis_reason), ["not JSON", "not JSON", "not UTF-8"]);
  assert.ok(bad.every((line) => line._kinesis.seq_no && line._kinesis_msg_id));

  // One who cannot take them has them again, with the page.
  const state = new MemoryState();
  const full = async () => { throw new Error("the disk is full"); };
  await assert.rejects(numbers(read(options({ state, onInvalidRecords: full }))), /the disk is full/);
  bad.length = 0;
  assert.equal((await numbers(read(options({ state })))).length, 8);
  assert.equal(bad.length, 3);
  bad.length = 0;
  assert.equal((await numbers(read(options({ payload: "base64" })))).length, 8);
  assert.deepEqual(bad, []);
});

test("a loop that is left inside an aggregate goes on there", async () => {
  await emulator.create("aggregated", 1);
  const payload = (n) => JSON.stringify({ n });
  await emulator.put("aggregated", 0, 2);
  await emulator.put("aggregated", 2, 3, () => aggregate(range(2, 7).map(payload)));
  await emulator.put("aggregated", 7, 9);
  const state = new MemoryState();
  const options = (more) => emulator.options("aggregated", { state, ...more });
  const places = () => Object.values(JSON.parse(state.saved).shards);

  assert.deepEqual(await numbers(read(options()), 4), range(0, 4));
  assert.equal(places()[0].sub, 1);
  assert.deepEqual(await numbers(read(options({ maxMessages: 2 }))), [4, 5]);
  assert.equal(places()[0].sub, 3);
  const rest = [];
  for await (const { n, _kinesis } of read(options())) rest.push([n, _kinesis.sub_seq]);
  assert.deepEqual(rest, [[6, 4], [7, undefined], [8, undefined]]);
  assert.equal(places()[0].sub, undefined);
  assert.equal((await numbers(read(options({ state: undefined, deaggregate: false })))).length, 5);
});

test("words that these options do not know are told with those that they know", async () => {
  for (const [more, words] of [
    [{ onGap: "stop" }, /onGap: not known: stop\nhint: write tell, fail/],
    [{ recreated: true }, /recreated: not known: true\nhint: write refuse, follow/],
    [{ onInvalidRecords: "bad.ndjson" }, /onInvalidRecords: it is no function: bad.ndjson/],
  ]) {
    assert.match((await thrown(numbers(read(emulator.options("orders", more))))).message, words);
  }
});

async function thrown(promise) {
  const error = await promise.then(() => assert.fail("it should throw"), (error) => error);
  assert.ok(error instanceof KinesisReaderError, error);
  return error;
}
