// Keeps a checkpoint in a file: readable JSON, in the same form as the program's.
//
// A save writes a new file beside the old one, syncs it, and renames it over the old one, so there is a complete state at
// every moment. A file that is not a valid state is refused on loading and never overwritten. Neither is a file that has
// changed since: two readers with one state would undo each other's progress.

import { randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { open, readlink, realpath, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

import { KinesisReaderError, messageOf } from "../errors.js";
import { printable } from "../printable.js";
import { LockHeldError, NotALockError, hiddenPath, lock } from "./lock.js";

const VERSION = 1;
const MEMBERS = ["version", "checkpoint", "output"];

/** A state takes a few hundred bytes per shard; a larger file is something else. */
const SIZE_MAX = 256 << 20;

/** The number of symbolic links to follow in one path. Linux has the same limit. */
const LINKS_MAX = 40;

const HINT_OWN_STATE = "give each reader its own state";
const HINT_PATH = "use the path of a file in an existing directory";
const HINT_PERMISSION = "make the file and its directory writable, or use another path";
const HINT_SPACE = "free some space and run again; it continues from the last checkpoint";

const HINTS = {
  EACCES: HINT_PERMISSION, EPERM: HINT_PERMISSION, EROFS: HINT_PERMISSION,
  ENOSPC: HINT_SPACE, EDQUOT: HINT_SPACE, EFBIG: HINT_SPACE,
  ENOTDIR: HINT_PATH, ELOOP: HINT_PATH,
};

// Windows lacks some of these.
const { O_RDONLY, O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW = 0, O_NONBLOCK = 0 } = constants;

/** Returns a state that is kept in this file. The file need not exist, but its directory must. */
export function fileState(path) {
  return new FileState(path instanceof URL ? fileURLToPath(path) : path);
}

class FileState {
  /** As the user wrote it. */
  #path;
  /** With symbolic links resolved, so that a link is not replaced by a file. */
  #file;
  /** What the file contained when it was last loaded or saved. */
  #text;
  #lock;

  constructor(path) {
    this.#path = path;
  }

  async lock() {
    this.#file ??= await this.#resolve();
    try {
      this.#lock ??= await lock(this.#file);
    } catch (thrown) {
      if (thrown instanceof NotALockError) {
        const path = printable(thrown.path);
        throw new KinesisReaderError("state", `cannot lock the state: ${path}: ${thrown.message}`, {
          hint: `remove ${path} if nothing needs it; it is not the lock of a running reader`,
        });
      }
      if (!(thrown instanceof LockHeldError)) throw this.#failed("cannot lock the state", thrown);
      const by = thrown.holder === undefined ? "another reader" : `process ${thrown.holder}`;
      throw this.#error(`state in use by ${by}`, `wait until it is done, or ${HINT_OWN_STATE}`);
    }
  }

  async unlock() {
    const held = this.#lock;
    this.#lock = undefined;
    await held?.release();
  }

  async load() {
    this.#file ??= await this.#resolve();
    this.#text = (await this.#read())?.text;
    return this.#text === undefined ? undefined : this.#parse(this.#text);
  }

  async save(checkpoint) {
    if (this.#file === undefined) await this.load();
    await this.#relock();
    const old = await this.#read();
    if (old?.text !== this.#text) {
      throw this.#error(old === undefined ? "state removed during the run" : "state changed by another reader", HINT_OWN_STATE);
    }
    const text = `{\n  "version": ${VERSION},\n  "checkpoint": ${checkpoint}\n}\n`;
    // With a real lock, one name is enough, and killed processes leave at most one such file.
    const next = hiddenPath(this.#file, this.#lock?.isReal ? "new" : `${randomBytes(8).toString("hex")}.new`);
    try {
      await replace(this.#file, next, text, old?.stats);
    } catch (cause) {
      throw this.#failed("cannot write the state", cause);
    }
    this.#text = text;
  }

  /** Takes the lock again if its file was removed. Fails if another reader took it meanwhile. */
  async #relock() {
    if (this.#lock === undefined || (await this.#lock.isHeld())) return;
    await this.unlock();
    await this.lock();
  }

  /** Returns the checkpoint in the text of a state. */
  #parse(text) {
    if (text === "") throw this.#damaged("empty");
    let document;
    try {
      document = JSON.parse(text);
    } catch (thrown) {
      throw this.#damaged(messageOf(thrown));
    }
    if (document === null || typeof document !== "object" || !("version" in document)) throw this.#damaged("no version");
    if (document.version !== VERSION) {
      throw this.#error("unknown state version", "upgrade kinesis-reader", printable(document.version));
    }
    if (document.output !== undefined) {
      throw this.#error("state belongs to an output file", HINT_OWN_STATE, printable(document.output?.path));
    }
    if (document.checkpoint === undefined) throw this.#damaged("no checkpoint");
    const other = Object.keys(document).find((member) => !MEMBERS.includes(member));
    if (other !== undefined) throw this.#damaged(`unknown member ${printable(other)}`);
    return JSON.stringify(document.checkpoint);
  }

  /** Returns the text of the file and its `Stats`, or undefined if there is none. */
  async #read() {
    let handle;
    try {
      // `O_NONBLOCK`: opening a pipe must not wait for a writer.
      handle = await open(this.#file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    } catch (cause) {
      if (cause.code === "ENOENT") return undefined;
      throw this.#failed("cannot read the state", cause);
    }
    try {
      const stats = await handle.stat();
      if (!stats.isFile()) throw this.#misplaced("not a regular file");
      if (stats.size > SIZE_MAX) throw this.#damaged("too large");
      const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(await handle.readFile());
      return { text, stats };
    } catch (cause) {
      if (cause instanceof KinesisReaderError) throw cause;
      throw cause.code === "ERR_ENCODING_INVALID_ENCODED_DATA" ? this.#damaged("not UTF-8") : this.#failed("cannot read the state", cause);
    } finally {
      await handle.close();
    }
  }

  /**
   * Returns the path with symbolic links resolved. The directory must exist; the file need not, even if a link leads to
   * it.
   */
  async #resolve() {
    if (this.#path === "") throw this.#misplaced("empty path");
    let path = resolve(this.#path);
    for (let links = 0; links < LINKS_MAX; links += 1) {
      const file = await this.#existing(path);
      if (file !== undefined) return file;
      try {
        path = join(await realpath(dirname(path)), basename(path));
      } catch (cause) {
        throw cause.code === "ENOENT" ? this.#misplaced("no such directory") : this.#failed("cannot read the state", cause);
      }
      // A link to a file that does not exist yet.
      const target = await readlink(path).catch(() => undefined);
      if (target === undefined) return path;
      path = resolve(dirname(path), target);
    }
    throw this.#misplaced("too many symbolic links");
  }

  /** Returns the path of an existing regular file with symbolic links resolved, or undefined if there is none. */
  async #existing(path) {
    try {
      const file = await realpath(path);
      const stats = await stat(file);
      if (stats.isDirectory()) throw this.#misplaced("a directory");
      if (!stats.isFile()) throw this.#misplaced("not a regular file");
      return file;
    } catch (cause) {
      if (cause.code === "ENOENT") return undefined;
      if (cause.code === "ELOOP") throw this.#misplaced("too many symbolic links");
      throw cause instanceof KinesisReaderError ? cause : this.#failed("cannot read the state", cause);
    }
  }

  #damaged(why) {
    const path = printable(this.#path);
    return this.#error("damaged state", `restore ${path} from a backup, or move it away to start over`, why);
  }

  #misplaced(why) {
    return this.#error("invalid path for a state", HINT_PATH, why);
  }

  #failed(what, cause) {
    return this.#error(what, HINTS[cause.code], messageOf(cause), cause);
  }

  #error(what, hint, why, cause) {
    const detail = why === undefined ? "" : `: ${why}`;
    return new KinesisReaderError("state", `${what}: ${printable(this.#path)}${detail}`, { hint, cause });
  }
}

/** Writes `next` and renames it over the file, whose `Stats` are `old`. */
async function replace(file, next, text, old) {
  // A killed process may have left it, and a link must not be written through.
  await rm(next, { force: true });
  const handle = await open(next, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
  try {
    try {
      await handle.writeFile(text);
      if (old !== undefined) await copyOwnership(handle, old);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(next, file);
  } catch (cause) {
    await rm(next, { force: true });
    throw cause;
  }
  await syncDirectory(dirname(file));
}

/** Gives a new file the mode and, if permitted, the owner of the one it replaces. */
async function copyOwnership(handle, old) {
  const { uid, gid, mode } = await handle.stat();
  const isSame = (uid === old.uid && gid === old.gid) || (await handle.chown(old.uid, old.gid).then(() => true, () => false));
  // The old permissions were for another group.
  const wanted = old.mode & (isSame ? 0o777 : 0o707);
  try {
    if (wanted !== (mode & 0o777)) await handle.chmod(wanted);
  } catch (cause) {
    // Node's permission model forbids changing modes. The file stays private.
    if (cause.code !== "ERR_ACCESS_DENIED") throw cause;
  }
}

/** Makes a rename survive a power failure. Windows cannot open directories and does not need this. */
async function syncDirectory(path) {
  if (process.platform === "win32") return;
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
