"""Files at names that others can guess: what lies there is used only if it is what it should be.

Whoever can write to a directory can put a link, a pipe or a device at a name in it. Nothing here follows a link, waits
for a pipe, or touches a device; files that are made are private until they have the mode that they should have.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from pathlib import Path

Identity = tuple[int, int]
"""What tells a file from all others, whatever its names are: device and inode."""

NAME_MAX = 255
"""The longest file name that common file systems take, in bytes."""

# Not every system has each of them.
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_NONBLOCK = getattr(os, "O_NONBLOCK", 0)
_BINARY = getattr(os, "O_BINARY", 0)


def resolve(path: Path) -> Path:
    """The absolute path of a file, through symbolic links: the one that a caller names may be a link.

    After that none is followed, so that one which is put in the place of the file, of its lock or of its next version
    leads nowhere. The file need not be there, its directory must.
    """
    try:
        resolved = path.resolve()
        if not stat.S_ISDIR(os.stat(resolved.parent).st_mode):
            raise NotADirectoryError(errno.ENOTDIR, "what should be its directory is a file")
        return resolved
    except FileNotFoundError:
        raise FileNotFoundError(errno.ENOENT, "its directory does not exist") from None
    except (RuntimeError, ValueError):
        # Links that lead to each other, which is another exception in later Pythons; a zero byte.
        raise OSError(errno.EINVAL, "it is not the path of a file") from None


def beside(path: Path, suffix: str) -> Path:
    """The hidden file beside `path` that is named after it, as the program names it: `.NAME.SUFFIX`."""
    name = os.fsencode(f".{path.name}")
    if len(name) + 1 + len(suffix) > NAME_MAX:
        name = f".{_fnv1a(name):016x}".encode()
    return path.with_name(f"{os.fsdecode(name)}.{suffix}")


def look(path: Path) -> os.stat_result | None:
    """The regular file of this name, or `None`. What is anything else is an error: a link, a pipe, a device."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return None
    _check_regular(status)
    return status


def open_regular(path: Path, flags: int, mode: int = 0o600) -> int:
    """Opens a regular file. What is anything else is an error."""
    look(path)
    descriptor = os.open(path, flags | _NOFOLLOW | _NONBLOCK | _BINARY, mode)
    try:
        _check_regular(os.fstat(descriptor))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def create(path: Path) -> int:
    """Makes a new file that nobody else can read, in place of whatever has its name."""
    for _ in range(3):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        with contextlib.suppress(FileExistsError):
            return os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | _NOFOLLOW | _BINARY, 0o600)
    raise FileExistsError(errno.EEXIST, "another program makes files of this name", str(path))


def read(descriptor: int, most: int) -> bytes:
    """The file from here on, up to so many bytes."""
    data = bytearray()
    while len(data) < most and (some := os.read(descriptor, min(1 << 20, most - len(data)))):
        data += some
    return bytes(data)


def write(descriptor: int, data: bytes) -> None:
    """Writes all of it."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def keep_mode(descriptor: int, old: os.stat_result) -> None:
    """Gives a new file the owner and the mode of the one that it replaces."""
    if sys.platform == "win32":
        return
    new = os.fstat(descriptor)
    mode = old.st_mode & 0o777
    if (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid):
        try:
            os.fchown(descriptor, old.st_uid, old.st_gid)
        except OSError:
            # The group is another one now, which may do no more than all others.
            mode = mode & 0o707 | (mode >> 3 & mode & 0o007) << 3
    os.fchmod(descriptor, mode)


def identity(status: os.stat_result) -> Identity:
    return status.st_dev, status.st_ino


def identity_at(path: Path) -> Identity | None:
    """What has this name, be it a link. `None`: nothing, or it cannot be told."""
    with contextlib.suppress(OSError):
        return identity(os.lstat(path))
    return None


def is_same(path: Path, other: Path) -> bool:
    """Whether two names are of one file, or would be if it were made."""
    with contextlib.suppress(OSError, ValueError):
        return os.path.samefile(path, other)
    with contextlib.suppress(OSError):
        path, other = resolve(path), resolve(other)
        return os.path.normcase(path.name) == os.path.normcase(other.name) and path.parent.samefile(other.parent)
    return False


def sync_directory(path: Path) -> None:
    """Makes the entry of a new or renamed file outlive a loss of power; elsewhere renaming is durable by itself."""
    if sys.platform != "win32":
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def lock(descriptor: int) -> bool:
    """Takes the lock of an open file, which ends with the process that holds it. `False`: another one holds it."""
    try:
        if sys.platform != "win32":
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            import msvcrt

            os.lseek(descriptor, 0, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES, errno.EDEADLK):
            return False
        raise
    return True


def unlock(descriptor: int) -> None:
    if sys.platform != "win32":
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_UN)
    else:
        import msvcrt

        os.lseek(descriptor, 0, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)


def why(error: OSError) -> str:
    """The error in words, without the path."""
    return error.strerror or type(error).__name__


def _check_regular(status: os.stat_result) -> None:
    if stat.S_ISLNK(status.st_mode):
        raise OSError(errno.ELOOP, "a symbolic link is in its place")
    if stat.S_ISDIR(status.st_mode):
        raise OSError(errno.EISDIR, "it is a directory")
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file")


def _fnv1a(data: bytes) -> int:
    hashed = 0xCBF29CE484222325
    for byte in data:
        hashed = (hashed ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return hashed
