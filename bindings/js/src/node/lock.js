// A lock that ends with the process that holds it: the operating system's lock on a small hidden file. The file holds the
// process ID for error messages. The program `kinesis-reader` and the Python package take the same lock.
//
// Node has no call for such locks. On macOS and the BSDs `open` can lock the file, and on Windows it can open the file
// exclusively. On Linux we run the program `flock` of util-linux or BusyBox on our open descriptor: the lock belongs to the
// open file, so we keep it when `flock` exits. Without `flock` there is no lock.

import { spawn } from "node:child_process";
import { close as closeFile, constants, fstat, ftruncate, lstat, open, read, write } from "node:fs";
import { access, rm } from "node:fs/promises";
import { basename, delimiter, dirname, join } from "node:path";
import { promisify } from "node:util";

const calls = Object.fromEntries(Object.entries({ closeFile, fstat, ftruncate, lstat, open, read, write }).map(([name, call]) => [name, promisify(call)]));

/** The longest file name that common file systems take, in bytes. */
const NAME_MAX = 255;

/** A lock's file holds a process ID; anything longer is not a lock. */
const SIZE_MAX = 32;

/** Tries, because the last holder may remove the file just as we open it. */
const TRIES_MAX = 100;

/** `flock -n` returns at once, unless the machine is busy. */
const FLOCK_TIME_MAX_MS = 10_000;

/** `O_EXLOCK`, or `UV_FS_O_EXLOCK` on Windows, which `fs.constants` lacks. */
const EXCLUSIVE = { darwin: 0x20, freebsd: 0x20, openbsd: 0x20, netbsd: 0x20, win32: 0x1000_0000 }[process.platform];

/** Errors of `open` that mean that the lock is held. */
const HELD = ["EAGAIN", "EWOULDBLOCK", "EBUSY"];

/** The paths of the locks that this process holds. */
const ours = new Set();

/** Thrown if another reader holds the lock; `process` is its ID if known. */
export class Held {
  constructor(process) {
    this.process = process;
  }
}

/** Thrown if something that is not a lock has its name. */
export class Taken {
  constructor(path, why) {
    this.path = path;
    this.why = why;
  }
}

/** The path of the hidden file `.NAME.SUFFIX` beside a file. */
export function beside(file, suffix) {
  let name = `.${basename(file)}`;
  if (Buffer.byteLength(name) + 1 + suffix.length > NAME_MAX) name = `.${fnv1a(Buffer.from(name)).toString(16).padStart(16, "0")}`;
  return join(dirname(file), `${name}.${suffix}`);
}

/**
 * Locks a file. Throws `Held`, `Taken` or an error of the file system. The lock `isReal` if the operating system enforces
 * it, rather than only this process, and `isHeld` until its file is removed.
 */
export async function lock(file) {
  const path = beside(file, "lock");
  if (ours.has(path)) throw new Held(process.pid);
  ours.add(path);
  try {
    const descriptor = (await canLock()) ? await locked(path) : undefined;
    return {
      isReal: descriptor !== undefined,
      isHeld: async () => descriptor === undefined || (await isAt(descriptor, path)),
      release: () => release(path, descriptor),
    };
  } catch (thrown) {
    ours.delete(path);
    throw thrown;
  }
}

async function release(path, descriptor) {
  try {
    if (descriptor === undefined) return;
    // Removed while still locked, so that the next holder notices.
    if (process.platform !== "win32" && (await isAt(descriptor, path))) await rm(path, { force: true });
    await calls.closeFile(descriptor);
  } finally {
    ours.delete(path);
  }
}

async function canLock() {
  return EXCLUSIVE !== undefined || (await flockProgram()) !== undefined;
}

/** Opens the lock's file and locks it. */
async function locked(path) {
  for (let tries = 0; tries < TRIES_MAX; tries += 1) {
    const descriptor = await opened(path);
    try {
      // The last holder may have removed the file after we opened it. A lock on it would exclude nobody.
      if ((await take(descriptor)) && (await isAt(descriptor, path))) {
        // Empty if the last holder died before it wrote its ID.
        if ((await calls.fstat(descriptor)).size > 0 && (await holder(descriptor)) === undefined) throw new Taken(path, "it is not a lock");
        await sign(descriptor);
        return descriptor;
      }
    } catch (thrown) {
      await calls.closeFile(descriptor);
      throw thrown;
    }
    await calls.closeFile(descriptor);
  }
  throw new Taken(path, "it changes all the time");
}

/** Opens or creates the lock's file. Links, also hard ones, and anything but regular files are refused. */
async function opened(path) {
  const { O_RDWR, O_CREAT, O_NOFOLLOW = 0, O_NONBLOCK = 0 } = constants;
  let descriptor;
  try {
    descriptor = await calls.open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | (EXCLUSIVE ?? 0), 0o600);
  } catch (thrown) {
    if (EXCLUSIVE !== undefined && HELD.includes(thrown.code)) throw new Held(undefined);
    if (thrown.code === "ELOOP") throw new Taken(path, "it is a symbolic link");
    if (thrown.code === "EISDIR") throw new Taken(path, "it is a directory");
    throw thrown;
  }
  const stats = await calls.fstat(descriptor);
  if (stats.isFile() && stats.nlink <= 1 && stats.size <= SIZE_MAX) return descriptor;
  await calls.closeFile(descriptor);
  throw new Taken(path, stats.isFile() ? "it is not a lock" : "it is not a file");
}

/** Locks an open file; throws `Held` if another process has locked it. */
async function take(descriptor) {
  if (EXCLUSIVE !== undefined) return true;
  const child = spawn(await flockProgram(), ["-n", "-x", "3"], { stdio: ["ignore", "ignore", "ignore", descriptor], timeout: FLOCK_TIME_MAX_MS });
  const [status, signal] = await new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (...ended) => resolve(ended));
  });
  if (status === 0) return true;
  if (status === 1) throw new Held(await holder(descriptor));
  throw new Error(`flock failed (${signal ?? `status ${status}`})`);
}

/** The process ID in a lock's file. */
async function holder(descriptor) {
  const { bytesRead, buffer } = await calls.read(descriptor, Buffer.alloc(SIZE_MAX), 0, SIZE_MAX, 0);
  const text = buffer.toString("latin1", 0, bytesRead).trim();
  return /^\d+$/.test(text) ? Number(text) : undefined;
}

/** Writes our process ID. It is only for error messages, so failing is fine. */
async function sign(descriptor) {
  await calls.ftruncate(descriptor, 0).then(() => calls.write(descriptor, `${process.pid}\n`, 0)).catch(() => {});
}

async function isAt(descriptor, path) {
  try {
    const [open, named] = [await calls.fstat(descriptor, { bigint: true }), await calls.lstat(path, { bigint: true })];
    return process.platform === "win32" || (open.ino === named.ino && open.dev === named.dev);
  } catch {
    return false;
  }
}

let found;

/** The path of `flock`; undefined if there is none or we may not run it. */
function flockProgram() {
  found ??= find();
  return found;
}

async function find() {
  if (process.permission && !process.permission.has("child")) return undefined;
  for (const folder of ["/usr/bin", "/bin", ...(process.env.PATH ?? "").split(delimiter).filter((folder) => folder.startsWith("/"))]) {
    const program = join(folder, "flock");
    if (await access(program, constants.X_OK).then(() => true, () => false)) return program;
  }
  return undefined;
}

/** A stable hash for names that are too long. Colliding names would only exclude each other. */
function fnv1a(bytes) {
  return bytes.reduce((hash, byte) => BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x0000_0100_0000_01b3n), 0xcbf2_9ce4_8422_2325n);
}
