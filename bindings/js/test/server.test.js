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
  model = await startModel({ err: () => answer });
  demo = await serve({ port: 0, endpointUrl: model.url, region, credentials });
});
after(() => {
  demo.server.closeAllConnections();
  demo.server.close();
  model.close();
});

/** Sends the path as it is; `fetch` would normalize it. */
async function ask(path, { method = "GET", headers = {}, body } = {}) {
  const { port } = demo.server.address();
  const asked = request({ host: "127.0.0.1", port, path, method, headers });
  asked.end(body);
  const [response] = await once(asked, "response");
  let text = "";
  for await (const part of response.setEncoding("latin1")) text += part;
  return { status: response.statusCode, text, headers: response.headers };
}

const get = { method: "POST", headers: { "x-amz-target": "Kinesis_20131202.GetRecords" }, body: "{}" };

test("it serves the files of the page and no others", async () => {
  for (const path of ["/demo/index.html", "/demo/demo.js?x=1", "/demo/style.css", "/dist/kinesis-reader.js", "/component/reader.core.wasm", "/src/printable.js"]) {
    assert.equal((await ask(path)).status, 200, path);
  }
  for (const path of [
    "/demo/../package.json", "/demo/%2e%2e/package.json", "/demo/..%2fpackage.json", "/demo/index.html/../../package.json", "//etc/passwd", "/../../../../etc/passwd",
    "/demo/server.js", "/package.json", "/src/node/aws.js", "/demo/index.html%00", "/demo//index.html", "/demo\\..\\package.json", "http://[/", "*", "/component/reader.core4.wasm",
  ]) {
    assert.equal((await ask(path)).status, 404, path);
  }
});

test("it refuses other hosts and origins", async () => {
  answer = undefined;
  for (const headers of [{ host: "evil.example" }, { host: "127.0.0.1.evil.example" }, { origin: "http://evil.example" }, { origin: "null" }]) {
    assert.equal((await ask("/demo/index.html", { headers })).status, 403);
    assert.equal((await ask("/kinesis", { ...get, headers: { ...get.headers, ...headers } })).status, 403);
  }
  assert.deepEqual(model.requests, []);
});

test("it forwards only the four operations, and only small requests", async () => {
  answer = [200, { Shards: [] }];
  for (const target of ["Kinesis_20131202.PutRecords", "Kinesis_20131202.GetRecords ,x", "DynamoDB_20120810.GetRecords", "GetRecords", ""]) {
    assert.equal((await ask("/kinesis", { ...get, headers: { "x-amz-target": target } })).status, 400, target);
  }
  const large = await ask("/kinesis", { ...get, body: "x".repeat((64 << 10) + 1) });
  assert.deepEqual([large.status, large.text], [413, "the request is too large"]);
  assert.deepEqual(model.requests, []);
  assert.deepEqual(await ask("/kinesis", get).then(({ status, text }) => [status, text]), [200, '{"Shards":[]}']);
});

test("failures are printed in the terminal and not sent to the page", async () => {
  const told = mock.method(console, "error", () => {});
  try {
    for (answer of [(response) => response.socket.end("\u001b[31m"), [302, "", { location: "/" }], (response) => response.writeHead(200).end("x".repeat(65 << 20))]) {
      const { status, text } = await ask("/kinesis", get);
      assert.deepEqual([status, text], [502, "no answer from Kinesis: the server's terminal says why"]);
    }
    assert.equal(told.mock.callCount(), 3);
    for (const { arguments: [line] } of told.mock.calls) assert.match(line, /^cannot answer: [ -~]+$/);
  } finally {
    told.mock.restore();
  }
});

test("a client that disconnects cancels its request", async () => {
  const asked = new Promise((resolve) => (answer = (response) => resolve(once(response, "close"))));
  const socket = connect(demo.server.address().port, "127.0.0.1");
  socket.write("POST /kinesis HTTP/1.1\r\nhost: localhost\r\nx-amz-target: Kinesis_20131202.GetRecords\r\ncontent-length: 2\r\n\r\n{}");
  while (model.requests.length < 5) await new Promise((resolve) => setImmediate(resolve));
  socket.destroy();
  await asked;
  assert.equal((await ask("/demo/style.css")).status, 200);
});
