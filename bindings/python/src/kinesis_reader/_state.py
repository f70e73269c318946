"""Where a checkpoint is kept between runs.

A state is anything with `load` and `save`. `FileState` keeps it in a file, in the form of the program `kinesis-reader`,
so that one may go on where the other stopped:

    {
      "version": 1,
      "checkpoint": { … as the reader made it … }
    }
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from . import _files
from ._errors import StateError
from ._lock import Held, Lock, Taken, name_of_lock
from ._printable import printable

VERSION = 1

SIZE_MAX = 256 << 20
"""Bytes. A state has a few hundred of them for a shard; a file larger than this is something else."""


@runtime_checkable
class State(Protocol):
    """A place for a checkpoint, which is JSON text."""

    def load(self) -> str | None:
        """What was saved last; `None` if nothing was."""

    def save(self, checkpoint: str, /) -> Any:
        """Replaces what was saved. Once this returns, the checkpoint is safe."""


class FileState:
    """A state in a file, replaced whole at each save, and locked against other readers until it is closed.

    A new file is readable by its owner only, and an existing one keeps its mode. A file that was removed or replaced by
    someone else since it was loaded is not overwritten.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        try:
            self._file = _files.resolve(self.path)
            # Not opened: that would wait for a pipe's other end.
            _files.look(self._file)
        except OSError as error:
            raise StateError(f"the state cannot be there: {self._shown} ({_files.why(error)})", _PLACE) from error
        self._mutex = threading.Lock()
        self._process = os.getpid()
        self._closed = False
        self._ours: _files.Identity | None = None
        # That file, held open so that its inode is not reused.
        self._pin: int | None = None
        self._lock = self._locked()
        self._look()

    def load(self) -> str | None:
        """The checkpoint, or `None` if there is no file yet. A file that is something else is refused."""
        self._check_process()
        with self._mutex:
            self._hold()
            self._closed = False
            data = self._look()
        return None if data is None else _checkpoint(data, self._shown)

    def save(self, checkpoint: str, /) -> None:
        """Writes a new file beside the old one, makes it durable, and renames it over the old one."""
        text = f'{{\n  "version": {VERSION},\n  "checkpoint": {checkpoint}\n}}\n'
        self._check_process()
        with self._mutex:
            if self._closed:
                raise StateError(f"the state is closed: {self._shown}")
            self._hold()
            try:
                self._replace(text.encode())
            except OSError as error:
                hint = "make room, or make the directory writable, and run again: it goes on from the last checkpoint"
                raise StateError(f"cannot write the state: {self._shown}: {_files.why(error)}", hint) from error

    def close(self) -> None:
        """Lets others have the state."""
        with self._mutex:
            self._closed = True
            self._own(None, None)
            self._lock.release()

    @property
    def _shown(self) -> str:
        return printable(self.path)

    def _locked(self) -> Lock:
        try:
            return Lock(self._file)
        except Held as held:
            who = "another reader" if held.by is None else f"another reader, process {held.by},"
            hint = "wait until it is done, or give each reader a state of its own"
            raise StateError(f"{who} holds the state: {self._shown}", hint) from None
        except Taken as taken:
            hint = f"remove {taken.path} if nothing needs it: it is not a lock of a reader that runs"
            raise StateError(f"the lock cannot be taken: {printable(taken.path)}: {taken.why}", hint) from None
        except OSError as error:
            raise StateError(f"the state cannot be there: {self._shown} ({_files.why(error)})", _PLACE) from error

    def _hold(self) -> None:
        """Takes the lock again if it was released or its file removed. `_replace` tells if someone had it meanwhile."""
        if not self._lock.is_held():
            self._lock = self._locked()

    def _look(self) -> bytes | None:
        """Reads the file, which counts as ours from now on."""
        try:
            descriptor = _files.open_regular(self._file, os.O_RDONLY)
        except FileNotFoundError:
            self._own(None, None)
            return None
        except OSError as error:
            raise StateError(f"cannot read the state: {self._shown}: {_files.why(error)}") from error
        self._own(_files.identity(os.fstat(descriptor)), descriptor)
        try:
            data = _files.read(descriptor, SIZE_MAX + 1)
        except OSError as error:
            raise StateError(f"cannot read the state: {self._shown}: {_files.why(error)}") from error
        finally:
            if sys.platform == "win32":
                # Windows does not replace open files.
                self._own(self._ours, None)
        if len(data) > SIZE_MAX:
            raise _damaged(self._shown, "it is too large to be a state")
        return data

    def _replace(self, data: bytes) -> None:
        old = _files.look(self._file)
        if self._ours != (None if old is None else _files.identity(old)):
            raise StateError(f"the state was removed or replaced during the run: {self._shown}", _REPLACED)
        new = _files.beside(self._file, "new")
        made = None
        descriptor = _files.create(new)
        pin: int | None = descriptor
        try:
            _files.write(descriptor, data)
            if old is not None:
                _files.keep_mode(descriptor, old)
            os.fsync(descriptor)
            made = _files.identity(os.fstat(descriptor))
            if sys.platform == "win32":
                os.close(descriptor)
                pin = None
            os.replace(new, self._file)
            self._own(made, pin)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(new)
            if made is not None and made == _files.identity_at(self._file):
                # Interrupted after the rename.
                self._own(made, pin)
            elif pin is not None:
                os.close(pin)
            raise
        _files.sync_directory(self._file.parent)

    def _own(self, file: _files.Identity | None, pin: int | None) -> None:
        """Takes note of the file that is ours."""
        before, self._ours, self._pin = self._pin, file, pin
        if before is not None and before != pin:
            os.close(before)

    def _check_process(self) -> None:
        if self._process != os.getpid():
            raise StateError(
                f"the state is of another process: {self._shown}",
                "open the state in the process that uses it, after the fork",
            )

    def __del__(self) -> None:
        if getattr(self, "_pin", None) is not None:
            self._own(None, None)


def names(path: Path) -> list[Path]:
    """The files of a state: the file itself, its next version and its lock."""
    resolved = _files.resolve(path)
    return [resolved, _files.beside(resolved, "new"), name_of_lock(resolved)]


_PLACE = "give the path of a file in a directory that exists"
_REPLACED = "put it back and run again: it goes on from the last checkpoint; without it a run begins anew"


def _checkpoint(data: bytes, path: str) -> str:
    """The checkpoint in a state's file."""
    try:
        document = json.loads(data.decode())
        version = document["version"]
        if version != VERSION:
            raise StateError(
                f"the state is of an unknown version: {path}: {printable(version)}",
                "use a later version of this package",
            )
        if "output" in document:
            raise StateError(
                f"the state is kept in step with a file: {path}",
                "it is the program's, with --to ndjson: give this reader a state of its own",
            )
        if unknown := set(document) - {"version", "checkpoint"}:
            raise ValueError(f"unknown field: {min(unknown)}")
        checkpoint = json.dumps(document["checkpoint"], separators=(",", ":"), ensure_ascii=False)
        checkpoint.encode()
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise _damaged(path, error) from error
    return checkpoint


def _damaged(path: str, why: object) -> StateError:
    hint = f"bring {path} back from a copy, or move it away to begin anew"
    return StateError(f"the state is damaged: {path}: {printable(why)}", hint)
