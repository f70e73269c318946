// An emulated Kinesis for the tests, and what fills its streams.

import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { createInterface } from "node:readline";

import { post } from "../src/node/http.js";
import { Transport } from "../src/transport.js";

export const region = "us-east-1";
export const credentials = { accessKeyId: "test", secretAccessKey: "test" };

/** Starts the program that `KINESIS_EMULATOR_BIN` names; it ends with `close`, and with this process. */
export async function startEmulator() {
  const program = process.env.KINESIS_EMULATOR_BIN;
  if (!program) throw new Error("KINESIS_EMULATOR_BIN is not set\nhint: `cargo xtask js` sets it");
  const child = spawn(program, { stdio: ["pipe", "pipe", "ignore"] });
  const exited = once(child, "exit");
  const [url] = await Promise.race([
    once(createInterface(child.stdout), "line"),
    exited.then(() => { throw new Error(`the emulator did not start: ${program}`); }),
  ]);
  return new Emulator(url, async () => {
    child.stdin.end();
    await exited;
  });
}

export class Emulator {
  #transport;

  constructor(url, close) {
    this.url = url;
    this.close = close;
    this.#transport = new Transport({ url: new URL(url), region, credentials, post });
  }

  /** What reading a stream here takes: no pace is kept, for there is nobody to share with. */
  options(stream, more = {}) {
    return { stream, endpointUrl: this.url, region, credentials, pace: "off", ...more };
  }

  async ask(operation, query) {
    const body = { tag: "json", val: JSON.stringify(query) };
    const response = await this.#transport.send({ target: `Kinesis_20131202.${operation}`, body }, new AbortController().signal);
    const answer = String(Buffer.from(response.body.val));
    if (response.status !== 200) throw new Error(`${operation}: ${answer}`);
    return answer === "" ? undefined : JSON.parse(answer);
  }

  async create(stream, shards) {
    await this.ask("CreateStream", { StreamName: stream, ShardCount: shards });
    await this.#settled(stream);
  }

  /** Puts messages `{"n":…}` of these numbers, spread over the shards. */
  async put(stream, from, to, payload = (n) => JSON.stringify({ n, item: "żółta herbata" })) {
    for (let first = from; first < to; first += 500) {
      const numbers = Array.from({ length: Math.min(500, to - first) }, (_, i) => first + i);
      const Records = numbers.map((n) => ({ Data: Buffer.from(payload(n)).toString("base64"), PartitionKey: `key-${n % 977}` }));
      const { FailedRecordCount } = await this.ask("PutRecords", { StreamName: stream, Records });
      if (FailedRecordCount) throw new Error(`${FailedRecordCount} records were refused`);
    }
  }

  /** Takes a stream away, with all that it holds. */
  async delete(stream) {
    await this.ask("DeleteStream", { StreamName: stream });
    for (;;) {
      const { StreamNames } = await this.ask("ListStreams", {});
      if (!StreamNames.includes(stream)) return;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** The open shards, in the order of their hash keys. */
  async openShards(stream) {
    const { Shards } = await this.ask("ListShards", { StreamName: stream });
    return Shards
      .filter((shard) => !shard.SequenceNumberRange.EndingSequenceNumber)
      .map((shard) => ({ id: shard.ShardId, first: BigInt(shard.HashKeyRange.StartingHashKey), last: BigInt(shard.HashKeyRange.EndingHashKey) }))
      .sort((a, b) => (a.first < b.first ? -1 : 1));
  }

  /** Splits the open shard of this place in the middle. */
  async split(stream, at) {
    const { id, first, last } = (await this.openShards(stream))[at];
    const middle = String(first + (last - first) / 2n + 1n);
    await this.ask("SplitShard", { StreamName: stream, ShardToSplit: id, NewStartingHashKey: middle });
    await this.#settled(stream);
  }

  /** Merges the open shard of this place with the one after it. */
  async merge(stream, at) {
    const shards = await this.openShards(stream);
    await this.ask("MergeShards", { StreamName: stream, ShardToMerge: shards[at].id, AdjacentShardToMerge: shards[at + 1].id });
    await this.#settled(stream);
  }

  async #settled(stream) {
    for (;;) {
      const { StreamDescriptionSummary } = await this.ask("DescribeStreamSummary", { StreamName: stream });
      if (StreamDescriptionSummary.StreamStatus === "ACTIVE") return;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

/** A state that keeps its checkpoint here. */
export class MemoryState {
  saved;
  saves = 0;
  load() {
    return this.saved;
  }
  async save(checkpoint) {
    this.saved = checkpoint;
    this.saves += 1;
  }
}

export function range(from, to) {
  return Array.from({ length: to - from }, (_, i) => from + i);
}

export function sorted(numbers) {
  return [...numbers].sort((a, b) => a - b);
}

/** Reads until the end, or until the consumer has had `most` messages, and gives their numbers. */
export async function numbers(reading, most = Infinity) {
  const had = [];
  for await (const message of reading) {
    if (had.length === most) break;
    had.push(message.n);
  }
  return had;
}

/** A record as the Kinesis Producer Library makes it of several of one partition key. */
export function aggregate(payloads, key = "key-0") {
  const varint = (number) => (number < 0x80 ? [number] : [(number & 0x7f) | 0x80, ...varint(number >>> 7)]);
  const field = (number, bytes) => Buffer.concat([Buffer.from([(number << 3) | 2, ...varint(bytes.length)]), bytes]);
  // Of each record the key is the first in the table.
  const records = payloads.map((payload) => field(3, Buffer.concat([Buffer.from([1 << 3, 0]), field(3, Buffer.from(payload))])));
  const body = Buffer.concat([field(1, Buffer.from(key)), ...records]);
  return Buffer.concat([Buffer.from("f3899ac2", "hex"), body, createHash("md5").update(body).digest()]);
}
