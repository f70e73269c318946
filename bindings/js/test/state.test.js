import assert from "node:assert/strict";
import { mkdir, mkdtemp, readFile, readdir, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { after, before, test } from "node:test";

import { fileState, read, storageState } from "../src/node.js";
import { MemoryState, numbers, range, startEmulator } from "./emulator.js";

let emulator;
let folder;
before(async () => {
  emulator = await startEmulator();
  folder = await mkdtemp(join(tmpdir(), "kinesis-reader-"));
  await emulator.create("stated", 1);
  await emulator.put("stated", 0, 100);
});
after(async () => {
  await emulator.close();
  await rm(folder, { recursive: true });
});

test("a path, a URL, an object and the storage of a browser keep the same checkpoint", async () => {
  const memory = new MemoryState();
  const items = new Map();
  const storage = { getItem: (key) => items.get(key) ?? null, setItem: (key, text) => items.set(key, text) };
  const path = join(folder, "path.json");
  for (const state of [path, pathToFileURL(join(folder, "url.json")), memory, storageState("orders", storage)]) {
    const options = emulator.options("stated", { state });
    assert.deepEqual(await numbers(read(options), 40), range(0, 40));
    assert.deepEqual(await numbers(read(options)), range(40, 100));
  }
  const kept = await readFile(path, "utf8");
  assert.deepEqual(JSON.parse(kept), { version: 1, checkpoint: JSON.parse(memory.saved) });
  assert.equal(await readFile(join(folder, "url.json"), "utf8"), kept);
  assert.equal(items.get("orders"), memory.saved);
  assert.deepEqual((await readdir(folder)).sort(), ["path.json", "url.json"]);
});

test("a link keeps pointing to the state", async () => {
  await symlink("real.json", join(folder, "link.json"));
  await writeFile(join(folder, "real.json"), `{"version":1,"checkpoint":${emptyCheckpoint}}`);
  await numbers(read(emulator.options("stated", { state: join(folder, "link.json") })));
  assert.match(await readFile(join(folder, "real.json"), "utf8"), /"after":/);
  await rm(join(folder, "link.json"));
});

test("a file that is no state is refused and left as it is", async () => {
  const path = join(folder, "bad.json");
  for (const [text, words] of [
    ["", /is damaged: .*: it is empty/],
    ["{", /is damaged/],
    ["[]", /has no version/],
    ['{"version":1}', /has no checkpoint/],
    ['{"version":2,"checkpoint":{}}', /unknown version: .*: 2/],
    ['{"version":1,"checkpoint":{},"output":{"path":"orders.ndjson","length":3}}', /of an output: .*orders.ndjson/],
  ]) {
    await writeFile(path, text);
    await assert.rejects(numbers(read(emulator.options("stated", { state: path }))), { code: "state", message: words, hint: /./ });
    assert.equal(await readFile(path, "utf8"), text);
  }
  await writeFile(path, '{"version":1,"checkpoint":{"version":1}}');
  await assert.rejects(numbers(read(emulator.options("stated", { state: path }))), { code: "checkpoint", message: /is damaged/ });
});

test("paths that cannot be are told", async () => {
  await mkdir(join(folder, "folder"));
  await writeFile(join(folder, "file"), "");
  for (const [path, words] of [
    [join(folder, "none/state.json"), /its directory does not exist/],
    [join(folder, "folder"), /it is a directory/],
    [join(folder, "file/state.json"), /not a directory/],
    ["", /it has no name/],
  ]) {
    await assert.rejects(numbers(read(emulator.options("stated", { state: path }))), { code: "state", message: words });
  }
});

test("a state that somebody else writes is not written over", async () => {
  const path = join(folder, "shared.json");
  const [one, other] = [fileState(path), fileState(path)];
  assert.deepEqual([await one.load(), await other.load()], [undefined, undefined]);
  await one.save("{}");
  await assert.rejects(other.save('{"a":1}'), { code: "state", message: /another reader has written the state/ });
  await one.save('{"a":2}');
  assert.equal(await other.load(), '{"a":2}');
});

test("a state that fails ends the reading with its own error", async () => {
  const full = new Error("no room");
  const state = { load: () => null, save: () => Promise.reject(full) };
  await assert.rejects(numbers(read(emulator.options("stated", { state }))), full);
  const mute = { load: () => Promise.reject(full), save() {} };
  await assert.rejects(numbers(read(emulator.options("stated", { state: mute }))), full);
  const odd = { load: () => ({}), save() {} };
  await assert.rejects(numbers(read(emulator.options("stated", { state: odd }))), { code: "state", message: /gave no text/ });
});

test("a checkpoint of another stream is refused", async () => {
  await emulator.create("other", 1);
  const state = new MemoryState();
  await numbers(read(emulator.options("stated", { state })));
  await assert.rejects(numbers(read(emulator.options("other", { state }))), { code: "checkpoint", message: /belongs to another stream.*stated/ });
});

const emptyCheckpoint = '{"version":1,"stream":{"name":"stated"},"shards":{}}';
