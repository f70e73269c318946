import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { after, before, mock, test } from "node:test";

import { fetchPost } from "../src/fetch.js";
import { post } from "../src/node/http.js";
import { read } from "../src/node.js";
import { Transport } from "../src/transport.js";
import { credentials, numbers, range, sorted, startEmulator } from "./emulator.js";

let emulator;
before(async () => {
  emulator = await startEmulator();
  await emulator.create("orders", 2);
  await emulator.put("orders", 0, 100);
});
after(() => emulator.close());

test("requests have the same signature as with botocore", async () => {
  mock.timers.enable({ apis: ["Date"], now: Date.parse("2025-11-23T12:34:56Z") });
  try {
    // The signatures were made by botocore 1.44.5.
    for (const [url, sessionToken, signedHeaders, signature] of [
      ["https://kinesis.eu-central-1.amazonaws.com", undefined, "content-type;host;x-amz-date;x-amz-target",
        "dc15ed28339f7f33b06e962504cf277ea84fadcd3a37e9a2e245a430745ad5a6"],
      ["http://127.0.0.1:4567", "FwoGZXIvYXdzEXAMPLETOKEN", "content-type;host;x-amz-date;x-amz-security-token;x-amz-target",
        "cfad17aded3b31b2607ad1decc2485ae88885763ba5b3efa44c54004cc3e5b72"],
    ]) {
      let sent;
      const transport = new Transport({
        url: new URL(url), region: "eu-central-1",
        credentials: { accessKeyId: "AKIAIOSFODNN7EXAMPLE", secretAccessKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", sessionToken },
        post: fetchPost(async (_, request) => ((sent = request), new Response("{}"))),
      });
      await transport.send({ target: "Kinesis_20131202.ListShards", body: { tag: "json", val: '{"StreamName":"orders"}' } }, new AbortController().signal);
      assert.equal(sent.headers.authorization, `AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20251123/eu-central-1/kinesis/aws4_request, SignedHeaders=${signedHeaders}, Signature=${signature}`);
      assert.deepEqual([sent.method, sent.redirect, sent.headers.host], ["POST", "manual", undefined]);
    }
  } finally {
    mock.timers.reset();
  }
});

test("expired credentials are replaced once, and the request is sent again", async () => {
  const refreshes = [];
  const provider = async ({ forceRefresh }) => {
    const credentials = { accessKeyId: `key-${refreshes.length}`, secretAccessKey: "secret", sessionToken: "token" };
    refreshes.push(forceRefresh);
    return credentials;
  };
  const keys = [];
  const expiring = (url, request) => {
    const key = /Credential=(key-\d)/.exec(request.headers.authorization)[1];
    keys.push(key);
    // The first key expires after two requests.
    return key === "key-0" && keys.length > 2 ? rejected("ExpiredTokenException") : fetch(url, request);
  };
  const received = await numbers(read(emulator.options("orders", { credentials: provider, fetch: expiring })));
  assert.deepEqual(sorted(received), range(0, 100));
  // Concurrent requests share one call.
  assert.deepEqual(refreshes, [false, true]);
  assert.ok(keys.includes("key-1"));
});

test("credentials that stay expired end the run", async () => {
  let requests = 0;
  const expired = () => ((requests += 1), rejected("ExpiredTokenException", "The security token included in the request is expired"));
  await assert.rejects(numbers(read(emulator.options("orders", { fetch: expired }))), (error) => {
    assert.equal(error.code, "service");
    assert.match(error.message, /failed: ExpiredTokenException: The security token/);
    assert.equal(error.service.cause.val.status, 400);
    return true;
  });
  assert.ok(requests < 10, `${requests} requests`);
});

test("Node's client limits answers, notices incomplete ones, and follows no redirects", async () => {
  const answers = {
    "/large": (response) => {
      response.writeHead(200);
      const part = Buffer.alloc(1 << 20);
      const more = () => {
        while (!response.destroyed && response.write(part));
      };
      response.on("drain", more);
      more();
    },
    "/short": (response) => {
      response.writeHead(200, { "content-length": 100 });
      response.write("half", () => response.destroy());
    },
    "/elsewhere": (response) => response.writeHead(307, { location: "/whole" }).end(),
    "/silent": () => {},
    "/whole": (response) => response.writeHead(200, { "x-amzn-requestid": "r-1", date: "Sun, 23 Nov 2025 12:00:00 GMT" }).end('{"ü":1}'),
  };
  const server = createServer((request, response) => answers[request.url](response));
  await once(server.listen(0, "127.0.0.1"), "listening");
  try {
    const send = (path, signal = new AbortController().signal) => {
      const url = new URL(`http://127.0.0.1:${server.address().port}${path}`);
      return new Transport({ url, region: "us-east-1", credentials, post }).send({ target: "x", body: { tag: "json", val: "{}" } }, signal);
    };
    await assert.rejects(send("/large"), ({ tag, val }) => tag === "permanent" && /answer from .* is larger than 64 KiB/.test(val));
    await assert.rejects(send("/short"), ({ tag, val }) => tag === "transient" && /ECONNRESET/.test(val));
    await assert.rejects(send("/elsewhere"), ({ tag, val }) => tag === "permanent" && /unexpected redirect/.test(val));
    await assert.rejects(send("/silent", AbortSignal.timeout(50)), ({ tag, val }) => tag === "transient" && /no answer from .* in time/.test(val));
    const { status, body, awsRequestId, date } = await send("/whole");
    assert.deepEqual([status, String(body.val), awsRequestId, date], [200, '{"ü":1}', "r-1", BigInt(Date.parse("2025-11-23T12:00:00Z"))]);
  } finally {
    server.closeAllConnections();
    server.close();
  }
});

test("credentials are renewed before they expire", async () => {
  let calls = 0;
  const provider = async () => ({ ...credentials, accessKeyId: `key-${calls++}`, expiration: new Date(Date.now() + 60_000) });
  const transport = new Transport({ url: new URL(emulator.url), region: "us-east-1", credentials: provider, post: fetchPost(async () => new Response("{}")) });
  const send = () => transport.send({ target: "x", body: { tag: "json", val: "{}" } }, new AbortController().signal);
  await send();
  await send();
  // New credentials that expire within a minute are kept for a while.
  assert.equal(calls, 1);
  mock.timers.enable({ apis: ["Date"], now: Date.now() + 31_000 });
  try {
    await send();
    assert.equal(calls, 2);
  } finally {
    mock.timers.reset();
  }
});

test("missing or invalid credentials are reported before anything is sent, without secrets", async () => {
  for (const [value, message] of [
    [() => Promise.reject(new Error("the disk is full")), /^cannot load AWS credentials: the disk is full/],
    [{ accessKeyId: "only" }, /lack accessKeyId or secretAccessKey/],
    [{ accessKeyId: "a", secretAccessKey: "b", sessionToken: "MARKED\ntoken" }, /not allowed in HTTP headers/],
  ]) {
    await assert.rejects(numbers(read(emulator.options("orders", { credentials: value, fetch: () => assert.fail() }))), (error) => {
      assert.equal(error.code, "credentials");
      assert.match(error.message, message);
      assert.doesNotMatch(error.message, /MARKED/);
      return true;
    });
  }
});

test("a wrong clock is corrected once, by the service's", async () => {
  const hour = 3_600_000;
  let skewed = 0;
  // The service's clock is an hour ahead.
  const ahead = async (url, request) => {
    const signed = Date.parse(request.headers["x-amz-date"].replace(/(....)(..)(..)T(..)(..)(..)Z/, "$1-$2-$3T$4:$5:$6Z"));
    if (Math.abs(signed - (Date.now() + hour)) > 300_000) {
      skewed += 1;
      return rejected("InvalidSignatureException", "Signature expired", { date: new Date(Date.now() + hour).toUTCString() });
    }
    return fetch(url, request);
  };
  assert.equal((await numbers(read(emulator.options("orders", { fetch: ahead })))).length, 100);
  assert.equal(skewed, 1);
});

test("a signature that is wrong for another reason is reported as it is", async () => {
  const wrong = () => rejected("InvalidSignatureException", "does not match", { date: new Date().toUTCString() });
  await assert.rejects(numbers(read(emulator.options("orders", { fetch: wrong }))), { code: "service", message: /InvalidSignatureException/ });
});

test("a missing stream is reported with a hint", async () => {
  await assert.rejects(numbers(read(emulator.options("nowhere"))), (error) => {
    assert.equal(error.code, "service");
    assert.match(error.message, /ResourceNotFoundException/);
    assert.equal(error.service.cause.tag, "rejected");
    assert.match(error.hint, /./);
    return true;
  });
});

test("a failed connection is retried up to the limit and then reported", async () => {
  const notices = [];
  const options = { stream: "orders", endpointUrl: "http://127.0.0.1:9", region: "us-east-1", credentials, onNotice: (notice) => notices.push(notice) };
  await assert.rejects(
    numbers(read({ ...options, limits: { failures: 3, backoffFirst: 1, backoffMax: 2 } })),
    { code: "service", message: /failed: no answer from 127\.0\.0\.1:9: .+ \(3 attempts\)/, hint: /check the network/ },
  );
  assert.ok(notices.some(({ kind, message }) => kind === "retry" && message.includes("no answer from")));
});

test("redirects are not followed", async () => {
  const elsewhere = () => Promise.resolve(new Response(null, { status: 307, headers: { location: "http://elsewhere/" } }));
  await assert.rejects(numbers(read(emulator.options("orders", { fetch: elsewhere }))), { code: "service", message: /unexpected redirect from/ });
});

test("throttled requests are repeated", async () => {
  let throttled = 0;
  const busy = (url, request) => request.headers["x-amz-target"].endsWith("GetRecords") && throttled++ < 3
    ? rejected("ProvisionedThroughputExceededException") : fetch(url, request);
  const run = read(emulator.options("orders", { fetch: busy, limits: { backoffFirst: 1, backoffMax: 2 } }));
  assert.equal((await numbers(run)).length, 100);
  assert.equal(run.totals().throttled, 3);
});

test("an error of onNotice is thrown unchanged", async () => {
  const own = new Error("own");
  await assert.rejects(numbers(read(emulator.options("orders", { onNotice: () => { throw own; } }))), own);
});

function rejected(type, message = "", headers = {}) {
  return Promise.resolve(new Response(JSON.stringify({ __type: type, message }), {
    status: 400, headers: { "content-type": "application/x-amz-json-1.1", ...headers },
  }));
}
