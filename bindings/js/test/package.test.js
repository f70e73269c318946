// The package as users get it: packed, and installed in a new directory.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { copyFile, mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { after, before, test } from "node:test";

import { range, sorted, startEmulator } from "./emulator.js";

const run = promisify(execFile);
const here = fileURLToPath(new URL("..", import.meta.url));
let emulator;
let directory;
let environment;

before(async () => {
  emulator = await startEmulator();
  directory = await mkdtemp(join(tmpdir(), "kinesis-reader-"));
  environment = {
    ...process.env, HOME: directory, AWS_ENDPOINT_URL_KINESIS: emulator.url, AWS_REGION: "us-east-1", AWS_ACCESS_KEY_ID: "test", AWS_SECRET_ACCESS_KEY: "test",
  };
  await run("npm", ["pack", "--silent", "--pack-destination", directory], { cwd: here });
  const [tarball] = await readdir(directory);
  await writeFile(join(directory, "package.json"), '{"private":true,"type":"module"}');
  await run("npm", ["install", "--no-audit", "--no-fund", "--prefer-offline", "--loglevel=error", `./${tarball}`], { cwd: directory });
});
after(async () => {
  await emulator?.close();
  await rm(directory, { recursive: true });
});

test("the installed package reads 10,000 messages across a reshard, in two runs", async () => {
  await emulator.create("installed", 2);
  await emulator.put("installed", 0, 4000);
  await emulator.split("installed", 0);
  await emulator.put("installed", 4000, 7000);
  await writeFile(join(directory, "reads.js"), READS);
  const read = async (most) => JSON.parse((await run(process.execPath, ["reads.js", String(most)], { cwd: directory, env: environment })).stdout);
  const first = await read(3333);
  await emulator.merge("installed", 1);
  await emulator.put("installed", 7000, 10000);
  const rest = await read(Infinity);
  assert.equal(first.length, 3333);
  assert.deepEqual(sorted([...first, ...rest]), range(0, 10000));
  assert.deepEqual(await read(Infinity), []);
});

const READS = `
import { read } from "kinesis-reader";
const most = Number(process.argv[2]);
const received = [];
for await (const { n } of read({ stream: "installed", state: "installed.json", pace: "off" })) {
  if (received.length === most) break;
  received.push(n);
}
console.log(JSON.stringify(received));
`;

test("the examples in the documentation work unchanged", async () => {
  await emulator.create("orders", 1);
  await emulator.put("orders", 0, 20);
  const root = await readFile(join(here, "../../README.md"), "utf8");
  const own = await readFile(join(here, "README.md"), "utf8");
  const blocks = [root, own].map((text) => [...text.matchAll(/^ *```js\n(.*?)^ *```$/gms)].map(([, block]) => block));
  assert.deepEqual(blocks.map(({ length }) => length), [1, 3]);
  const printed = await Promise.all(blocks.flat().map(async (block, i) => {
    const { stdout, stderr } = await run(process.execPath, ["--input-type=module", "--eval", ownState(block, i)], { cwd: directory, env: environment });
    assert.equal(stderr, "");
    return stdout;
  }));
  for (const i of [0, 1]) assert.equal(printed[i].match(/shardId-000000000000 \{/g).length, 20);
  assert.equal((await readFile(join(directory, "orders.ndjson"), "utf8")).split("\n").length, 21);
  assert.match(printed[3], /^([0-9a-f]{32}\n){20}shardId-000000000000 \S+ 0\n$/);
});

/** Gives a block its own state, because the blocks run concurrently. */
function ownState(block, i) {
  return block.replace("orders.json", `orders-${i}.json`);
}

test("the types are correct", async () => {
  await copyFile(join(here, "test/usage.ts"), join(directory, "usage.ts"));
  await writeFile(join(directory, "tsconfig.json"), JSON.stringify({
    compilerOptions: { strict: true, noEmit: true, module: "nodenext", target: "es2022", lib: ["es2023", "esnext.disposable", "dom"], types: [], skipLibCheck: false },
    files: ["usage.ts"],
  }));
  const compiler = join(here, "node_modules/.bin/tsc");
  await run(compiler, ["-p", directory]).catch(({ stdout }) => assert.fail(stdout));
});
