// Wrong clocks: the service's, a proxy's and our own.

import assert from "node:assert/strict";
import { mock, test } from "node:test";

import { dateOf } from "../src/clock.js";
import { posting } from "../src/fetch.js";
import { read } from "../src/node.js";
import { Transport } from "../src/transport.js";
import { MemoryState, credentials, numbers } from "./emulator.js";
import { aheadState, modelFor, record, thrown } from "./model.js";

test("only valid dates of HTTP count as a Date header", () => {
  for (const [header, at] of [
    ["Sun, 23 Nov 2025 12:34:56 GMT", "2025-11-23T12:34:56.000Z"],
    ["Thu, 01 Jan 1970 00:00:00 GMT", "1970-01-01T00:00:00.000Z"],
    ["Fri, 31 Dec 9999 23:59:59 GMT", "9999-12-31T23:59:59.000Z"],
  ]) {
    assert.equal(new Date(dateOf(header)).toISOString(), at);
  }
  for (const header of [
    undefined, "", "garbage", "1", "2038", "1e300", "2025-11-23T12:34:56Z", "Fri, 01 Jan 1900 00:00:00 GMT", "Wed, 31 Dec 1969 23:59:59 GMT",
    "Fri, 30 Feb 2024 00:00:00 GMT", "Sun, 23 Nov 2025 25:00:00 GMT", "Sun, 23 Nox 2025 12:34:56 GMT", "Sun, 23 Nov 0070 12:34:56 GMT",
    "Sat, 01 Jan 10000 00:00:00 GMT", "Sun, 23 Nov 2025 12:34:56 GMT, Sun, 23 Nov 2025 12:34:57 GMT", "Sun, 23 Nov 2025 12:34:56 PST", "9".repeat(100_000),
  ]) {
    assert.equal(dateOf(header), undefined, header?.slice(0, 50));
  }
});

test("the clock is corrected within bounds, and each correction replaces the one before", async () => {
  const day = 86_400_000;
  const now = Date.UTC(2025, 10, 23, 12);
  mock.timers.enable({ apis: ["Date"], now });
  try {
    const signedAt = [];
    let dates;
    const transport = new Transport({
      url: new URL("http://localhost:1"), region: "us-east-1", credentials,
      post: posting(async (_, { headers }) => {
        signedAt.push(headers["x-amz-date"]);
        const date = dates.shift();
        return date === undefined
          ? new Response("{}", { status: 200 })
          : new Response('{"__type":"InvalidSignatureException"}', { status: 403, headers: { date } });
      }),
    });
    const send = async (...given) => {
      dates = given.map((date) => (typeof date === "number" ? new Date(date).toUTCString() : date));
      signedAt.length = 0;
      const { status, signed } = await transport.send({ target: "x.ListShards", body: { tag: "json", val: "{}" } }, new AbortController().signal);
      return [status, signedAt.map((at) => at.slice(0, 8)), new Date(Number(signed)).toISOString().slice(0, 10)];
    };
    for (const date of ["Fri, 01 Jan 1900 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT", "Fri, 01 Jan 2100 00:00:00 GMT", "garbage", Date.UTC(2014)]) {
      assert.deepEqual(await send(date), [403, ["20251123"], "2025-11-23"], String(date));
    }
    // A false date is corrected within the same request.
    assert.deepEqual(await send(Date.UTC(2038), now + day), [200, ["20251123", "20380101", "20251124"], "2025-11-24"]);
    assert.deepEqual(await send(), [200, ["20251124"], "2025-11-24"]);
    // An endpoint that lies each time does not keep the request going for ever.
    assert.deepEqual(await send(Date.UTC(2038), Date.UTC(2040), Date.UTC(2042), Date.UTC(2044)), [403, ["20251124", "20380101", "20400101"], "2040-01-01"]);
    assert.deepEqual(await send(now), [200, ["20400101", "20251123"], "2025-11-23"]);
  } finally {
    mock.timers.reset();
  }
});

test("an impossible local clock is an error that says so", async (t) => {
  const model = await modelFor(t);
  for (const now of [-8.64e15, -1, 253_402_300_800_000, 8.64e15]) {
    const clock = mock.method(Date, "now", () => now);
    try {
      const error = await thrown(numbers(read(model.options())));
      assert.equal(error.code, "service");
      assert.match(error.message, /has no answer: the clock of this machine is off, so requests cannot be signed/);
    } finally {
      clock.mock.restore();
    }
  }
});

test("dates of other centuries in answers lose nothing in later runs", async (t) => {
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

test("a checkpoint ahead of the present is a notice, or an error with onGap fail", async (t) => {
  const model = await modelFor(t);
  const notices = [];
  await numbers(read(model.options({ state: aheadState(), onNotice: (notice) => notices.push(notice) })));
  const told = notices.filter(({ kind }) => kind === "gap");
  assert.equal(told.length, 1);
  assert.match(told[0].message, /is ahead of the present, at 20\d\d-/);
  const error = await thrown(numbers(read(model.options({ state: aheadState(), onGap: "fail" }))));
  assert.deepEqual([error.code, error.service.cause.tag], ["service", "lost"]);
  assert.match(error.message, /is ahead of the present/);
  // Without onNotice it goes to the console.
  const warned = mock.method(console, "warn", () => {});
  try {
    await numbers(read(model.options({ state: aheadState() })));
    assert.match(warned.mock.calls[0].arguments[0], /^kinesis-reader: the checkpoint of .* is ahead/);
  } finally {
    warned.mock.restore();
  }
});
