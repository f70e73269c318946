"""A lock that dies with the process that holds it, for a file that several readers may want.

It is the operating system's lock on a small file, which holds the holder's process for the words of the one who is
refused, and is removed on release. The program `kinesis-reader` takes the same one.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

from . import _files

TRIES_MAX = 100
"""How often a lock is tried again that its last holder removed in the same moment."""

LENGTH_MAX = 32
"""More than the number of a process and the end of its line."""


class Held(Exception):
    """Another one holds it: the process `by`, if it said so."""

    def __init__(self, by: int | None) -> None:
        super().__init__(by)
        self.by = by


class Taken(Exception):
    """Something else has the name of the lock."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(path, why)
        self.path = path
        self.why = why


class Lock:
    """A lock held, until it is released. Raises `Held`, `Taken`, or `OSError` where the file system has no locks."""

    def __init__(self, of: Path) -> None:
        self.path = name_of_lock(of)
        self._descriptor: int | None = None
        for _ in range(TRIES_MAX):
            if self._take():
                return
        raise Taken(self.path, "other programs keep making and removing it")

    def _take(self) -> bool:
        try:
            descriptor = _files.open_regular(self.path, os.O_CREAT | os.O_RDWR)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise Taken(self.path, _files.why(error)) from None
        try:
            if not _files.lock(descriptor):
                raise Held(_holder(descriptor))
            # The last holder may have removed the file between our opening and locking it: such a lock would keep
            # nobody out.
            if sys.platform != "win32" and not self._is_at(descriptor):
                os.close(descriptor)
                return False
            if not _is_lock(descriptor):
                raise Taken(self.path, "it is not a lock")
            # The process is for words only, so a disk too full to hold it does not matter here.
            with contextlib.suppress(OSError):
                os.truncate(descriptor, 0)
                os.lseek(descriptor, 0, os.SEEK_SET)
                _files.write(descriptor, f"{os.getpid()}\n".encode())
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor, self._owner = descriptor, os.getpid()
        return True

    def is_held(self) -> bool:
        """Whether it still keeps others out: nobody removed or replaced its file."""
        return self._descriptor is not None and (sys.platform == "win32" or self._is_at(self._descriptor))

    def release(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        # A process that was forked has the file open too, and the lock is not its own.
        if sys.platform != "win32" and self._owner == os.getpid() and self._is_at(descriptor):
            # Removed while it is still held, so that the next one can tell.
            with contextlib.suppress(OSError):
                self.path.unlink()
        os.close(descriptor)

    def _is_at(self, descriptor: int) -> bool:
        return _files.identity(os.fstat(descriptor)) == _files.identity_at(self.path)

    def __del__(self) -> None:
        if getattr(self, "_descriptor", None) is not None:
            self.release()


def name_of_lock(of: Path) -> Path:
    """The file that is locked."""
    return _files.beside(of, "lock")


def _is_lock(descriptor: int) -> bool:
    """Whether the file is what a holder writes, or an empty one of a holder that died before it did.

    What is something else, as another file's second name, is not written over.
    """
    status = os.fstat(descriptor)
    return status.st_nlink <= 1 and (status.st_size == 0 or _holder(descriptor) is not None)


def _holder(descriptor: int) -> int | None:
    with contextlib.suppress(OSError, ValueError):
        os.lseek(descriptor, 0, os.SEEK_SET)
        text = os.read(descriptor, LENGTH_MAX).decode("ascii")
        if len(text) < LENGTH_MAX and text.strip().isdigit():
            return int(text)
    return None
