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
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from ._errors import StateError

VERSION = 1


@runtime_checkable
class State(Protocol):
    """A place for a checkpoint, which is JSON text."""

    def load(self) -> str | None:
        """What was saved last; `None` if nothing was."""

    def save(self, checkpoint: str, /) -> Any:
        """Replaces what was saved. Once this returns, the checkpoint is safe."""


class FileState:
    """A state in a file, replaced whole at each save, and kept from other readers until it is closed."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        resolved = self.path.resolve()
        if not resolved.parent.is_dir():
            raise StateError(f"the state cannot be there: {path} (its directory does not exist)", _PLACE)
        if resolved.exists() and not resolved.is_file():
            raise StateError(f"the state cannot be there: {path} (it is not a file)", _PLACE)
        self._file = resolved
        self._lock = _Lock(resolved.with_name(f".{resolved.name}.lock"), path)

    def load(self) -> str | None:
        """The checkpoint, or `None` if there is no file yet. A file that is something else is refused."""
        try:
            text = self._file.read_text("utf-8")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeError) as error:
            raise StateError(f"cannot read the state: {self.path}: {error}") from error
        try:
            document = json.loads(text)
            version = document["version"]
            if version != VERSION:
                raise StateError(
                    f"the state is of an unknown version: {self.path}: {version}",
                    "use a later version of this package",
                )
            if "output" in document:
                raise StateError(
                    f"the state is kept in step with a file: {self.path}",
                    "it is the program's, with --to ndjson: give this reader a state of its own",
                )
            checkpoint = document["checkpoint"]
        except (ValueError, TypeError, KeyError) as error:
            hint = f"bring {self.path} back from a copy, or move it away to begin anew"
            raise StateError(f"the state is damaged: {self.path}: {error}", hint) from error
        return json.dumps(checkpoint, separators=(",", ":"), ensure_ascii=False)

    def save(self, checkpoint: str, /) -> None:
        """Writes a new file beside the old one, makes it durable, and renames it over the old one."""
        text = f'{{\n  "version": {VERSION},\n  "checkpoint": {checkpoint}\n}}\n'
        new = self._file.with_name(f".{self._file.name}.new")
        try:
            with open(new, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(new, self._file)
            _sync_directory(self._file.parent)
        except OSError as error:
            with contextlib.suppress(OSError):
                new.unlink()
            hint = "make room, or make the directory writable, and run again: it goes on from the last checkpoint"
            raise StateError(f"cannot write the state: {self.path}: {error.strerror}", hint) from error

    def close(self) -> None:
        """Lets others have the state."""
        self._lock.release()


_PLACE = "give the path of a file in a directory that exists"


class _Lock:
    """The operating system's lock on a small file, which ends with the process that holds it.

    Its file is removed on release, and holds the holder's process for the words of the one who is refused. It is the
    lock that the program takes.
    """

    def __init__(self, path: Path, of: str | os.PathLike[str]) -> None:
        self._path = path
        while True:
            try:
                descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o666)
            except OSError as error:
                raise StateError(f"the state cannot be there: {of} ({error.strerror})", _PLACE) from error
            if not _try_lock(descriptor):
                holder = ""
                with contextlib.suppress(OSError):
                    holder = os.read(descriptor, 32).decode("ascii", "replace").strip()
                os.close(descriptor)
                who = f"another reader, process {holder}," if holder.isdigit() else "another reader"
                hint = "wait until it is done, or give each reader a state of its own"
                raise StateError(f"{who} holds the state: {of}", hint)
            # The last holder may have removed the file between our opening and locking it: such a lock would keep
            # nobody out.
            if _is_at(descriptor, path):
                break
            os.close(descriptor)
        os.truncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        self._descriptor: int | None = descriptor

    def release(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        if sys.platform != "win32" and _is_at(descriptor, self._path):
            # Removed while it is still held, so that the next one can tell.
            with contextlib.suppress(OSError):
                self._path.unlink()
        os.close(descriptor)

    def __del__(self) -> None:
        if getattr(self, "_descriptor", None) is not None:
            self.release()


def _try_lock(descriptor: int) -> bool:
    try:
        if sys.platform != "win32":
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    except OSError:
        return False
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    if sys.platform == "win32":
        return True
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except OSError:
        return False


def _sync_directory(path: Path) -> None:
    """Makes the entry of a renamed file outlive a loss of power; elsewhere renaming is durable by itself."""
    if sys.platform != "win32":
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
