"""Keeps a checkpoint between runs.

A state is any object with `load` and `save`. `FileState` keeps the checkpoint in a file, in the same form as the
program `kinesis-reader`, so that one can continue where the other stopped:

    {
      "version": 1,
      "checkpoint": { … as the reader returned it … }
    }
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from . import _files
from ._errors import StateError
from ._lock import Lock, LockHeldError, NotALockError, lock_path
from ._printable import printable

VERSION = 1

SIZE_MAX = 256 << 20
"""Bytes. A state takes a few hundred per shard; a larger file is something else."""

_HINT_OWN_STATE = "give each reader its own state"
_HINT_PATH = "use the path of a file in an existing directory"
_HINT_REPLACED = "restore it and run again to continue from the last checkpoint; without it, the next run starts over"
_HINT_WRITE = "free some space, or make the directory writable, and run again; it continues from the last checkpoint"


@runtime_checkable
class State(Protocol):
    """Keeps a checkpoint, which is JSON text."""

    def load(self) -> str | None:
        """Returns what was last saved, or `None` if nothing was."""

    def save(self, checkpoint: str, /) -> Any:
        """Replaces what was saved. When this returns, the checkpoint is durable."""


class AsyncState(Protocol):
    """A `State` whose `load` and `save` are coroutine functions."""

    def load(self) -> Awaitable[str | None]: ...

    def save(self, checkpoint: str, /) -> Awaitable[Any]: ...


class FileState:
    """Keeps a checkpoint in a file, which is locked against other readers until `close`.

    Each save replaces the file as a whole. A new file is readable only by its owner, and an existing one keeps its
    mode. A file that another program removed or replaced since it was loaded is not overwritten.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        try:
            self._file = _files.locate(self.path)
        except OSError as error:
            raise self._invalid_path(error) from error
        self._mutex = threading.Lock()
        self._process = os.getpid()
        self._closed = False
        self._own_file: _files.Identity | None = None
        # That file, held open so that its inode is not reused.
        self._pin: int | None = None
        self._lock = self._acquire()
        self._read()

    def load(self) -> str | None:
        """Returns the checkpoint, or `None` if there is no file yet. A file that is not a state is refused."""
        self._check_process()
        with self._mutex:
            self._reacquire()
            self._closed = False
            data = self._read()
        return None if data is None else _parse(data, self._shown)

    def save(self, checkpoint: str, /) -> None:
        """Writes a new file beside the old one, syncs it, and renames it over the old one."""
        text = f'{{\n  "version": {VERSION},\n  "checkpoint": {checkpoint}\n}}\n'
        self._check_process()
        with self._mutex:
            if self._closed:
                raise StateError(f"the state is closed: {self._shown}")
            self._reacquire()
            try:
                self._replace(text.encode())
            except OSError as error:
                message = f"cannot write the state: {self._shown}: {_files.why(error)}"
                raise StateError(message, _HINT_WRITE) from error

    def close(self) -> None:
        """Releases the state to other readers."""
        with self._mutex:
            self._closed = True
            self._adopt(None, None)
            self._lock.release()

    @property
    def _shown(self) -> str:
        return printable(self.path)

    def _acquire(self) -> Lock:
        try:
            return Lock(self._file)
        except LockHeldError as error:
            by = "another reader" if error.holder is None else f"process {error.holder}"
            hint = f"wait until it is done, or {_HINT_OWN_STATE}"
            raise StateError(f"state in use by {by}: {self._shown}", hint) from None
        except NotALockError as error:
            path = printable(error.path)
            hint = f"remove {path} if nothing needs it; it is not the lock of a running reader"
            raise StateError(f"cannot lock the state: {path}: {error.why}", hint) from None
        except OSError as error:
            raise self._invalid_path(error) from error

    def _reacquire(self) -> None:
        """Takes the lock again if it was released or its file removed. If another reader saved meanwhile, `_replace`
        fails."""
        if not self._lock.is_held():
            self._lock = self._acquire()

    def _read(self) -> bytes | None:
        """Reads the file and adopts it as ours."""
        try:
            descriptor = _files.open_regular(self._file, os.O_RDONLY)
        except FileNotFoundError:
            self._adopt(None, None)
            return None
        except OSError as error:
            raise self._unreadable(error) from error
        self._adopt(_files.identity(os.fstat(descriptor)), descriptor)
        try:
            data = _files.read(descriptor, SIZE_MAX + 1)
        except OSError as error:
            raise self._unreadable(error) from error
        finally:
            if sys.platform == "win32":
                # Windows does not replace open files.
                self._adopt(self._own_file, None)
        if len(data) > SIZE_MAX:
            raise _damaged(self._shown, "too large")
        return data

    def _replace(self, data: bytes) -> None:
        old = _files.look(self._file)
        if self._own_file != (None if old is None else _files.identity(old)):
            raise StateError(f"state removed or replaced during the run: {self._shown}", _HINT_REPLACED)
        new = _files.beside(self._file, "new")
        created = None
        descriptor = _files.create(new)
        pin: int | None = descriptor
        try:
            _files.write(descriptor, data)
            if old is not None:
                _files.keep_mode(descriptor, old)
            os.fsync(descriptor)
            created = _files.identity(os.fstat(descriptor))
            if sys.platform == "win32":
                os.close(descriptor)
                pin = None
            os.replace(new, self._file)
            self._adopt(created, pin)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(new)
            if created is not None and created == _files.identity_at(self._file):
                # Interrupted after the rename.
                self._adopt(created, pin)
            elif pin is not None:
                os.close(pin)
            raise
        _files.sync_directory(self._file.parent)

    def _adopt(self, file: _files.Identity | None, pin: int | None) -> None:
        """Remembers which file is ours."""
        before, self._own_file, self._pin = self._pin, file, pin
        if before is not None and before != pin:
            os.close(before)

    def _check_process(self) -> None:
        if self._process != os.getpid():
            raise StateError(
                f"the state was opened by another process: {self._shown}",
                "open the state in the process that uses it, after forking",
            )

    def _invalid_path(self, error: OSError) -> StateError:
        return StateError(f"invalid path for a state: {self._shown}: {_files.why(error)}", _HINT_PATH)

    def _unreadable(self, error: OSError) -> StateError:
        return StateError(f"cannot read the state: {self._shown}: {_files.why(error)}")

    def __del__(self) -> None:
        if getattr(self, "_pin", None) is not None:
            self._adopt(None, None)


def paths(path: Path) -> list[Path]:
    """Returns the paths of all files of a state: the file itself, its temporary file and its lock."""
    resolved = _files.resolve(path)
    return [resolved, _files.beside(resolved, "new"), lock_path(resolved)]


def _parse(data: bytes, path: str) -> str:
    """Returns the checkpoint in the text of a state."""
    try:
        document = json.loads(data.decode())
        version = document["version"]
        if version != VERSION:
            raise StateError(f"unknown state version: {path}: {printable(version)}", "upgrade kinesis-reader")
        if "output" in document:
            # The program saves the state together with an output file (`--to ndjson:…`).
            raise StateError(f"state belongs to an output file: {path}", _HINT_OWN_STATE)
        if unknown := set(document) - {"version", "checkpoint"}:
            raise ValueError(f"unknown member {min(unknown)}")
        checkpoint = json.dumps(document["checkpoint"], separators=(",", ":"), ensure_ascii=False)
        checkpoint.encode()
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise _damaged(path, error) from error
    return checkpoint


def _damaged(path: str, why: object) -> StateError:
    return StateError(
        f"damaged state: {path}: {printable(why)}", f"restore {path} from a backup, or move it away to start over"
    )
