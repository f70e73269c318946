// A model of Kinesis that misbehaves on request. It has one stream, `orders`, with one shard and the messages `{"n":0}`,
// `{"n":1}`, and so on.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";

import { credentials, region } from "./emulator.js";

const SHARD = "shardId-000000000000";
const FIRST = 49590338271490256608559692538361571095921575989136588898n;
const SUMMARY = { StreamName: "orders", StreamARN: `arn:aws:kinesis:${region}:000000000000:stream/orders`, StreamStatus: "ACTIVE", StreamCreationTimestamp: 1_700_000_000 };

/** Returns a record that arrived ten minutes ago. */
export function record(n, more = {}) {
  return {
    SequenceNumber: String(FIRST + BigInt(n)), ApproximateArrivalTimestamp: Date.now() / 1000 - 600, PartitionKey: "key",
    Data: Buffer.from(JSON.stringify({ n })).toString("base64"), ...more,
  };
}

/**
 * Starts the model. `misbehave` is called with the operation, its parameters and the request. It may return another answer:
 * `[status, body, headers]`, or a function that writes the response.
 */
export async function startModel({ records: count = 10, page = 10_000, misbehave = () => undefined } = {}) {
  const records = Array.from({ length: count }, (_, n) => record(n));
  const requests = [];
  const server = createServer(async (request, response) => {
    let text = "";
    for await (const part of request.setEncoding("utf8")) text += part;
    const operation = request.headers["x-amz-target"].split(".")[1];
    requests.push(operation);
    const query = JSON.parse(text);
    const answer = (await misbehave(operation, query, request)) ?? [200, answerTo(operation, query, records, page)];
    if (typeof answer === "function") return answer(response);
    const [status, body, headers = {}] = answer;
    response.writeHead(status, { "content-type": "application/x-amz-json-1.1", "x-amzn-requestid": "r-1", ...headers });
    response.end(typeof body === "string" ? body : JSON.stringify(body));
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  const url = `http://127.0.0.1:${server.address().port}`;
  return {
    url,
    records,
    requests,
    options: (more = {}) => ({ stream: "orders", endpointUrl: url, region, credentials, pace: "off", ...more }),
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
}

function answerTo(operation, query, records, page) {
  switch (operation) {
    case "DescribeStreamSummary":
      return { StreamDescriptionSummary: SUMMARY };
    case "ListShards":
      return { Shards: [shard()] };
    case "GetShardIterator":
      return { ShardIterator: String(indexOf(query, records)) };
    case "GetRecords": {
      const at = Number(query.ShardIterator);
      const end = Math.min(at + page, records.length);
      return { Records: records.slice(at, end), MillisBehindLatest: end < records.length ? 1000 : 0, NextShardIterator: String(end) };
    }
  }
}

/** Returns the index of the first record to read, which is also its shard iterator. */
function indexOf({ ShardIteratorType, StartingSequenceNumber, Timestamp }, records) {
  switch (ShardIteratorType) {
    case "TRIM_HORIZON":
      return 0;
    case "AFTER_SEQUENCE_NUMBER":
      return records.findIndex((record) => record.SequenceNumber === StartingSequenceNumber) + 1;
    case "AT_TIMESTAMP": {
      const at = records.findIndex((record) => record.ApproximateArrivalTimestamp >= Timestamp);
      return at < 0 ? records.length : at;
    }
    default:
      return records.length;
  }
}

/** Starts a model that is closed after the test. */
export async function modelFor(t, options) {
  const model = await startModel(options);
  t.after(() => model.close());
  return model;
}

/** Returns the error of a promise that must be rejected. */
export async function thrown(promise) {
  return promise.then(() => assert.fail("expected an error"), (error) => error);
}

/** Returns the shard as in a listing. */
export function shard(more = {}) {
  return {
    ShardId: SHARD, HashKeyRange: { StartingHashKey: "0", EndingHashKey: String((1n << 128n) - 1n) },
    SequenceNumberRange: { StartingSequenceNumber: String(FIRST) }, ...more,
  };
}

/** Returns an error of Kinesis. */
export function refused(type, message = "", headers = {}) {
  return [400, { __type: type, message }, headers];
}

/** Returns a state whose checkpoint is in the future. */
export function futureState() {
  const shards = { [SHARD]: { at: Date.now() + 86_400_000 } };
  return { load: () => JSON.stringify({ version: 1, stream: { name: "orders" }, shards }), save() {} };
}
