import assert from "node:assert/strict";
import { mkdir, mkdtemp, readFile, readdir, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { after, before, test } from "node:test";

import { fileState, read, storageState } from "../src/node.js";
import { MemoryState, numbers, range, startEmulator } from "./emulator.js";

let emulator;
let directory;
before(async () => {
  emulator = await startEmulator();
  directory = await mkdtemp(join(tmpdir(), "kinesis-reader-"));
  await emulator.create("kept", 1);
  await emulator.put("kept", 0, 100);
});
after(async () => {
  await emulator.close();
  await rm(directory, { recursive: true });
});

test("a path, a URL, an object and a browser's storage keep the same checkpoint", async () => {
  const memory = new MemoryState();
  const items = new Map();
  const storage = { getItem: (key) => items.get(key) ?? null, setItem: (key, text) => items.set(key, text) };
  const path = join(directory, "path.json");
  for (const state of [path, pathToFileURL(join(directory, "url.json")), memory, storageState("orders", storage)]) {
    const options = emulator.options("kept", { state });
    assert.deepEqual(await numbers(read(options), 40), range(0, 40));
    assert.deepEqual(await numbers(read(options)), range(40, 100));
  }
  const text = await readFile(path, "utf8");
  assert.deepEqual(JSON.parse(text), { version: 1, checkpoint: JSON.parse(memory.saved) });
  assert.equal(await readFile(join(directory, "url.json"), "utf8"), text);
  assert.equal(items.get("orders"), memory.saved);
  assert.deepEqual((await readdir(directory)).sort(), ["path.json", "url.json"]);
});

test("a symbolic link to a state is kept", async () => {
  await symlink("real.json", join(directory, "link.json"));
  await writeFile(join(directory, "real.json"), `{"version":1,"checkpoint":${emptyCheckpoint}}`);
  await numbers(read(emulator.options("kept", { state: join(directory, "link.json") })));
  assert.match(await readFile(join(directory, "real.json"), "utf8"), /"after":/);
  await rm(join(directory, "link.json"));
});

test("a file that is not a state is refused and left unchanged", async () => {
  const path = join(directory, "bad.json");
  for (const [text, message] of [
    ["", /^damaged state: .*: empty/],
    ["{", /^damaged state/],
    ["[]", /no version/],
    ['{"version":1}', /no checkpoint/],
    ['{"version":2,"checkpoint":{}}', /^unknown state version: .*: 2/],
    ['{"version":1,"checkpoint":{},"output":{"path":"orders.ndjson","length":3}}', /^state belongs to an output file: .*: orders.ndjson/],
  ]) {
    await writeFile(path, text);
    await assert.rejects(numbers(read(emulator.options("kept", { state: path }))), { code: "state", message, hint: /./ });
    assert.equal(await readFile(path, "utf8"), text);
  }
  await writeFile(path, '{"version":1,"checkpoint":{"version":1}}');
  await assert.rejects(numbers(read(emulator.options("kept", { state: path }))), { code: "checkpoint", message: /^invalid checkpoint: / });
});

test("invalid paths are reported", async () => {
  await mkdir(join(directory, "directory"));
  await writeFile(join(directory, "file"), "");
  for (const [path, message] of [
    [join(directory, "none/state.json"), /: no such directory/],
    [join(directory, "directory"), /: a directory/],
    [join(directory, "file/state.json"), /not a directory/],
    ["", /: empty path/],
  ]) {
    await assert.rejects(numbers(read(emulator.options("kept", { state: path }))), { code: "state", message });
  }
});

test("a state that another reader has changed is not overwritten", async () => {
  const path = join(directory, "shared.json");
  const [one, other] = [fileState(path), fileState(path)];
  assert.deepEqual([await one.load(), await other.load()], [undefined, undefined]);
  await one.save("{}");
  await assert.rejects(other.save('{"a":1}'), { code: "state", message: /state changed by another reader/ });
  await one.save('{"a":2}');
  assert.equal(await other.load(), '{"a":2}');
});

test("a state that fails ends the run with its own error", async () => {
  const full = new Error("no room");
  const state = { load: () => null, save: () => Promise.reject(full) };
  await assert.rejects(numbers(read(emulator.options("kept", { state }))), full);
  const unreadable = { load: () => Promise.reject(full), save() {} };
  await assert.rejects(numbers(read(emulator.options("kept", { state: unreadable }))), full);
  const wrong = { load: () => ({}), save() {} };
  await assert.rejects(numbers(read(emulator.options("kept", { state: wrong }))), { code: "state", message: /did not return a string/ });
});

test("a checkpoint of another stream is refused", async () => {
  await emulator.create("other", 1);
  const state = new MemoryState();
  await numbers(read(emulator.options("kept", { state })));
  await assert.rejects(numbers(read(emulator.options("other", { state }))), { code: "checkpoint", message: /belongs to another stream.*kept/ });
});

const emptyCheckpoint = '{"version":1,"stream":{"name":"kept"},"shards":{}}';
