// Answers that are too large, too slow, broken or missing, and secrets in endpoints.

import assert from "node:assert/strict";
import { test } from "node:test";
import { inspect } from "node:util";

import { posting } from "../src/fetch.js";
import { post } from "../src/node/http.js";
import { read } from "../src/node.js";
import { Transport } from "../src/transport.js";
import { credentials, numbers, range } from "./emulator.js";
import { modelFor, shard, thrown } from "./model.js";

const FOREVER = new Promise(() => {});

/** An answer that never ends. Counts the bytes that were sent. */
function endless(status, taken) {
  return (response) => {
    response.writeHead(status, { "content-type": "application/x-amz-json-1.1" });
    const part = Buffer.alloc(1 << 16, 0x20);
    const more = () => {
      while (!response.destroyed && response.write(part)) taken.bytes += part.length;
    };
    response.on("drain", more);
    more();
  };
}

test("both clients read no more of an answer than its operation allows", async (t) => {
  const taken = {};
  let status;
  const model = await modelFor(t, { err: () => endless(status, taken) });
  for (const way of [post, posting(fetch)]) {
    const transport = new Transport({ url: new URL(model.url), region: "us-east-1", credentials, post: way });
    for (const [operation, bound, words] of [["GetRecords", 64 << 20, "64 MiB"], ["ListShards", 16 << 20, "16 MiB"], ["GetShardIterator", 64 << 10, "64 KiB"], ["DescribeStreamSummary", 64 << 10, "64 KiB"]]) {
      const send = () => transport.send({ target: `Kinesis_20131202.${operation}`, body: { tag: "json", val: "{}" } }, new AbortController().signal);
      [status, taken.bytes] = [200, 0];
      const failure = await thrown(send());
      assert.deepEqual([failure.tag, failure.val], ["permanent", `an answer larger than ${words} came from: ${new URL(model.url).host}`]);
      // Socket buffers hold some more.
      assert.ok(taken.bytes < bound + (12 << 20), `${operation}: ${taken.bytes} bytes`);
      // Of an error, the beginning is enough.
      [status, taken.bytes] = [503, 0];
      const answer = await send();
      assert.deepEqual([answer.status, answer.body.val.length], [503, 1 << 20]);
      assert.ok(taken.bytes < 16 << 20, `${operation}: ${taken.bytes} bytes`);
    }
  }
});

test("a shard iterator of megabytes ends the reading", async (t) => {
  const shards = range(0, 64).map((n) => shard({ ShardId: `shardId-${String(n).padStart(12, "0")}` }));
  const model = await modelFor(t, {
    err: (operation) => (operation === "ListShards" ? [200, { Shards: shards }] : operation === "GetShardIterator" ? [200, { ShardIterator: "A".repeat(8 << 20) }] : undefined),
  });
  const error = await thrown(numbers(read(model.options())));
  assert.match(error.message, /GetShardIterator of .* has no answer: an answer larger than 64 KiB/);
});

test("an answer that arrives byte by byte ends at the request's timeout", async (t) => {
  let out = 0;
  const trickling = (response) => {
    out += 1;
    response.writeHead(200);
    const drop = setInterval(() => response.write(" "), 5);
    response.on("close", () => {
      out -= 1;
      clearInterval(drop);
    });
  };
  const model = await modelFor(t, { err: (operation) => (operation === "GetRecords" ? trickling : undefined) });
  for (const more of [{}, { fetch }, { fetch: (url, request) => fetch(url, { ...request, signal: undefined }) }]) {
    const limits = { requestTimeout: 100, failures: 2, backoffFirst: 1, backoffMax: 1 };
    const error = await thrown(numbers(read(model.options({ ...more, limits }))));
    assert.match(error.message, /GetRecords of .* has no answer.* in time/);
  }
  // Connections are closed even if `fetch` ignores the signal.
  while (out > 0) await new Promise((resolve) => setImmediate(resolve));
});

test("a fetch or a credential provider that hangs ends at the request's timeout", async (t) => {
  const model = await modelFor(t);
  const limits = { requestTimeout: 20, failures: 2, backoffFirst: 1, backoffMax: 1 };
  assert.match((await thrown(numbers(read(model.options({ fetch: () => FOREVER, limits }))))).message, /has no answer/);
  let calls = 0;
  const provider = () => (calls++ === 0 ? { ...credentials, expiration: new Date(0) } : FOREVER);
  assert.match((await thrown(numbers(read(model.options({ credentials: provider, limits }))))).message, /has no answer/);
});

test("broken connections and invalid HTTP are retried", async (t) => {
  let odd;
  let left;
  const model = await modelFor(t, { err: (operation) => (operation === "GetRecords" && left-- > 0 ? odd : undefined) });
  for (odd of [
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
      const reading = read(model.options({ ...more, onNotice() {}, limits: { backoffFirst: 1, backoffMax: 1 } }));
      assert.equal((await numbers(reading)).length, 10);
      assert.equal(reading.totals().retried, 2);
    }
  }
});

test("errors never contain a password or a signature from the endpoint", async () => {
  for (const endpointUrl of [
    "http://user:MARKED@127.0.0.1:1/", "http:/user:MARKED@127.0.0.1:1/", "user:MARKED@127.0.0.1:1", "http://user:MAR/MARKED@h", "http://user:a?MARKED@h",
    "http://user:a#MARKED@h", "http://user:MARKED%40h", "http://user:MARKED\uff20h", "http:\\\\user:MARKED@h", "//user:MARKED@h", "http://h/?X-Amz-Signature=MARKED",
    "http://h/#MARKED", "ftp://user:MARKED@h", "http://user:MARKED\n@h", "https://MARKED@h:99999", "h?MARKED",
  ]) {
    const error = await thrown(read({ stream: "orders", region: "us-east-1", credentials, endpointUrl }).next());
    assert.equal(error.code, "option");
    assert.doesNotMatch(inspect(error), /MARKED/, endpointUrl);
  }
});
