"""Locks a file for one reader, with the operating system's lock on a small hidden file beside it.

The lock ends with its process. The hidden file holds the process ID, for error messages, and is removed on release. The
program `kinesis-reader` and the JavaScript package take the same lock: flock(2), except on Windows.

`filelock` takes the same lock and does not follow links either, but it does not write or report the holder's process
ID, leaves its file behind, and would accept any other file that has the lock's name.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

from . import _files

ATTEMPTS_MAX = 100
"""Attempts, because the last holder may remove the file just as we open it."""

SIZE_MAX = 32
"""Enough for a process ID and a line feed; a larger file is not a lock."""


class LockHeldError(Exception):
    """Another reader holds the lock; `holder` is its process ID, if known."""

    def __init__(self, holder: int | None) -> None:
        super().__init__(holder)
        self.holder = holder


class NotALockError(Exception):
    """Something that is not a lock has the lock's name."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(path, why)
        self.path = path
        self.why = why


class Lock:
    """A lock that is held until it is released.

    Raises `LockHeldError`, `NotALockError`, or `OSError` if the file system fails.
    """

    def __init__(self, file: Path) -> None:
        self.path = lock_path(file)
        self._descriptor: int | None = None
        for _ in range(ATTEMPTS_MAX):
            if self._acquire():
                return
        raise NotALockError(self.path, "replaced again and again")

    def _acquire(self) -> bool:
        try:
            descriptor = _files.open_regular(self.path, os.O_CREAT | os.O_RDWR)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise NotALockError(self.path, _files.why(error)) from None
        try:
            if not _files.lock(descriptor):
                raise LockHeldError(_holder(descriptor))
            # The last holder may have removed the file after we opened it. Such a lock would exclude no one.
            if sys.platform != "win32" and not self._is_at(descriptor):
                os.close(descriptor)
                return False
            if not _is_lock(descriptor):
                raise NotALockError(self.path, "not a lock file")
            # The process ID is only for messages, so a full disk does not matter here.
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
        """Whether the lock still excludes others. It does not if its file was removed or replaced."""
        return self._descriptor is not None and (sys.platform == "win32" or self._is_at(self._descriptor))

    def release(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        # A forked process has the file open too, but does not own the lock.
        if sys.platform != "win32" and self._owner == os.getpid() and self._is_at(descriptor):
            # Removed while it is locked, so that the next holder notices.
            with contextlib.suppress(OSError):
                self.path.unlink()
        os.close(descriptor)

    def _is_at(self, descriptor: int) -> bool:
        return _files.identity(os.fstat(descriptor)) == _files.identity_at(self.path)

    def __del__(self) -> None:
        if getattr(self, "_descriptor", None) is not None:
            self.release()


def lock_path(file: Path) -> Path:
    """Returns the path of the hidden file that is locked."""
    return _files.beside(file, "lock")


def _is_lock(descriptor: int) -> bool:
    """Whether the file is as a holder leaves it; one that died early leaves it empty.

    Anything else, such as a second name of another file, is not overwritten.
    """
    status = os.fstat(descriptor)
    return status.st_nlink <= 1 and (status.st_size == 0 or _holder(descriptor) is not None)


def _holder(descriptor: int) -> int | None:
    with contextlib.suppress(OSError, ValueError):
        os.lseek(descriptor, 0, os.SEEK_SET)
        text = os.read(descriptor, SIZE_MAX).decode("ascii")
        if len(text) < SIZE_MAX and text.strip().isdigit():
            return int(text)
    return None
