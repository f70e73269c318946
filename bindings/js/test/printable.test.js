import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { inspect } from "node:util";
import { test } from "node:test";

import { KinesisReaderError } from "../src/errors.js";
import { read } from "../src/node.js";
import { isPlain, printable } from "../src/printable.js";
import { numbers } from "./emulator.js";
import { refused, startModel } from "./model.js";

/** Text that would control a terminal or mislead people. */
const HOSTILE = "\u001b]0;PWNED\u0007\u001b[2J\n2026-01-01T00:00:00Z INFO forged\r\u202egnp.exe\u200b";

test("text is escaped and cut as in the golden vectors", async () => {
  const golden = new URL("../../../tests/golden/printable.json", import.meta.url);
  const pairs = JSON.parse(await readFile(golden, "utf8"));
  assert.ok(pairs.length > 10);
  for (const [text, shown] of pairs) assert.equal(printable(text), shown);
  // The golden file, being UTF-8, cannot hold these.
  assert.equal(printable("a\ud800b\udc00\u{1f44d}"), "a\\u{d800}b\\u{dc00}\u{1f44d}");
});

test("messages, hints and causes of errors are printable", () => {
  const inner = Object.assign(new Error(`of the service: ${HOSTILE}`), { name: `A\u001b[31m`, code: "EX" });
  const error = new KinesisReaderError("service", `was refused: ${HOSTILE}`, { hint: `look at ${HOSTILE}`, cause: new Error("plain", { cause: inner }) });
  const shown = inspect(error).replaceAll("\n", "");
  assert.ok(isPlain(shown), JSON.stringify(shown));
  assert.match(shown, /PWNED/);
  assert.deepEqual(error.message.split("\n").map((line) => line.slice(0, 8)), ["was refu", "hint: lo"]);
  assert.equal(error.cause.cause.code, "EX");
  // Printable causes are kept as they are.
  const plain = new TypeError("plain", { cause: new RangeError("plain too") });
  assert.equal(new KinesisReaderError("service", "x", { cause: plain }).cause, plain);
});

test("errors and notices about hostile answers are printable", async (t) => {
  let answer;
  const model = await startModel({ err: (operation) => (operation === "GetRecords" ? answer : undefined) });
  t.after(() => model.close());
  for (answer of [
    refused("AccessDeniedException", HOSTILE),
    refused(`Access${HOSTILE}`, "x".repeat(100_000)),
    [500, HOSTILE, { "x-amzn-requestid": "r\u009b31m" }],
    [200, `{"Records":"${"\\u001b[31m".repeat(50)}"}`],
    [307, HOSTILE, { location: "http://\u009b/" }],
  ]) {
    const notices = [];
    const options = model.options({ onNotice: ({ message }) => notices.push(message), limits: { failures: 2, backoffFirst: 1, backoffMax: 1 } });
    const error = await numbers(read(options)).then(() => assert.fail("it ends well"), (thrown) => thrown);
    for (const shown of [...error.message.split("\n"), ...notices]) {
      assert.ok(isPlain(shown), JSON.stringify(shown));
      assert.ok(shown.length < 5000, `${shown.length} characters`);
    }
  }
});

test("errors about options, paths and credentials are printable", async (t) => {
  const model = await startModel();
  t.after(() => model.close());
  for (const more of [
    { stream: HOSTILE }, { start: HOSTILE }, { payload: HOSTILE }, { [HOSTILE]: 1 }, { region: HOSTILE }, { endpointUrl: HOSTILE }, { roleArn: HOSTILE },
    { limits: { [HOSTILE]: 1 } }, { pace: HOSTILE }, { state: `/nowhere/${HOSTILE}` }, { state: "/nowhere/\0" }, { payload: Object.create(null) },
    { credentials: () => Promise.reject(new Error(HOSTILE)) },
  ]) {
    const error = await numbers(read(model.options(more))).then(() => assert.fail("it ends well"), (thrown) => thrown);
    assert.ok(error instanceof KinesisReaderError, String(error.stack));
    for (const line of inspect(error).split("\n")) assert.ok(isPlain(line), JSON.stringify(line));
  }
  assert.deepEqual(model.requests, []);
});
