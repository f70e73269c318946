// Serves the demo page and forwards its requests to Kinesis. AWS sends no CORS headers, so a page cannot call it directly:
// `/kinesis` takes the page's requests, signs them with this machine's credentials, and sends them to one endpoint.
//
// usage: node demo/server.js [--port 8080] [--region REGION] [--endpoint-url URL] [--profile PROFILE]
//
// It listens on this machine only, forwards only the four operations that reading needs, and serves no other origin. If a
// request fails, the page learns only that it did; the reason is printed to the terminal.

import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { extname } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

import { connect } from "../src/node/aws.js";
import { messageOf } from "../src/errors.js";
import { post } from "../src/node/http.js";
import { Transport } from "../src/transport.js";

const OPERATIONS = ["DescribeStreamSummary", "ListShards", "GetShardIterator", "GetRecords"];
const FILES = /^\/(demo\/(index\.html|demo\.js|style\.css)|src\/printable\.js|dist\/kinesis-reader\.js|component\/reader\.core[23]?\.wasm)$/;
const TYPES = { ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".wasm": "application/wasm" };

/** A reader's requests are smaller. */
const REQUEST_SIZE_MAX = 64 << 10;

/** For a request to arrive, and for its answer. A reader gives up sooner. */
const REQUEST_TIME_MAX_MS = 60_000;

/** A page sends a few dozen requests at a time. */
const CONNECTIONS_MAX = 256;

/** The answer to a request that is not served. */
class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** Starts the server. Also returns the URL of the page, the region and the URL of Kinesis. */
export async function serve({ port = 8080, ...options }) {
  // The stream does not matter to the endpoint and the credentials.
  const { url, region, credentials, headers } = await connect({ ...options, stream: "any" });
  const transport = new Transport({ url, region, credentials, headers, post });
  const server = createServer({ requestTimeout: REQUEST_TIME_MAX_MS }, (request, response) => {
    answer(transport, request, response).catch((thrown) => refuse(response, thrown));
  });
  server.maxConnections = CONNECTIONS_MAX;
  await new Promise((resolve, reject) => server.once("error", reject).listen(port, "127.0.0.1", resolve));
  return { server, region, url: `http://127.0.0.1:${server.address().port}/demo/index.html`, kinesis: url };
}

async function answer(transport, request, response) {
  // Another host name may resolve to this machine.
  if (!/^(127\.0\.0\.1|localhost)(:\d+)?$/.test(request.headers.host ?? "")) throw new Refusal(403, "unknown host");
  const { origin } = request.headers;
  if (origin !== undefined && origin !== `http://${request.headers.host}`) throw new Refusal(403, "unknown origin");
  const [path] = request.url.split("?", 1);
  if (path === "/") return response.writeHead(302, { location: "/demo/index.html" }).end();
  if (request.method === "POST" && path === "/kinesis") return forward(transport, request, response);
  // An allowlist, so no path can lead outside it.
  if (request.method !== "GET" || !FILES.test(path)) throw new Refusal(404, "not found");
  const body = await readFile(fileURLToPath(new URL(`..${path}`, import.meta.url)));
  send(response, 200, TYPES[extname(path)], body);
}

async function forward(transport, request, response) {
  const target = request.headers["x-amz-target"] ?? "";
  if (!OPERATIONS.some((operation) => target === `Kinesis_20131202.${operation}`)) {
    return send(response, 400, "application/x-amz-json-1.1", '{"__type":"AccessDeniedException","message":"this server only forwards reads"}');
  }
  const disconnected = new AbortController();
  response.once("close", () => disconnected.abort());
  const body = await readBody(request);
  const signal = AbortSignal.any([disconnected.signal, AbortSignal.timeout(REQUEST_TIME_MAX_MS)]);
  const answer = await transport.send({ target, body: { tag: "json", val: body } }, signal);
  const date = answer.date === undefined ? {} : { date: new Date(Number(answer.date)).toUTCString() };
  const requestId = answer.awsRequestId === undefined ? {} : { "x-amzn-requestid": answer.awsRequestId };
  send(response, answer.status, "application/x-amz-json-1.1", answer.body.val, { ...date, ...requestId });
}

async function readBody(request) {
  const parts = [];
  let size = 0;
  // The connection stays open, so that the client gets the answer.
  for await (const part of request.iterator({ destroyOnReturn: false })) {
    size += part.length;
    if (size > REQUEST_SIZE_MAX) throw new Refusal(413, "request too large");
    parts.push(part);
  }
  return Buffer.concat(parts).toString();
}

function refuse(response, thrown) {
  if (thrown instanceof Refusal) return send(response, thrown.status, "text/plain", thrown.message, { connection: "close" });
  // If the client has disconnected, there is nothing to report.
  if (!response.destroyed) console.error(`cannot answer: ${messageOf(thrown)}`);
  send(response, 502, "text/plain", "no answer from Kinesis; see the terminal of this server", { connection: "close" });
}

function send(response, status, type, body, headers = {}) {
  if (response.destroyed || response.headersSent) return;
  response.writeHead(status, { "content-type": type, "x-content-type-options": "nosniff", ...headers }).end(body);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const text = { type: "string" };
  const { values } = parseArgs({ options: { port: { type: "string", default: "8080" }, region: text, "endpoint-url": text, profile: text } });
  const { port, profile, "endpoint-url": endpointUrl } = values;
  const { url, region, kinesis } = await serve({ port: Number(port), region: values.region, endpointUrl, profile });
  console.log(`${url}?region=${region}\nforwards reads to ${kinesis}`);
}
