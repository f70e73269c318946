// Locks a file for one process, using the operating system's lock on a small hidden file beside it. The lock ends with the
// process. The hidden file holds the process ID, for error messages. The program `kinesis-reader` and the Python package
// take the same lock.
//
// Node has no call for such locks. On macOS and the BSDs, `open` can lock the file; on Windows, it can open the file
// exclusively. On Linux, we run the program `flock` of util-linux or BusyBox on our open descriptor: the lock belongs to the
// open file, so we keep it when `flock` exits. Without `flock` there is no lock.

import { spawn } from "node:child_process";
import { close as closeFile, constants, fstat, ftruncate, lstat, open, read, write } from "node:fs";
import { access, rm } from "node:fs/promises";
import { basename, delimiter, dirname, join } from "node:path";
import { promisify } from "node:util";

// `FileHandle`s would be closed when they are collected, so we use plain descriptors.
const fs = Object.fromEntries(Object.entries({ closeFile, fstat, ftruncate, lstat, open, read, write }).map(([name, call]) => [name, promisify(call)]));

/** The longest file name that common file systems accept, in bytes. */
const NAME_MAX = 255;

/** Enough for a process ID; a larger file is not a lock. */
const SIZE_MAX = 32;

/** Attempts, because the last holder may remove the file just as we open it. */
const ATTEMPTS_MAX = 100;

/** `flock -n` returns at once, unless the machine is busy. */
const FLOCK_TIME_MAX_MS = 10_000;

/** `O_EXLOCK`, or `UV_FS_O_EXLOCK` on Windows, which `fs.constants` lacks. */
const EXCLUSIVE = { darwin: 0x20, freebsd: 0x20, openbsd: 0x20, netbsd: 0x20, win32: 0x1000_0000 }[process.platform];

/** Errors of `open` that mean that the lock is held. */
const HELD = ["EAGAIN", "EWOULDBLOCK", "EBUSY"];

/** The paths of the locks that this process holds. */
const heldHere = new Set();

/** Another reader holds the lock. */
export class LockHeldError extends Error {
  /** @param {number | undefined} holder  its process ID, if known */
  constructor(holder) {
    super("the lock is held");
    this.holder = holder;
  }
}

/** Something that is not a lock has the lock's name. */
export class NotALockError extends Error {
  constructor(path, why) {
    super(why);
    this.path = path;
  }
}

/** Returns the path of the hidden file `.NAME.SUFFIX` beside a file. */
export function hiddenPath(file, suffix) {
  let name = `.${basename(file)}`;
  if (Buffer.byteLength(name) + 1 + suffix.length > NAME_MAX) name = `.${fnv1a(Buffer.from(name)).toString(16).padStart(16, "0")}`;
  return join(dirname(file), `${name}.${suffix}`);
}

/**
 * Locks a file. Throws `LockHeldError`, `NotALockError` or an error of the file system. The lock `isReal` if the operating
 * system enforces it, rather than only this process, and `isHeld` until its file is removed.
 */
export async function lock(file) {
  const path = hiddenPath(file, "lock");
  if (heldHere.has(path)) throw new LockHeldError(process.pid);
  heldHere.add(path);
  try {
    const descriptor = (await canLock()) ? await openLocked(path) : undefined;
    return {
      isReal: descriptor !== undefined,
      isHeld: async () => descriptor === undefined || (await isAt(descriptor, path)),
      release: () => release(path, descriptor),
    };
  } catch (thrown) {
    heldHere.delete(path);
    throw thrown;
  }
}

async function release(path, descriptor) {
  try {
    if (descriptor === undefined) return;
    // Removed while still locked, so that the next holder notices.
    if (process.platform !== "win32" && (await isAt(descriptor, path))) await rm(path, { force: true });
    await fs.closeFile(descriptor);
  } finally {
    heldHere.delete(path);
  }
}

async function canLock() {
  return EXCLUSIVE !== undefined || (await flockProgram()) !== undefined;
}

/** Opens the lock's file and locks it. */
async function openLocked(path) {
  for (let attempts = 0; attempts < ATTEMPTS_MAX; attempts += 1) {
    const descriptor = await openFile(path);
    try {
      // If the last holder removed the file after we opened it, a lock on it would be useless.
      if ((await lockDescriptor(descriptor)) && (await isAt(descriptor, path))) {
        // The file is empty if the last holder died before it wrote its ID.
        if ((await fs.fstat(descriptor)).size > 0 && (await readProcessId(descriptor)) === undefined) throw new NotALockError(path, "not a lock file");
        await writeProcessId(descriptor);
        return descriptor;
      }
    } catch (thrown) {
      await fs.closeFile(descriptor);
      throw thrown;
    }
    await fs.closeFile(descriptor);
  }
  throw new NotALockError(path, "replaced again and again");
}

/** Opens or creates the lock's file. Refuses links, including hard links, and anything but regular files. */
async function openFile(path) {
  const { O_RDWR, O_CREAT, O_NOFOLLOW = 0, O_NONBLOCK = 0 } = constants;
  let descriptor;
  try {
    descriptor = await fs.open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | (EXCLUSIVE ?? 0), 0o600);
  } catch (thrown) {
    if (EXCLUSIVE !== undefined && HELD.includes(thrown.code)) throw new LockHeldError(undefined);
    if (thrown.code === "ELOOP") throw new NotALockError(path, "a symbolic link");
    if (thrown.code === "EISDIR") throw new NotALockError(path, "a directory");
    throw thrown;
  }
  const stats = await fs.fstat(descriptor);
  if (stats.isFile() && stats.nlink <= 1 && stats.size <= SIZE_MAX) return descriptor;
  await fs.closeFile(descriptor);
  throw new NotALockError(path, stats.isFile() ? "not a lock file" : "not a regular file");
}

/** Locks an open file. Throws `LockHeldError` if another process has locked it. */
async function lockDescriptor(descriptor) {
  if (EXCLUSIVE !== undefined) return true;
  const child = spawn(await flockProgram(), ["-n", "-x", "3"], { stdio: ["ignore", "ignore", "ignore", descriptor], timeout: FLOCK_TIME_MAX_MS });
  const [status, signal] = await new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (...result) => resolve(result));
  });
  if (status === 0) return true;
  if (status === 1) throw new LockHeldError(await readProcessId(descriptor));
  throw new Error(`flock failed: ${signal ?? `status ${status}`}`);
}

async function readProcessId(descriptor) {
  const { bytesRead, buffer } = await fs.read(descriptor, Buffer.alloc(SIZE_MAX), 0, SIZE_MAX, 0);
  const text = buffer.toString("latin1", 0, bytesRead).trim();
  return /^\d+$/.test(text) ? Number(text) : undefined;
}

/** The ID only serves error messages, so failing to write it does no harm. */
async function writeProcessId(descriptor) {
  await fs.ftruncate(descriptor, 0).then(() => fs.write(descriptor, `${process.pid}\n`, 0)).catch(() => {});
}

/** Returns whether the open file is the one with this path. */
async function isAt(descriptor, path) {
  try {
    const [open, named] = [await fs.fstat(descriptor, { bigint: true }), await fs.lstat(path, { bigint: true })];
    return process.platform === "win32" || (open.ino === named.ino && open.dev === named.dev);
  } catch {
    return false;
  }
}

let program;

/** Returns the path of `flock`, or undefined if it is missing or we may not run it. */
function flockProgram() {
  program ??= findFlock();
  return program;
}

async function findFlock() {
  if (process.permission && !process.permission.has("child")) return undefined;
  for (const folder of ["/usr/bin", "/bin", ...(process.env.PATH ?? "").split(delimiter).filter((folder) => folder.startsWith("/"))]) {
    const path = join(folder, "flock");
    if (await access(path, constants.X_OK).then(() => true, () => false)) return path;
  }
  return undefined;
}

/** A stable hash for names that are too long. If two names collided, their states would exclude each other. */
function fnv1a(bytes) {
  return bytes.reduce((hash, byte) => BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x0000_0100_0000_01b3n), 0xcbf2_9ce4_8422_2325n);
}
