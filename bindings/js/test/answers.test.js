// Answers that are too large, too slow, broken or missing, and secrets in endpoint URLs.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { inspect } from "node:util";

import { fetchPost } from "../src/fetch.js";
import { post } from "../src/node/http.js";
import { read } from "../src/node.js";
import { Transport } from "../src/transport.js";
import { credentials, numbers, range } from "./emulator.js";
import { modelFor, shard, thrown } from "./model.js";

const FOREVER = new Promise(() => {});

/** Returns an answer that never ends. Counts the bytes in `sent`. */
function endless(status, sent) {
  return (response) => {
    response.writeHead(status, { "content-type": "application/x-amz-json-1.1" });
    const part = Buffer.alloc(1 << 16, 0x20);
    const more = () => {
      while (!response.destroyed && response.write(part)) sent.bytes += part.length;
    };
    response.on("drain", more);
    more();
  };
}

test("both clients read no more of an answer than its operation allows", async (t) => {
  const sent = {};
  let status;
  const model = await modelFor(t, { misbehave: () => endless(status, sent) });
  for (const client of [post, fetchPost(fetch)]) {
    const transport = new Transport({ url: new URL(model.url), region: "us-east-1", credentials, post: client });
    for (const [operation, sizeMax, words] of [["GetRecords", 64 << 20, "64 MiB"], ["ListShards", 16 << 20, "16 MiB"], ["GetShardIterator", 64 << 10, "64 KiB"], ["DescribeStreamSummary", 64 << 10, "64 KiB"]]) {
      const send = () => transport.send({ target: `Kinesis_20131202.${operation}`, body: { tag: "json", val: "{}" } }, new AbortController().signal);
      [status, sent.bytes] = [200, 0];
      const failure = await thrown(send());
      assert.deepEqual([failure.tag, failure.val], ["permanent", `answer from ${new URL(model.url).host} is larger than ${words}`]);
      // Socket buffers hold some more.
      assert.ok(sent.bytes < sizeMax + (12 << 20), `${operation}: ${sent.bytes} bytes`);
      // The start of an error is enough.
      [status, sent.bytes] = [503, 0];
      const answer = await send();
      assert.deepEqual([answer.status, answer.body.val.length], [503, 1 << 20]);
      assert.ok(sent.bytes < 16 << 20, `${operation}: ${sent.bytes} bytes`);
    }
  }
});

test("a shard iterator of several megabytes ends the run", async (t) => {
  const shards = range(0, 64).map((n) => shard({ ShardId: `shardId-${String(n).padStart(12, "0")}` }));
  const model = await modelFor(t, {
    misbehave: (operation) => (operation === "ListShards" ? [200, { Shards: shards }] : operation === "GetShardIterator" ? [200, { ShardIterator: "A".repeat(8 << 20) }] : undefined),
  });
  const error = await thrown(numbers(read(model.options())));
  assert.match(error.message, /GetShardIterator of .* failed: answer from .* is larger than 64 KiB/);
});

test("an answer that arrives byte by byte ends at the request timeout", async (t) => {
  let open = 0;
  const trickling = (response) => {
    open += 1;
    response.writeHead(200);
    const timer = setInterval(() => response.write(" "), 5);
    response.on("close", () => {
      open -= 1;
      clearInterval(timer);
    });
  };
  const model = await modelFor(t, { misbehave: (operation) => (operation === "GetRecords" ? trickling : undefined) });
  for (const more of [{}, { fetch }, { fetch: (url, request) => fetch(url, { ...request, signal: undefined }) }]) {
    const limits = { requestTimeout: 100, failures: 2, backoffFirst: 1, backoffMax: 1 };
    const error = await thrown(numbers(read(model.options({ ...more, limits }))));
    assert.match(error.message, /GetRecords of .* failed: (timeout|no answer from .* in time)/);
  }
  // Connections are closed even if `fetch` ignores the signal.
  while (open > 0) await new Promise((resolve) => setImmediate(resolve));
});

test("a fetch or a credential provider that hangs ends at the request timeout", async (t) => {
  const model = await modelFor(t);
  const limits = { requestTimeout: 20, failures: 2, backoffFirst: 1, backoffMax: 1 };
  const expected = /failed: (timeout|no answer from .* in time)/;
  assert.match((await thrown(numbers(read(model.options({ fetch: () => FOREVER, limits }))))).message, expected);
  let calls = 0;
  const provider = () => (calls++ === 0 ? { ...credentials, expiration: new Date(0) } : FOREVER);
  assert.match((await thrown(numbers(read(model.options({ credentials: provider, limits }))))).message, expected);
});

test("broken connections and invalid HTTP are retried", async (t) => {
  let broken;
  let left;
  const model = await modelFor(t, { misbehave: (operation) => (operation === "GetRecords" && left-- > 0 ? broken : undefined) });
  for (broken of [
    (response) => response.destroy(),
    (response) => response.writeHead(200, { "content-length": 100 }).write("half", () => response.destroy()),
    (response) => response.socket.end("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"),
    (response) => response.socket.end("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n{}"),
    (response) => response.socket.end("\u001b[31m\r\n\r\n"),
    (response) => response.socket.end(`HTTP/1.1 200 OK\r\nX: ${"y".repeat(1 << 20)}\r\n\r\n`),
    (response) => response.socket.end("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
  ]) {
    for (const more of [{}, { fetch }]) {
      left = 2;
      const run = read(model.options({ ...more, onNotice() {}, limits: { backoffFirst: 1, backoffMax: 1 } }));
      assert.equal((await numbers(run)).length, 10);
      assert.equal(run.totals().retried, 2);
    }
  }
});

test("an invalid endpoint is shown without a possible password", async () => {
  const golden = new URL("../../../tests/golden/endpoints.json", import.meta.url);
  const vectors = JSON.parse(await readFile(golden, "utf8"));
  assert.ok(vectors.length > 40);
  for (const [endpointUrl, shown] of vectors) {
    const error = await thrown(read({ stream: "orders", region: "us-east-1", credentials, endpointUrl }).next());
    assert.equal(error.code, "option");
    assert.ok(error.message.startsWith(`endpointUrl: invalid: ${shown} (`), error.message);
    assert.doesNotMatch(inspect(error), /SEC|RET/, endpointUrl);
  }
});
