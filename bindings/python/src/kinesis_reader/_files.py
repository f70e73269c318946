"""Opens regular files under names that others can predict.

Anyone who can write to a directory can put a symbolic link, a pipe or a device under such a name. Nothing here follows
such a link, waits for a pipe or opens a device. New files are private until they get their final mode.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from pathlib import Path

Identity = tuple[int, int]
"""Device and inode, which identify a file under all of its names."""

NAME_MAX = 255
"""The longest file name that common file systems accept, in bytes."""

# Not every system has all of these.
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_NONBLOCK = getattr(os, "O_NONBLOCK", 0)
_BINARY = getattr(os, "O_BINARY", 0)


def resolve(path: Path) -> Path:
    """Returns the absolute path of a file that the caller named, with symbolic links resolved.

    Links are followed only here, so a link that later replaces the file, its lock or its temporary file is not
    followed. The file need not exist, but its directory must.
    """
    try:
        resolved = path.resolve()
        if not stat.S_ISDIR(os.stat(resolved.parent).st_mode):
            raise NotADirectoryError(errno.ENOTDIR, "its parent is not a directory")
        return resolved
    except FileNotFoundError:
        raise FileNotFoundError(errno.ENOENT, "no such directory") from None
    except (RuntimeError, ValueError):
        # A loop of links, which newer versions of Python report as an OSError, or a NUL byte.
        raise OSError(errno.EINVAL, "not a valid path") from None


def beside(path: Path, suffix: str) -> Path:
    """Returns the path of the hidden file `.NAME.SUFFIX` beside `path`. The program `kinesis-reader` uses the same
    names."""
    name = os.fsencode(f".{path.name}")
    if len(name) + 1 + len(suffix) > NAME_MAX:
        name = f".{_fnv1a(name):016x}".encode()
    return path.with_name(f"{os.fsdecode(name)}.{suffix}")


def locate(path: Path) -> Path:
    """Resolves a path at which there is a regular file, or nothing yet.

    The file is not opened, because opening a pipe would wait for its other end.
    """
    resolved = resolve(path)
    look(resolved)
    return resolved


def look(path: Path) -> os.stat_result | None:
    """Returns the status of a regular file, or `None` if there is nothing. Links, pipes and devices are errors."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return None
    _check_regular(status)
    return status


def open_regular(path: Path, flags: int, mode: int = 0o600) -> int:
    """Opens a regular file. Anything else is an error."""
    look(path)
    descriptor = os.open(path, flags | _NOFOLLOW | _NONBLOCK | _BINARY, mode)
    try:
        _check_regular(os.fstat(descriptor))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def create(path: Path) -> int:
    """Creates a file that only its owner can read, in place of whatever had its name."""
    for _ in range(3):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        with contextlib.suppress(FileExistsError):
            return os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | _NOFOLLOW | _BINARY, 0o600)
    raise FileExistsError(errno.EEXIST, "another program keeps creating it", str(path))


def read(descriptor: int, most: int) -> bytes:
    """Reads up to `most` bytes from the current offset."""
    data = bytearray()
    while len(data) < most and (some := os.read(descriptor, min(1 << 20, most - len(data)))):
        data += some
    return bytes(data)


def write(descriptor: int, data: bytes) -> None:
    """Writes all of the data."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def keep_mode(descriptor: int, old: os.stat_result) -> None:
    """Gives a new file the owner and mode of the one that it replaces."""
    if sys.platform == "win32":
        return
    new = os.fstat(descriptor)
    mode = old.st_mode & 0o777
    if (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid):
        try:
            os.fchown(descriptor, old.st_uid, old.st_gid)
        except OSError:
            # The group is another one now, so it gets no more permissions than everyone has.
            mode = mode & 0o707 | (mode >> 3 & mode & 0o007) << 3
    os.fchmod(descriptor, mode)


def identity(status: os.stat_result) -> Identity:
    return status.st_dev, status.st_ino


def identity_at(path: Path) -> Identity | None:
    """Returns the identity of what has this name, without following links, or `None` if there is nothing."""
    with contextlib.suppress(OSError):
        return identity(os.lstat(path))
    return None


def is_same(path: Path, other: Path) -> bool:
    """Whether two paths name the same file, even if it does not exist yet."""
    with contextlib.suppress(OSError, ValueError):
        return os.path.samefile(path, other)
    with contextlib.suppress(OSError):
        path, other = resolve(path), resolve(other)
        return os.path.normcase(path.name) == os.path.normcase(other.name) and path.parent.samefile(other.parent)
    return False


def sync_directory(path: Path) -> None:
    """Makes the entry of a new or renamed file durable. Windows does not need this."""
    if sys.platform != "win32":
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def lock(descriptor: int) -> bool:
    """Locks an open file until its process ends or `unlock` is called. Returns `False` if another process holds the
    lock."""
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
    """Returns the reason for an error, without the path."""
    return error.strerror or type(error).__name__


def _check_regular(status: os.stat_result) -> None:
    if stat.S_ISLNK(status.st_mode):
        raise OSError(errno.ELOOP, "a symbolic link")
    if stat.S_ISDIR(status.st_mode):
        raise OSError(errno.EISDIR, "a directory")
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a regular file")


def _fnv1a(data: bytes) -> int:
    hashed = 0xCBF29CE484222325
    for byte in data:
        hashed = (hashed ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return hashed
