// The demo's server, with requests that its page does not send.

import assert from "node:assert/strict";
import { once } from "node:events";
import { request } from "node:http";
import { connect } from "node:net";
import { after, before, mock, test } from "node:test";

import { serve } from "../demo/server.js";
import { credentials, region } from "./emulator.js";
import { startModel } from "./model.js";

let model;
let demo;
let answer;
before(async () => {
  model = await startModel({ misbehave: () => answer });
  demo = await serve({ port: 0, endpointUrl: model.url, region, credentials });
});
after(() => {
  demo.server.closeAllConnections();
  demo.server.close();
  model.close();
});

/** Sends a request. Unlike `fetch`, this does not normalize the path. */
async function send(path, { method = "GET", headers = {}, body } = {}) {
  const { port } = demo.server.address();
  const sent = request({ host: "127.0.0.1", port, path, method, headers });
  sent.end(body);
  const [response] = await once(sent, "response");
  let text = "";
  for await (const part of response.setEncoding("latin1")) text += part;
  return { status: response.statusCode, text, headers: response.headers };
}

const GET_RECORDS = { method: "POST", headers: { "x-amz-target": "Kinesis_20131202.GetRecords" }, body: "{}" };

test("the server serves the files of the page and no others", async () => {
  for (const path of ["/demo/index.html", "/demo/demo.js?x=1", "/demo/style.css", "/dist/kinesis-reader.js", "/component/reader.core.wasm", "/src/printable.js"]) {
    assert.equal((await send(path)).status, 200, path);
  }
  for (const path of [
    "/demo/../package.json", "/demo/%2e%2e/package.json", "/demo/..%2fpackage.json", "/demo/index.html/../../package.json", "//etc/passwd", "/../../../../etc/passwd",
    "/demo/server.js", "/package.json", "/src/node/aws.js", "/demo/index.html%00", "/demo//index.html", "/demo\\..\\package.json", "http://[/", "*", "/component/reader.core4.wasm",
  ]) {
    assert.equal((await send(path)).status, 404, path);
  }
});

test("the server refuses other hosts and origins", async () => {
  answer = undefined;
  for (const headers of [{ host: "evil.example" }, { host: "127.0.0.1.evil.example" }, { origin: "http://evil.example" }, { origin: "null" }]) {
    assert.equal((await send("/demo/index.html", { headers })).status, 403);
    assert.equal((await send("/kinesis", { ...GET_RECORDS, headers: { ...GET_RECORDS.headers, ...headers } })).status, 403);
  }
  assert.deepEqual(model.requests, []);
});

test("the server forwards only four operations, and only small requests", async () => {
  answer = [200, { Shards: [] }];
  for (const target of ["Kinesis_20131202.PutRecords", "Kinesis_20131202.GetRecords ,x", "DynamoDB_20120810.GetRecords", "GetRecords", ""]) {
    assert.equal((await send("/kinesis", { ...GET_RECORDS, headers: { "x-amz-target": target } })).status, 400, target);
  }
  const large = await send("/kinesis", { ...GET_RECORDS, body: "x".repeat((64 << 10) + 1) });
  assert.deepEqual([large.status, large.text], [413, "request too large"]);
  assert.deepEqual(model.requests, []);
  assert.deepEqual(await send("/kinesis", GET_RECORDS).then(({ status, text }) => [status, text]), [200, '{"Shards":[]}']);
});

test("failures are printed to the terminal and not sent to the page", async () => {
  const printed = mock.method(console, "error", () => {});
  try {
    for (answer of [(response) => response.socket.end("\u001b[31m"), [302, "", { location: "/" }], (response) => response.writeHead(200).end("x".repeat(65 << 20))]) {
      const { status, text } = await send("/kinesis", GET_RECORDS);
      assert.deepEqual([status, text], [502, "no answer from Kinesis; see the terminal of this server"]);
    }
    assert.equal(printed.mock.callCount(), 3);
    for (const { arguments: [line] } of printed.mock.calls) assert.match(line, /^cannot answer: [ -~]+$/);
  } finally {
    printed.mock.restore();
  }
});

test("a client that disconnects cancels its request", async () => {
  const cancelled = new Promise((resolve) => (answer = (response) => resolve(once(response, "close"))));
  const socket = connect(demo.server.address().port, "127.0.0.1");
  socket.write("POST /kinesis HTTP/1.1\r\nhost: localhost\r\nx-amz-target: Kinesis_20131202.GetRecords\r\ncontent-length: 2\r\n\r\n{}");
  while (model.requests.length < 5) await new Promise((resolve) => setImmediate(resolve));
  socket.destroy();
  await cancelled;
  assert.equal((await send("/demo/style.css")).status, 200);
});
