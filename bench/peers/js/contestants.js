// Ways to read everything from a server, with the JavaScript package and the AWS SDK. The calling process measures
// them.
//
// node contestants.js WAY URL MESSAGES

import { createHash } from "node:crypto";
import { closeSync, openSync, writeSync } from "node:fs";

const [way, endpointUrl, expected] = process.argv.slice(2);
const stream = "orders";
const region = "us-east-1";
const credentials = { accessKeyId: "test", secretAccessKey: "test" };
const options = { stream, endpointUrl, region, credentials, pace: "off" };

/** Each returns the number of messages. Those that yield objects inspect each one. */
const WAYS = {
  async sdk() {
    const decoder = new TextDecoder();
    let [count, paid] = [0, 0];
    for await (const { record } of sdkRecords()) {
      if (JSON.parse(decoder.decode(record.Data)).paid) paid += 1;
      count += 1;
    }
    return count;
  },
  async read() {
    const { read } = await import("../../../bindings/js/src/node.js");
    let [count, paid] = [0, 0];
    for await (const message of read(options)) {
      if (message.paid) paid += 1;
      count += 1;
    }
    return count;
  },
  async batches() {
    const { readBatches } = await import("../../../bindings/js/src/node.js");
    let [count, paid] = [0, 0];
    for await (const batch of readBatches(options)) {
      for (const message of batch.messages()) if (message.paid) paid += 1;
      count += batch.count;
      await batch.ack();
    }
    return count;
  },
  async "sdk-lines"() {
    const decoder = new TextDecoder();
    const out = openSync("/dev/null", "w");
    let [count, lines] = [0, []];
    for await (const { record, shard } of sdkRecords()) {
      const { SequenceNumber, ApproximateArrivalTimestamp, PartitionKey, Data } = record;
      lines.push(JSON.stringify({
        _kinesis: { shard_id: shard, seq_no: SequenceNumber, ts: ApproximateArrivalTimestamp, partition: PartitionKey, stream_name: stream },
        _kinesis_msg_id: createHash("sha256").update(`${shard}/${SequenceNumber}`).digest("hex").slice(0, 32),
        ...JSON.parse(decoder.decode(Data)),
      }));
      count += 1;
      if (lines.length === 1000) {
        writeSync(out, `${lines.join("\n")}\n`);
        lines = [];
      }
    }
    closeSync(out);
    return count;
  },
  async lines() {
    const { readBatches } = await import("../../../bindings/js/src/node.js");
    const out = openSync("/dev/null", "w");
    let count = 0;
    for await (const batch of readBatches(options)) {
      for (const piece of batch.pieces()) writeSync(out, piece);
      count += batch.count;
      await batch.ack();
    }
    closeSync(out);
    return count;
  },
};

async function* sdkRecords() {
  const { GetRecordsCommand, GetShardIteratorCommand, KinesisClient, ListShardsCommand } = await import("@aws-sdk/client-kinesis");
  const { NodeHttpHandler } = await import("@smithy/node-http-handler");
  // The default is HTTP/2, which the server does not support.
  const client = new KinesisClient({ endpoint: endpointUrl, region, credentials, requestHandler: new NodeHttpHandler() });
  for (const { ShardId } of (await client.send(new ListShardsCommand({ StreamName: stream }))).Shards) {
    let { ShardIterator } = await client.send(new GetShardIteratorCommand({ StreamName: stream, ShardId, ShardIteratorType: "TRIM_HORIZON" }));
    for (;;) {
      const page = await client.send(new GetRecordsCommand({ ShardIterator, Limit: 10_000 }));
      for (const record of page.Records) yield { record, shard: ShardId };
      if (page.Records.length === 0 && page.MillisBehindLatest === 0) break;
      ShardIterator = page.NextShardIterator;
    }
  }
}

const count = await WAYS[way]();
if (count !== Number(expected)) throw new Error(`${way}: ${count} of ${expected} messages`);
