"""A lock for a file that several readers may want, which is released when its process dies.

It is the operating system's lock on a small file beside the other. The file contains the process ID of the holder, for
error messages, and is removed on release. The program `kinesis-reader` takes the same lock.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

from . import _files

TRIES_MAX = 100
"""How often the lock is tried again if its last holder removes the file at the same moment."""

LENGTH_MAX = 32
"""More than a process ID and a line break take."""


class Held(Exception):
    """Another reader holds the lock: the process `by`, if known."""

    def __init__(self, by: int | None) -> None:
        super().__init__(by)
        self.by = by


class Taken(Exception):
    """Something other than a lock has its name."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(path, why)
        self.path = path
        self.why = why


class Lock:
    """A lock that is held until it is released. Raises `Held`, `Taken`, or `OSError` if the file system fails."""

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
            # The last holder may have removed the file after we opened it. Such a lock would keep nobody out.
            if sys.platform != "win32" and not self._is_at(descriptor):
                os.close(descriptor)
                return False
            if not _is_lock(descriptor):
                raise Taken(self.path, "it is not a lock")
            # The process ID is for messages only, so a full disk does not matter here.
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
        """Whether the lock still keeps others out, as its file was not removed or replaced."""
        return self._descriptor is not None and (sys.platform == "win32" or self._is_at(self._descriptor))

    def release(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        # A forked process has the file open too, but does not own the lock.
        if sys.platform != "win32" and self._owner == os.getpid() and self._is_at(descriptor):
            # Removed while still locked, so that the next holder notices.
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
    """Whether the file is as a holder left it; one that died early leaves it empty.

    Anything else, such as a second name of another file, is not overwritten.
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
