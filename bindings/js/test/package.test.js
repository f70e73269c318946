// The package as people get it: packed, installed into a fresh folder, and used there.

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
let folder;
let environment;

before(async () => {
  emulator = await startEmulator();
  folder = await mkdtemp(join(tmpdir(), "kinesis-reader-"));
  environment = {
    ...process.env, HOME: folder, AWS_ENDPOINT_URL_KINESIS: emulator.url, AWS_REGION: "us-east-1", AWS_ACCESS_KEY_ID: "test", AWS_SECRET_ACCESS_KEY: "test",
  };
  await run("npm", ["pack", "--silent", "--pack-destination", folder], { cwd: here });
  const [tarball] = await readdir(folder);
  await writeFile(join(folder, "package.json"), '{"private":true,"type":"module"}');
  await run("npm", ["install", "--no-audit", "--no-fund", "--prefer-offline", "--loglevel=error", `./${tarball}`], { cwd: folder });
});
after(async () => {
  await emulator?.close();
  await rm(folder, { recursive: true });
});

test("10,000 messages in a fresh folder, across a reshard, stopped in the middle and gone on", async () => {
  await emulator.create("fresh", 2);
  await emulator.put("fresh", 0, 4000);
  await emulator.split("fresh", 0);
  await emulator.put("fresh", 4000, 7000);
  await writeFile(join(folder, "reads.js"), READS);
  const read = async (most) => JSON.parse((await run(process.execPath, ["reads.js", String(most)], { cwd: folder, env: environment })).stdout);
  const first = await read(3333);
  await emulator.merge("fresh", 1);
  await emulator.put("fresh", 7000, 10000);
  const rest = await read(Infinity);
  assert.equal(first.length, 3333);
  assert.deepEqual(sorted([...first, ...rest]), range(0, 10000));
  assert.deepEqual(await read(Infinity), []);
});

const READS = `
import { read } from "kinesis-reader";
const most = Number(process.argv[2]);
const had = [];
for await (const { n } of read({ stream: "fresh", state: "fresh.json", pace: "off" })) {
  if (had.length === most) break;
  had.push(n);
}
console.log(JSON.stringify(had));
`;

test("what the documentation shows works as it stands", async () => {
  await emulator.create("orders", 1);
  await emulator.put("orders", 0, 20);
  const root = await readFile(join(here, "../../README.md"), "utf8");
  const own = await readFile(join(here, "README.md"), "utf8");
  const blocks = [root, own].map((text) => [...text.matchAll(/^ *```js\n(.*?)^ *```$/gms)].map(([, block]) => block));
  assert.deepEqual(blocks.map(({ length }) => length), [1, 3]);
  const printed = await Promise.all(blocks.flat().map(async (block, i) => {
    const { stdout, stderr } = await run(process.execPath, ["--input-type=module", "--eval", ownState(block, i)], { cwd: folder, env: environment });
    assert.equal(stderr, "");
    return stdout;
  }));
  for (const i of [0, 1]) assert.equal(printed[i].match(/shardId-000000000000 \{/g).length, 20);
  assert.equal((await readFile(join(folder, "orders.ndjson"), "utf8")).split("\n").length, 21);
  assert.match(printed[3], /^([0-9a-f]{32}\n){20}shardId-000000000000 \S+ 0\n$/);
});

/** The blocks run side by side, so that each has a state of its own. */
function ownState(block, i) {
  return block.replace("orders.json", `orders-${i}.json`);
}

test("the types say what there is", async () => {
  await copyFile(join(here, "test/usage.ts"), join(folder, "usage.ts"));
  await writeFile(join(folder, "tsconfig.json"), JSON.stringify({
    compilerOptions: { strict: true, noEmit: true, module: "nodenext", target: "es2022", lib: ["es2023", "esnext.disposable", "dom"], types: [], skipLibCheck: false },
    files: ["usage.ts"],
  }));
  const compiler = join(here, "node_modules/.bin/tsc");
  await run(compiler, ["-p", folder]).catch(({ stdout }) => assert.fail(stdout));
});
