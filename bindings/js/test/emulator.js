// Starts an emulator of Kinesis and fills its streams.

import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { createInterface } from "node:readline";

import { post } from "../src/node/http.js";
import { Transport } from "../src/transport.js";

export const region = "us-east-1";
export const credentials = { accessKeyId: "test", secretAccessKey: "test" };

/** Starts the program that `KINESIS_EMULATOR_BIN` names. It exits on `close`, or with this process. */
export async function startEmulator() {
  const program = process.env.KINESIS_EMULATOR_BIN;
  if (!program) throw new Error("KINESIS_EMULATOR_BIN is not set\nhint: run the tests with `cargo xtask js`");
  const child = spawn(program, { stdio: ["pipe", "pipe", "ignore"] });
  const exited = once(child, "exit");
  const [url] = await Promise.race([
    once(createInterface(child.stdout), "line"),
    exited.then(() => { throw new Error(`cannot start the emulator: ${program}`); }),
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

  /** Returns options for reading a stream of this emulator. */
  options(stream, more = {}) {
    return { stream, endpointUrl: this.url, region, credentials, pace: "off", ...more };
  }

  async request(operation, query) {
    const body = { tag: "json", val: JSON.stringify(query) };
    const response = await this.#transport.send({ target: `Kinesis_20131202.${operation}`, body }, new AbortController().signal);
    const answer = String(Buffer.from(response.body.val));
    if (response.status !== 200) throw new Error(`${operation}: ${answer}`);
    return answer === "" ? undefined : JSON.parse(answer);
  }

  async create(stream, shards) {
    await this.request("CreateStream", { StreamName: stream, ShardCount: shards });
    await this.#untilActive(stream);
  }

  /** Puts messages with the numbers from `from` to `to`, spread over the shards. */
  async put(stream, from, to, payload = (n) => JSON.stringify({ n, item: "żółta herbata" })) {
    for (let first = from; first < to; first += 500) {
      const numbers = range(first, Math.min(first + 500, to));
      const Records = numbers.map((n) => ({ Data: Buffer.from(payload(n)).toString("base64"), PartitionKey: `key-${n % 977}` }));
      const { FailedRecordCount } = await this.request("PutRecords", { StreamName: stream, Records });
      if (FailedRecordCount) throw new Error(`${FailedRecordCount} records were refused`);
    }
  }

  async delete(stream) {
    await this.request("DeleteStream", { StreamName: stream });
    for (;;) {
      const { StreamNames } = await this.request("ListStreams", {});
      if (!StreamNames.includes(stream)) return;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** Returns the open shards, ordered by their hash key ranges. */
  async openShards(stream) {
    const { Shards } = await this.request("ListShards", { StreamName: stream });
    return Shards
      .filter((shard) => !shard.SequenceNumberRange.EndingSequenceNumber)
      .map((shard) => ({ id: shard.ShardId, first: BigInt(shard.HashKeyRange.StartingHashKey), last: BigInt(shard.HashKeyRange.EndingHashKey) }))
      .sort((a, b) => (a.first < b.first ? -1 : 1));
  }

  /** Splits the open shard with this index in the middle. */
  async split(stream, index) {
    const { id, first, last } = (await this.openShards(stream))[index];
    const middle = String(first + (last - first) / 2n + 1n);
    await this.request("SplitShard", { StreamName: stream, ShardToSplit: id, NewStartingHashKey: middle });
    await this.#untilActive(stream);
  }

  /** Merges the open shard with this index and the next one. */
  async merge(stream, index) {
    const shards = await this.openShards(stream);
    await this.request("MergeShards", { StreamName: stream, ShardToMerge: shards[index].id, AdjacentShardToMerge: shards[index + 1].id });
    await this.#untilActive(stream);
  }

  async #untilActive(stream) {
    for (;;) {
      const { StreamDescriptionSummary } = await this.request("DescribeStreamSummary", { StreamName: stream });
      if (StreamDescriptionSummary.StreamStatus === "ACTIVE") return;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

/** A state in memory. */
export class MemoryState {
  saved;
  load() {
    return this.saved;
  }
  async save(checkpoint) {
    this.saved = checkpoint;
  }
}

export function range(from, to) {
  return Array.from({ length: to - from }, (_, i) => from + i);
}

export function sorted(numbers) {
  return [...numbers].sort((a, b) => a - b);
}

/** Reads to the end, or leaves the loop after `most` messages. Returns their numbers. */
export async function numbers(run, most = Infinity) {
  const received = [];
  for await (const message of run) {
    if (received.length === most) break;
    received.push(message.n);
  }
  return received;
}

/** Returns an aggregated record as the Kinesis Producer Library writes it, with one partition key for all payloads. */
export function aggregate(payloads, key = "key-0") {
  const varint = (number) => (number < 0x80 ? [number] : [(number & 0x7f) | 0x80, ...varint(number >>> 7)]);
  const field = (number, bytes) => Buffer.concat([Buffer.from([(number << 3) | 2, ...varint(bytes.length)]), bytes]);
  // Each user record refers to key 0 of the table.
  const records = payloads.map((payload) => field(3, Buffer.concat([Buffer.from([1 << 3, 0]), field(3, Buffer.from(payload))])));
  const body = Buffer.concat([field(1, Buffer.from(key)), ...records]);
  return Buffer.concat([Buffer.from("f3899ac2", "hex"), body, createHash("md5").update(body).digest()]);
}
