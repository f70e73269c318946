// The file of a state, its lock and its temporary file, with links, pipes and other readers in the way.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { chmod, link, lstat, mkdir, mkdtemp, readFile, readdir, rm, stat, symlink, writeFile } from "node:fs/promises";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "node:test";

import { fileState, read } from "../src/node.js";
import { numbers, range } from "./emulator.js";
import { modelFor, thrown } from "./model.js";

const PRECIOUS = "precious\n";
const STATE = '{"version":1,"checkpoint":{}}';

/** Creates a directory for one test. */
async function directoryFor(t) {
  const directory = await mkdtemp(join(tmpdir(), "kinesis-reader-"));
  t.after(() => rm(directory, { recursive: true }));
  return directory;
}

async function modeOf(path) {
  return ((await stat(path)).mode & 0o777).toString(8);
}

/** Starts a process that holds the lock of a state until it is killed. */
async function holderOf(t, path) {
  const code = `const { fileState } = await import(${JSON.stringify(new URL("../src/node.js", import.meta.url))});
    await fileState(${JSON.stringify(path)}).lock(); console.log("held"); setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ["--input-type=module", "--eval", code], { stdio: ["ignore", "pipe", "inherit"] });
  t.after(() => child.kill("SIGKILL"));
  await once(child.stdout, "data");
  return child;
}

test("a state has one reader at a time, and is released when its process is killed", async (t) => {
  const model = await modelFor(t, { records: 30, page: 10 });
  const directory = await directoryFor(t);
  const path = join(directory, "s.state");
  const options = model.options({ state: path, until: "forever" });
  const held = (pid) => ({ code: "state", message: new RegExp(`^state in use by process ${pid}: .*s.state\nhint: wait`) });

  const first = read(options);
  await first.next();
  await assert.rejects(read(options).next(), held(process.pid));
  // The refused reader did not release the lock.
  await assert.rejects(read({ ...options, state: join(directory, "..", directory.split("/").at(-1), "s.state") }).next(), held(process.pid));
  await first.return();
  assert.deepEqual(await readdir(directory), ["s.state"]);

  const other = await holderOf(t, path);
  await assert.rejects(read(options).next(), held(other.pid));
  other.kill("SIGKILL");
  await once(other, "exit");
  // The file of the lock is left behind and ignored.
  assert.deepEqual((await readdir(directory)).sort(), [".s.state.lock", "s.state"]);
  // Nothing was acknowledged.
  assert.deepEqual(await numbers(read({ ...options, until: "caught-up" })), range(0, 30));
  assert.deepEqual(await readdir(directory), ["s.state"]);
});

test("the lock is compatible with flock", async (t) => {
  const path = join(await directoryFor(t), "s.state");
  const lock = join(path, "../.s.state.lock");
  const state = fileState(path);
  await state.lock();
  assert.equal(await readFile(lock, "utf8"), `${process.pid}\n`);
  assert.throws(() => execFileSync("flock", ["-n", lock, "true"]));
  await state.unlock();
  await state.unlock();
  const other = spawn("sh", ["-c", 'exec 3<>"$0"; flock 3; echo 17 >&3; echo held; read line', lock], { stdio: ["pipe", "pipe", "inherit"] });
  await once(other.stdout, "data");
  await assert.rejects(state.lock(), { message: /^state in use by process 17: / });
  other.stdin.end();
  await once(other, "exit");
  await state.lock();
  await state.unlock();
});

test("links in place of the lock or the temporary file are not followed", async (t) => {
  const model = await modelFor(t);
  const directory = await directoryFor(t);
  const path = join(directory, "s.state");
  const victim = join(directory, "victim");
  const [lock, next] = [join(directory, ".s.state.lock"), join(directory, ".s.state.new")];
  const attempt = () => numbers(read(model.options({ state: path })));
  await writeFile(victim, PRECIOUS);
  const number = join(await directoryFor(t), "number");
  await writeFile(number, "17\n");
  for (const [why, plant] of [
    ["a symbolic link", () => symlink(victim, lock)],
    ["a symbolic link", () => symlink(join(directory, "nowhere"), lock)],
    ["not a lock file", () => link(victim, lock)],
    // With the content of a lock.
    ["not a lock file", () => link(number, lock)],
    ["not a lock file", () => writeFile(lock, PRECIOUS)],
    ["not a lock file", () => writeFile(lock, "1".repeat(100))],
    ["not a regular file", () => execFileSync("mkfifo", [lock])],
    ["a directory", () => mkdir(lock)],
  ]) {
    await plant();
    await assert.rejects(attempt(), { code: "state", message: new RegExp(`^cannot lock the state: .*lock: ${why}\nhint: remove`) });
    assert.equal(await readFile(victim, "utf8"), PRECIOUS);
    assert.deepEqual((await readdir(directory)).sort(), [".s.state.lock", "victim"]);
    await rm(lock, { recursive: true });
  }
  assert.equal(await readFile(number, "utf8"), "17\n");
  for (const plant of [() => symlink(victim, next), () => symlink(join(directory, "nowhere"), next), () => link(victim, next), () => execFileSync("mkfifo", [next])]) {
    await plant();
    assert.equal((await attempt()).length, 10);
    assert.equal(await readFile(victim, "utf8"), PRECIOUS);
    assert.deepEqual((await readdir(directory)).sort(), ["s.state", "victim"]);
    assert.ok((await lstat(path)).isFile());
    await rm(path);
  }
  await mkdir(next);
  await assert.rejects(attempt(), { code: "state", message: /^cannot write the state/ });
  assert.deepEqual(model.requests.filter((operation) => operation === "GetRecords").length, 5);
});

test("only regular files are accepted, and pipes do not hang", async (t) => {
  const directory = await directoryFor(t);
  const pipe = join(directory, "pipe");
  execFileSync("mkfifo", [pipe]);
  const linked = join(directory, "linked");
  await symlink(pipe, linked);
  for (const path of [pipe, linked, "/dev/null", "/dev/zero", directory]) {
    for (const call of ["lock", "load"]) await assert.rejects(fileState(path)[call](), { code: "state", message: /: (not a regular file|a directory)/ });
  }
  // Planted during the run.
  const path = join(directory, "s.state");
  const state = fileState(path);
  await state.save("{}");
  await rm(path);
  execFileSync("mkfifo", [path]);
  await assert.rejects(state.save("{}"), { code: "state", message: /not a regular file/ });
  await rm(path);
  await symlink("elsewhere", path);
  await assert.rejects(state.save("{}"), { code: "state", message: /ELOOP[^]*\nhint: use the path of a file/ });
});

test("a link to a file that does not exist yet leads to that file", async (t) => {
  const directory = await directoryFor(t);
  const target = join(directory, "target.state");
  await symlink("target.state", join(directory, "link"));
  await symlink(join(directory, "link"), join(directory, "further"));
  const state = fileState(join(directory, "further"));
  await state.lock();
  assert.equal(await state.load(), undefined);
  await state.save("{}");
  await state.unlock();
  assert.equal(JSON.parse(await readFile(target, "utf8")).version, 1);
  assert.ok((await lstat(join(directory, "link"))).isSymbolicLink());
  assert.equal(await fileState(join(directory, "link")).load(), "{}");
  await symlink("loop", join(directory, "loop"));
  await symlink("nowhere/s.state", join(directory, "astray"));
  for (const [name, message] of [["loop", /too many symbolic links/], ["astray", /no such directory/]]) {
    await assert.rejects(fileState(join(directory, name)).load(), { code: "state", message, hint: /use the path of a file/ });
  }
});

test("a new state is private, and an existing one keeps its mode", async (t) => {
  const path = join(await directoryFor(t), "s.state");
  const umask = process.umask(0);
  try {
    const state = fileState(path);
    await state.save("{}");
    assert.equal(await modeOf(path), "600");
    for (const mode of [0o640, 0o644, 0o600, 0o400]) {
      await chmod(path, mode);
      await state.save(JSON.stringify({ mode }));
      assert.equal(await modeOf(path), mode.toString(8));
    }
    await state.lock();
    assert.equal(await modeOf(join(path, "../.s.state.lock")), "600");
    await state.unlock();
  } finally {
    process.umask(umask);
  }
});

test("a state that was changed or removed during the run is not overwritten", async (t) => {
  const path = join(await directoryFor(t), "s.state");
  for (const [message, change] of [
    [/state removed during the run/, () => rm(path)],
    [/state changed by another reader/, () => writeFile(path, STATE)],
    [/state changed by another reader/, () => writeFile(path, "")],
    [/not UTF-8/, () => writeFile(path, Buffer.from([0xff]))],
  ]) {
    await rm(path, { force: true });
    const state = fileState(path);
    await state.save('{"n":1}');
    await change();
    const after = await readFile(path).catch(() => undefined);
    await assert.rejects(state.save('{"n":2}'), { code: "state", message });
    assert.deepEqual(await readFile(path).catch(() => undefined), after);
  }
});

test("a lock whose file was removed is taken again, unless another process has taken it", async (t) => {
  const path = join(await directoryFor(t), "s.state");
  const lock = join(path, "../.s.state.lock");
  const state = fileState(path);
  await state.lock();
  await rm(lock);
  await state.save("{}");
  assert.equal(await readFile(lock, "utf8"), `${process.pid}\n`);
  await rm(lock);
  const other = await holderOf(t, path);
  await assert.rejects(state.save("{}"), { message: new RegExp(`^state in use by process ${other.pid}: `) });
  await state.unlock();
});

test("a state with an unknown member is refused", async (t) => {
  const path = join(await directoryFor(t), "s.state");
  await writeFile(path, '{"version":1,"checkpoint":{},"extra":1}');
  await assert.rejects(fileState(path).load(), { code: "state", message: /damaged.*unknown member extra/ });
});

test("states have locks of their own, however long their names are", async (t) => {
  const directory = await directoryFor(t);
  const states = ["s".repeat(255), `${"s".repeat(254)}t`, "s".repeat(131)].map((name) => fileState(join(directory, name)));
  for (const state of states) await state.lock();
  for (const state of states) await state.save("{}");
  assert.equal((await readdir(directory)).length, 6);
  for (const state of states) await state.unlock();
  assert.equal((await readdir(directory)).length, 3);
});

test("without flock, readers in one process exclude each other and changes are detected", async (t) => {
  const directory = await directoryFor(t);
  const path = join(directory, "s.state");
  const code = `
    import assert from "node:assert/strict";
    const { fileState } = await import(${JSON.stringify(new URL("../src/node.js", import.meta.url))});
    const [one, two] = [fileState(${JSON.stringify(path)}), fileState(${JSON.stringify(path)})];
    await one.lock();
    await assert.rejects(two.lock(), /state in use by process \\d+/);
    await one.save("{}");
    await one.unlock();
    await two.lock();
    await two.load();
    await one.save('{"n":1}');
    await assert.rejects(two.save("{}"), /state changed by another reader/);
    console.log("done");`;
  const flag = process.allowedNodeEnvironmentFlags.has("--permission") ? "--permission" : "--experimental-permission";
  const permissions = [flag, "--allow-fs-read=*", `--allow-fs-write=${directory}/*`, "--no-warnings"];
  const out = execFileSync(process.execPath, [...permissions, "--input-type=module", "--eval", code], { encoding: "utf8", cwd: fileURLToPath(new URL("..", import.meta.url)) });
  assert.equal(out, "done\n");
  assert.deepEqual(await readdir(directory), ["s.state"]);
});
