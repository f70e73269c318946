import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { inspect } from "node:util";
import { test } from "node:test";

import { KinesisReaderError } from "../src/errors.js";
import { read } from "../src/node.js";
import { isPlain, printable } from "../src/printable.js";
import { numbers } from "./emulator.js";
import { modelFor, refused, thrown } from "./model.js";

/** Text that would control a terminal or mislead its reader. */
const HOSTILE = "\u001b]0;PWNED\u0007\u001b[2J\n2026-01-01T00:00:00Z INFO forged\r\u202egnp.exe\u200b";

test("text is escaped and cut as in the golden data", async () => {
  const golden = new URL("../../../tests/golden/printable.json", import.meta.url);
  const pairs = JSON.parse(await readFile(golden, "utf8"));
  assert.ok(pairs.length > 10);
  for (const [text, expected] of pairs) assert.equal(printable(text), expected);
  // UTF-8 cannot encode unpaired surrogates.
  assert.equal(printable("a\ud800b\udc00\u{1f44d}"), "a\\u{d800}b\\u{dc00}\u{1f44d}");
});

test("the message, hint and causes of an error are printable", () => {
  const inner = Object.assign(new Error(`of the service: ${HOSTILE}`), { name: `A\u001b[31m`, code: "EX" });
  const error = new KinesisReaderError("service", `GetRecords failed: ${HOSTILE}`, { hint: `look at ${HOSTILE}`, cause: new Error("plain", { cause: inner }) });
  const text = inspect(error).replaceAll("\n", "");
  assert.ok(isPlain(text), JSON.stringify(text));
  assert.match(text, /PWNED/);
  assert.deepEqual(error.message.split("\n").map((line) => line.slice(0, 8)), ["GetRecor", "hint: lo"]);
  assert.equal(error.cause.cause.code, "EX");
  // A printable cause is kept.
  const plain = new TypeError("plain", { cause: new RangeError("plain too") });
  assert.equal(new KinesisReaderError("service", "x", { cause: plain }).cause, plain);
});

test("errors and notices about hostile answers are printable", async (t) => {
  let answer;
  const model = await modelFor(t, { misbehave: (operation) => (operation === "GetRecords" ? answer : undefined) });
  for (answer of [
    refused("AccessDeniedException", HOSTILE),
    refused(`Access${HOSTILE}`, "x".repeat(100_000)),
    [500, HOSTILE, { "x-amzn-requestid": "r\u009b31m" }],
    [200, `{"Records":"${"\\u001b[31m".repeat(50)}"}`],
    [307, HOSTILE, { location: "http://\u009b/" }],
  ]) {
    const notices = [];
    const options = model.options({ onNotice: ({ message }) => notices.push(message), limits: { failures: 2, backoffFirst: 1, backoffMax: 1 } });
    const error = await thrown(numbers(read(options)));
    for (const line of [...error.message.split("\n"), ...notices]) {
      assert.ok(isPlain(line), JSON.stringify(line));
      assert.ok(line.length < 5000, `${line.length} characters`);
    }
  }
});

test("errors about options, paths and credentials are printable", async (t) => {
  const model = await modelFor(t);
  for (const more of [
    { stream: HOSTILE }, { start: HOSTILE }, { payload: HOSTILE }, { [HOSTILE]: 1 }, { region: HOSTILE }, { endpointUrl: HOSTILE }, { roleArn: HOSTILE },
    { limits: { [HOSTILE]: 1 } }, { pace: HOSTILE }, { state: `/nowhere/${HOSTILE}` }, { state: "/nowhere/\0" }, { payload: Object.create(null) },
    { credentials: () => Promise.reject(new Error(HOSTILE)) },
  ]) {
    const error = await thrown(numbers(read(model.options(more))));
    assert.ok(error instanceof KinesisReaderError, String(error.stack));
    for (const line of inspect(error).split("\n")) assert.ok(isPlain(line), JSON.stringify(line));
  }
  assert.deepEqual(model.requests, []);
});
