// Wrong clocks: of the service, of a proxy and of this machine.

import assert from "node:assert/strict";
import { mock, test } from "node:test";

import { parseHttpDate } from "../src/clock.js";
import { fetchPost } from "../src/fetch.js";
import { read } from "../src/node.js";
import { Transport } from "../src/transport.js";
import { MemoryState, credentials, numbers } from "./emulator.js";
import { futureState, modelFor, record, thrown } from "./model.js";

test("only valid HTTP dates are accepted in a Date header", () => {
  for (const [header, at] of [
    ["Sun, 23 Nov 2025 12:34:56 GMT", "2025-11-23T12:34:56.000Z"],
    ["Thu, 01 Jan 1970 00:00:00 GMT", "1970-01-01T00:00:00.000Z"],
    ["Fri, 31 Dec 9999 23:59:59 GMT", "9999-12-31T23:59:59.000Z"],
  ]) {
    assert.equal(new Date(parseHttpDate(header)).toISOString(), at);
  }
  for (const header of [
    undefined, "", "garbage", "1", "2038", "1e300", "2025-11-23T12:34:56Z", "Fri, 01 Jan 1900 00:00:00 GMT", "Wed, 31 Dec 1969 23:59:59 GMT",
    "Fri, 30 Feb 2024 00:00:00 GMT", "Sun, 23 Nov 2025 25:00:00 GMT", "Sun, 23 Nox 2025 12:34:56 GMT", "Sun, 23 Nov 0070 12:34:56 GMT",
    "Sat, 01 Jan 10000 00:00:00 GMT", "Sun, 23 Nov 2025 12:34:56 GMT, Sun, 23 Nov 2025 12:34:57 GMT", "Sun, 23 Nov 2025 12:34:56 PST", "9".repeat(100_000),
  ]) {
    assert.equal(parseHttpDate(header), undefined, header?.slice(0, 50));
  }
});

test("the clock is only corrected to plausible times, and each correction replaces the one before", async () => {
  const day = 86_400_000;
  const now = Date.UTC(2025, 10, 23, 12);
  mock.timers.enable({ apis: ["Date"], now });
  try {
    const signedAt = [];
    let dates;
    const transport = new Transport({
      url: new URL("http://localhost:1"), region: "us-east-1", credentials,
      post: fetchPost(async (_, { headers }) => {
        signedAt.push(headers["x-amz-date"]);
        const date = dates.shift();
        return date === undefined
          ? new Response("{}", { status: 200 })
          : new Response('{"__type":"InvalidSignatureException"}', { status: 403, headers: { date } });
      }),
    });
    const send = async (...answers) => {
      dates = answers.map((date) => (typeof date === "number" ? new Date(date).toUTCString() : date));
      signedAt.length = 0;
      const { status, signed } = await transport.send({ target: "x.ListShards", body: { tag: "json", val: "{}" } }, new AbortController().signal);
      return [status, signedAt.map((at) => at.slice(0, 8)), new Date(Number(signed)).toISOString().slice(0, 10)];
    };
    for (const date of ["Fri, 01 Jan 1900 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT", "Fri, 01 Jan 2100 00:00:00 GMT", "garbage", Date.UTC(2014)]) {
      assert.deepEqual(await send(date), [403, ["20251123"], "2025-11-23"], String(date));
    }
    // The same request recovers from a wrong date.
    assert.deepEqual(await send(Date.UTC(2038), now + day), [200, ["20251123", "20380101", "20251124"], "2025-11-24"]);
    assert.deepEqual(await send(), [200, ["20251124"], "2025-11-24"]);
    // An endpoint whose every date is wrong cannot prolong the request forever.
    assert.deepEqual(await send(Date.UTC(2038), Date.UTC(2040), Date.UTC(2042), Date.UTC(2044)), [403, ["20251124", "20380101", "20400101"], "2040-01-01"]);
    assert.deepEqual(await send(now), [200, ["20400101", "20251123"], "2025-11-23"]);
  } finally {
    mock.timers.reset();
  }
});

test("an impossible clock of this machine is reported", async (t) => {
  const model = await modelFor(t);
  for (const now of [-8.64e15, -1, 253_402_300_800_000, 8.64e15]) {
    const clock = mock.method(Date, "now", () => now);
    try {
      const error = await thrown(numbers(read(model.options())));
      assert.equal(error.code, "service");
      assert.match(error.message, /failed: cannot sign requests: the clock of this machine is wrong/);
    } finally {
      clock.mock.restore();
    }
  }
});

test("after answers with dates of other centuries, later runs lose nothing", async (t) => {
  for (const date of ["Fri, 01 Jan 1900 00:00:00 GMT", "Fri, 01 Jan 2038 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT", "garbage"]) {
    const model = await modelFor(t, { records: 3 });
    const dated = async (url, request) => {
      const answer = await fetch(url, request);
      return new Response(await answer.arrayBuffer(), { status: answer.status, headers: { date } });
    };
    const state = new MemoryState();
    assert.deepEqual(await numbers(read(model.options({ start: "latest", state, fetch: dated }))), [], date);
    model.records.push(record(3, { ApproximateArrivalTimestamp: Date.now() / 1000 }));
    assert.deepEqual(await numbers(read(model.options({ start: "latest", state }))), [3], date);
  }
});

test("a checkpoint in the future is a notice, or an error if onGap is fail", async (t) => {
  const model = await modelFor(t);
  const notices = [];
  await numbers(read(model.options({ state: futureState(), onNotice: (notice) => notices.push(notice) })));
  const gaps = notices.filter(({ kind }) => kind === "gap");
  assert.equal(gaps.length, 1);
  assert.match(gaps[0].message, /the checkpoint is in the future, .*: 20\d\d-/);
  const error = await thrown(numbers(read(model.options({ state: futureState(), onGap: "fail" }))));
  assert.deepEqual([error.code, error.service.cause.tag], ["service", "gap"]);
  assert.match(error.message, /the checkpoint is in the future/);
  // Without `onNotice`, it is printed to the console.
  const warned = mock.method(console, "warn", () => {});
  try {
    await numbers(read(model.options({ state: futureState() })));
    assert.match(warned.mock.calls[0].arguments[0], /^kinesis-reader: gap in shardId-000000000000: the checkpoint is in the future/);
  } finally {
    warned.mock.restore();
  }
});
