// A checkpoint in a file: JSON that people can read, of the same form as the program's, replaced whole.
//
// Each save writes a new file beside the old one, makes it durable, and renames it over the old one, so that there is a
// whole state at every moment. A file that does not parse is refused when it is loaded, and so is never overwritten; and
// so is one that somebody else has written since, for two readers of one state would undo each other's progress.

import { randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { open, realpath, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

import { KinesisReaderError, shown, words } from "../errors.js";
import { Held, Taken, beside, lock } from "./lock.js";

const VERSION = 1;

/** The members of a state's file. */
const MEMBERS = ["version", "checkpoint", "output"];

/** A state is a few hundred bytes a shard; a file larger than this is something else. */
const SIZE_MAX = 256 << 20;

// Windows does not have all of these.
const { O_RDONLY, O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW = 0, O_NONBLOCK = 0 } = constants;

/** A state in this file. The file need not be there, its directory must. */
export function fileState(path) {
  return new FileState(path instanceof URL ? fileURLToPath(path) : path);
}

class FileState {
  /** As it was given, for people. */
  #path;
  /** Through symbolic links, so that a link is not replaced by a file. */
  #file;
  /** What the file held when it was loaded or saved last. */
  #text;
  #lock;

  constructor(path) {
    this.#path = path;
  }

  /** Locks the state until `unlock`. */
  async lock() {
    this.#file ??= await this.#resolve();
    try {
      this.#lock ??= await lock(this.#file);
    } catch (thrown) {
      if (thrown instanceof Taken) {
        throw new KinesisReaderError("state", `the lock cannot be taken: ${shown(thrown.path)}: ${thrown.why}`, {
          hint: `remove ${shown(thrown.path)} if nothing needs it: it is not a lock of a reader that runs`,
        });
      }
      if (!(thrown instanceof Held)) throw this.#failed("cannot lock the state", thrown);
      const who = thrown.process === undefined ? "another reader" : `another reader, process ${thrown.process},`;
      throw new KinesisReaderError("state", `${who} holds the state: ${this.#shown}`, {
        hint: "wait until it is done, or give each reader a state of its own",
      });
    }
  }

  /** Releases the lock. */
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
      const what = old === undefined ? "the state was removed while it was in use" : "another reader has written the state";
      throw new KinesisReaderError("state", `${what}: ${this.#shown}`, { hint: "give each reader a state of its own" });
    }
    const text = `{\n  "version": ${VERSION},\n  "checkpoint": ${checkpoint}\n}\n`;
    // Under the lock one name is enough, and processes that are killed leave at most one such file.
    const next = beside(this.#file, this.#lock?.isReal ? "new" : `${randomBytes(8).toString("hex")}.new`);
    try {
      await replace(this.#file, next, text, old?.stats);
    } catch (cause) {
      throw this.#failed("cannot write the state", cause);
    }
    this.#text = text;
  }

  /** Takes the lock again if its file was removed. Fails if another reader got in meanwhile. */
  async #relock() {
    if (this.#lock === undefined || (await this.#lock.isHeld())) return;
    await this.unlock();
    await this.lock();
  }

  #parse(text) {
    if (text === "") throw this.#damaged("it is empty");
    let document;
    try {
      document = JSON.parse(text);
    } catch (thrown) {
      throw this.#damaged(words(thrown));
    }
    if (document === null || typeof document !== "object" || !("version" in document)) throw this.#damaged("it has no version");
    if (document.version !== VERSION) {
      throw new KinesisReaderError("state", `the state is of an unknown version: ${this.#shown}: ${shown(document.version)}`, {
        hint: "use a later version of kinesis-reader",
      });
    }
    if (document.output !== undefined) {
      throw new KinesisReaderError("state", `the state is that of an output: ${this.#shown}: ${shown(document.output?.path)}`, {
        hint: "give each reader a state of its own",
      });
    }
    if (document.checkpoint === undefined) throw this.#damaged("it has no checkpoint");
    const other = Object.keys(document).find((member) => !MEMBERS.includes(member));
    if (other !== undefined) throw this.#damaged(`it has a member that is not known: ${shown(other)}`);
    return JSON.stringify(document.checkpoint);
  }

  /** The text of the file and its `Stats`; undefined if there is none. */
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
      if (!stats.isFile()) throw this.#misplaced("it is not a file");
      if (stats.size > SIZE_MAX) throw this.#damaged("it is too large to be a state");
      const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(await handle.readFile());
      return { text, stats };
    } catch (cause) {
      if (cause instanceof KinesisReaderError) throw cause;
      throw cause.code === "ERR_ENCODING_INVALID_ENCODED_DATA" ? this.#damaged("it is not UTF-8") : this.#failed("cannot read the state", cause);
    } finally {
      await handle.close();
    }
  }

  async #resolve() {
    if (this.#path === "") throw this.#misplaced("it has no name");
    try {
      const file = await realpath(this.#path);
      const stats = await stat(file);
      if (stats.isDirectory()) throw this.#misplaced("it is a directory");
      if (!stats.isFile()) throw this.#misplaced("it is not a file");
      return file;
    } catch (cause) {
      if (cause.code !== "ENOENT") throw cause instanceof KinesisReaderError ? cause : this.#failed("cannot read the state", cause);
    }
    const given = resolve(this.#path);
    try {
      return join(await realpath(dirname(given)), basename(given));
    } catch (cause) {
      throw cause.code === "ENOENT" ? this.#misplaced("its directory does not exist") : this.#failed("cannot read the state", cause);
    }
  }

  get #shown() {
    return shown(this.#path);
  }

  #damaged(why) {
    return new KinesisReaderError("state", `the state is damaged: ${this.#shown}: ${why}`, {
      hint: `bring ${this.#shown} back from a copy, or move it away to begin anew`,
    });
  }

  #misplaced(why) {
    return new KinesisReaderError("state", `the state cannot be there: ${this.#shown} (${why})`, {
      hint: "give the path of a file in a directory that exists",
    });
  }

  #failed(what, cause) {
    return new KinesisReaderError("state", `${what}: ${this.#shown}: ${words(cause)}`, { hint: HINTS[cause.code], cause });
  }
}

const HINTS = {
  EACCES: "make the file and its directory writable, or give another path",
  EPERM: "make the file and its directory writable, or give another path",
  EROFS: "make the file and its directory writable, or give another path",
  ENOSPC: "make room and read again: it goes on from the last checkpoint",
  EDQUOT: "make room and read again: it goes on from the last checkpoint",
  EFBIG: "make room and read again: it goes on from the last checkpoint",
  ENOTDIR: "give the path of a file in a directory that exists",
};

/** Writes `next` and renames it over the file, whose `Stats` are `old`. */
async function replace(file, next, text, old) {
  // A killed process may have left one, and a link must not be written through.
  await rm(next, { force: true });
  const handle = await open(next, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
  try {
    try {
      await handle.writeFile(text);
      if (old !== undefined) await likeOld(handle, old);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(next, file);
  } catch (cause) {
    await rm(next, { force: true });
    throw cause;
  }
  // So that the renaming outlives a loss of power. Windows opens no directory, and needs it not.
  if (process.platform !== "win32") await synced(dirname(file), "r");
}

/** Gives a new file the mode and, if permitted, the owner of the one it replaces. */
async function likeOld(handle, old) {
  const { uid, gid, mode } = await handle.stat();
  // With another group, the permissions of the group are dropped.
  const isTheirs = (uid === old.uid && gid === old.gid) || (await handle.chown(old.uid, old.gid).then(() => true, () => false));
  const wanted = old.mode & (isTheirs ? 0o777 : 0o707);
  try {
    if (wanted !== (mode & 0o777)) await handle.chmod(wanted);
  } catch (cause) {
    // Node's permission model forbids to change modes. The file then stays private.
    if (cause.code !== "ERR_ACCESS_DENIED") throw cause;
  }
}

async function synced(path, flags) {
  const handle = await open(path, flags);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
