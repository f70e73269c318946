"""A cache of compiled code.

Anyone who could write to it could make this process run anything. So code is loaded only from a folder and a file that
belong to this user and that nobody else can write to. Each file has a checksum, so that a torn or damaged one is not
run either. Code that is not usable is compiled again.
"""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import stat
import sys
from pathlib import Path

from . import _files

log = logging.getLogger("kinesis_reader")

SUM_LENGTH = 32

LENGTH_MAX = 256 << 20
"""Bytes of a file. A component of 300 KB is some 1 MB of code."""

FILES_MAX = 8
"""Files that are kept. Each version of wasmtime and of the component makes a new one."""

ENDINGS = (".code", ".new")
"""Suffixes of a file of code, and of one that is being written."""


def key(component: bytes, *compiler: str) -> bytes:
    """Identifies what the code was compiled from, and by which compiler."""
    hashed = hashlib.sha256()
    for part in (*compiler, ""):
        hashed.update(part.encode() + b"\0")
    hashed.update(component)
    return hashed.digest()


def get(key: bytes) -> bytes | None:
    """The code of this key, if it is there and can be trusted."""
    try:
        data = _read(_folder() / _name(key))
    except FileNotFoundError:
        return None
    except OSError as error:
        log.info("compiled code is not used: %s", _files.why(error))
        return None
    if data[:SUM_LENGTH] != _sum(key, data[SUM_LENGTH:]):
        log.info("compiled code is damaged and made anew")
        return None
    return data[SUM_LENGTH:]


def put(key: bytes, code: bytes) -> None:
    """Stores code under this key. Without a usable cache, loading only takes longer."""
    try:
        folder = _folder()
        draft = folder / f"{secrets.token_hex(8)}{ENDINGS[1]}"
        descriptor = _files.create(draft)
        try:
            try:
                _files.write(descriptor, _sum(key, code) + code)
            finally:
                os.close(descriptor)
            os.replace(draft, folder / _name(key))
        except BaseException:
            os.unlink(draft)
            raise
        files = [path for path in folder.iterdir() if path.suffix in ENDINGS]
        for old in sorted(files, key=lambda path: path.lstat().st_mtime_ns)[:-FILES_MAX]:
            old.unlink(missing_ok=True)
    except OSError as error:
        log.info("compiled code is not kept: %s", _files.why(error))


def _folder() -> Path:
    """The folder, which is created if it is missing."""
    cache = os.environ.get("XDG_CACHE_HOME") or (os.environ.get("LOCALAPPDATA") if sys.platform == "win32" else None)
    folder = Path(cache) if cache else Path(os.path.expanduser("~")) / ".cache"
    if not folder.is_absolute():
        raise OSError(0, "there is no place for it")
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("kinesis-reader", "compiled-python"):
        folder /= name
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
        if not stat.S_ISDIR(status.st_mode):
            raise NotADirectoryError(0, f"it is not a folder: {folder}")
        _check_own(status)
    return folder


def _read(path: Path) -> bytes:
    descriptor = _files.open_regular(path, os.O_RDONLY)
    try:
        status = os.fstat(descriptor)
        _check_own(status)
        if status.st_nlink > 1:
            raise PermissionError(0, "the file has a second name")
        return _files.read(descriptor, LENGTH_MAX)
    finally:
        os.close(descriptor)


def _check_own(status: os.stat_result) -> None:
    if sys.platform != "win32" and (status.st_uid != os.geteuid() or status.st_mode & 0o022):
        raise PermissionError(0, "others can write to it")


def _name(key: bytes) -> str:
    return f"{key[:16].hex()}{ENDINGS[0]}"


def _sum(key: bytes, code: bytes) -> bytes:
    """The checksum, which includes the key."""
    return hashlib.sha256(key + code).digest()
