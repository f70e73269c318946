// A checkpoint in a file: JSON that people can read, of the same form as the program's, replaced whole.
//
// Each save writes a new file beside the old one, makes it durable, and renames it over the old one, so that there is a
// whole state at every moment. A file that does not parse is refused when it is loaded, and so is never overwritten; and
// so is one that somebody else has written since, for two readers of one state would undo each other's progress.

import { open, readFile, realpath, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

import { KinesisReaderError } from "../errors.js";

const VERSION = 1;

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

  constructor(path) {
    this.#path = path;
  }

  async load() {
    this.#file = await this.#resolve();
    this.#text = await this.#read();
    return this.#text === undefined ? undefined : this.#parse(this.#text);
  }

  async save(checkpoint) {
    if (this.#file === undefined) await this.load();
    if ((await this.#read()) !== this.#text) {
      throw new KinesisReaderError("state", `another reader has written the state: ${this.#path}`, {
        hint: "give each reader a state of its own",
      });
    }
    const text = `{\n  "version": ${VERSION},\n  "checkpoint": ${checkpoint}\n}\n`;
    try {
      await replace(this.#file, text);
    } catch (cause) {
      throw this.#failed("cannot write the state", cause);
    }
    this.#text = text;
  }

  #parse(text) {
    const damaged = (why) => new KinesisReaderError("state", `the state is damaged: ${this.#path}: ${why}`, {
      hint: `bring ${this.#path} back from a copy, or move it away to begin anew`,
    });
    if (text === "") throw damaged("it is empty");
    let document;
    try {
      document = JSON.parse(text);
    } catch (thrown) {
      throw damaged(thrown.message);
    }
    if (document === null || typeof document !== "object" || !("version" in document)) throw damaged("it has no version");
    if (document.version !== VERSION) {
      throw new KinesisReaderError("state", `the state is of an unknown version: ${this.#path}: ${document.version}`, {
        hint: "use a later version of kinesis-reader",
      });
    }
    if (document.output !== undefined) {
      throw new KinesisReaderError("state", `the state is that of an output: ${this.#path}: ${document.output.path}`, {
        hint: "give each reader a state of its own",
      });
    }
    if (document.checkpoint === undefined) throw damaged("it has no checkpoint");
    return JSON.stringify(document.checkpoint);
  }

  async #read() {
    try {
      return await readFile(this.#file, "utf8");
    } catch (cause) {
      if (cause.code === "ENOENT") return undefined;
      throw this.#failed("cannot read the state", cause);
    }
  }

  async #resolve() {
    if (this.#path === "") throw this.#misplaced("it has no name");
    try {
      const file = await realpath(this.#path);
      if ((await stat(file)).isDirectory()) throw this.#misplaced("it is a directory");
      return file;
    } catch (cause) {
      if (cause.code !== "ENOENT") throw cause.code ? this.#failed("cannot read the state", cause) : cause;
    }
    const given = resolve(this.#path);
    try {
      return join(await realpath(dirname(given)), basename(given));
    } catch (cause) {
      throw cause.code === "ENOENT" ? this.#misplaced("its directory does not exist") : this.#failed("cannot read the state", cause);
    }
  }

  #misplaced(why) {
    return new KinesisReaderError("state", `the state cannot be there: ${this.#path} (${why})`, {
      hint: "give the path of a file in a directory that exists",
    });
  }

  #failed(what, cause) {
    return new KinesisReaderError("state", `${what}: ${this.#path}: ${cause.message}`, { hint: HINTS[cause.code], cause });
  }
}

const HINTS = {
  EACCES: "make the file and its directory writable, or give another path",
  EPERM: "make the file and its directory writable, or give another path",
  EROFS: "make the file and its directory writable, or give another path",
  ENOSPC: "make room and read again: it goes on from the last checkpoint",
  EDQUOT: "make room and read again: it goes on from the last checkpoint",
  ENOTDIR: "give the path of a file in a directory that exists",
};

async function replace(file, text) {
  const next = join(dirname(file), `.${basename(file)}.${process.pid}.new`);
  try {
    await written(next, text);
    await rename(next, file);
  } catch (cause) {
    await rm(next, { force: true });
    throw cause;
  }
  // So that the renaming outlives a loss of power. Windows opens no directory, and needs it not.
  if (process.platform !== "win32") await synced(dirname(file), "r");
}

async function written(path, text) {
  const handle = await open(path, "w");
  try {
    await handle.writeFile(text);
    await handle.sync();
  } finally {
    await handle.close();
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
