// Serves the demo, and stands before Kinesis: AWS answers no browser, so `/kinesis` takes the page's requests, signs them
// with the credentials of this machine, and sends them on to one endpoint.
//
// usage: node demo/server.js [--port 8080] [--region REGION] [--endpoint URL] [--profile PROFILE]
//
// It listens on this machine alone, lets nothing through but the four operations that reading takes, and answers no page
// but its own.

import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { extname } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

import { connect } from "../src/node/aws.js";
import { post } from "../src/node/http.js";
import { Transport } from "../src/transport.js";

const OPERATIONS = ["DescribeStreamSummary", "ListShards", "GetShardIterator", "GetRecords"];
const SERVED = /^\/(demo\/(index\.html|demo\.js|style\.css)|dist\/kinesis-reader\.js|component\/reader\.core[23]?\.wasm)$/;
const TYPES = { ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".wasm": "application/wasm" };

/** A request of a reader's is below this. */
const REQUEST_SIZE_MAX = 64 << 10;

/** Starts the server; `close` of what it gives ends it. */
export async function serve({ port = 8080, ...options }) {
  // The name of a stream decides neither endpoint nor credentials.
  const { url, region, credentials, headers } = await connect({ ...options, stream: "any" });
  const transport = new Transport({ url, region, credentials, headers, post });
  const server = createServer((request, response) => {
    answer(transport, request, response).catch((error) => send(response, 502, "text/plain", error.val ?? error.message));
  });
  await new Promise((resolve, reject) => server.once("error", reject).listen(port, "127.0.0.1", resolve));
  return { server, region, url: `http://127.0.0.1:${server.address().port}/demo/index.html`, kinesis: url };
}

async function answer(transport, request, response) {
  // A page of another name that leads here is not ours.
  if (!/^(127\.0\.0\.1|localhost)(:\d+)?$/.test(request.headers.host ?? "")) return send(response, 403, "text/plain", "not this host");
  const { pathname } = new URL(request.url, "http://localhost");
  if (pathname === "/") return response.writeHead(302, { location: "/demo/index.html" }).end();
  if (request.method === "POST" && pathname === "/kinesis") return forward(transport, request, response);
  if (request.method !== "GET" || !SERVED.test(pathname)) return send(response, 404, "text/plain", "not found");
  const body = await readFile(fileURLToPath(new URL(`..${pathname}`, import.meta.url)));
  send(response, 200, TYPES[extname(pathname)], body);
}

async function forward(transport, request, response) {
  const target = request.headers["x-amz-target"] ?? "";
  if (!OPERATIONS.some((operation) => target === `Kinesis_20131202.${operation}`)) {
    return send(response, 400, "application/x-amz-json-1.1", '{"__type":"AccessDeniedException","message":"this server forwards reads alone"}');
  }
  const gone = new AbortController();
  response.once("close", () => gone.abort());
  const body = await bodyOf(request);
  const answer = await transport.send({ target, body: { tag: "json", val: body } }, gone.signal);
  const date = answer.date === undefined ? {} : { date: new Date(Number(answer.date)).toUTCString() };
  send(response, answer.status, "application/x-amz-json-1.1", answer.body.val, { ...date, "x-amzn-requestid": answer.trace ?? "" });
}

async function bodyOf(request) {
  let body = "";
  for await (const part of request.setEncoding("utf8")) {
    body += part;
    if (body.length > REQUEST_SIZE_MAX) throw new Error("the request is too large");
  }
  return body;
}

function send(response, status, type, body, headers = {}) {
  if (response.destroyed) return;
  response.writeHead(status, { "content-type": type, "x-content-type-options": "nosniff", ...headers }).end(body);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const text = { type: "string" };
  const { values } = parseArgs({ options: { port: { type: "string", default: "8080" }, region: text, endpoint: text, profile: text } });
  const { url, region, kinesis } = await serve({ ...values, port: Number(values.port) });
  console.log(`${url}?region=${region}\nforwards reads to ${kinesis}`);
}
