"""A cache of compiled code.

Anyone who can write to the cache could run code in this process. So only this user may be able to write to its folders
and files. Each file has a checksum, in case a write was torn. Code that fails a check is compiled again.
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

CHECKSUM_SIZE = 32

SIZE_MAX = 256 << 20
"""Bytes of a file. A component of 300 KB compiles to about 1 MB of code."""

FILES_MAX = 8
"""Files to keep. There is one for each version of wasmtime and of the component."""

SUFFIXES = (".code", ".new")
"""For a file of code, and for one that is being written."""


def key(component: bytes, *compiler: str) -> bytes:
    """Identifies what the code was compiled from, and by which compiler."""
    hashed = hashlib.sha256()
    for part in (*compiler, ""):
        hashed.update(part.encode() + b"\0")
    hashed.update(component)
    return hashed.digest()


def get(key: bytes) -> bytes | None:
    """Returns the code for this key if it is there and can be trusted."""
    try:
        data = _read(_folder() / _name(key))
    except FileNotFoundError:
        return None
    except OSError as error:
        log.info("cannot use the cache of compiled code: %s", _files.why(error))
        return None
    if data[:CHECKSUM_SIZE] != _checksum(key, data[CHECKSUM_SIZE:]):
        log.info("damaged code in the cache; compiling again")
        return None
    return data[CHECKSUM_SIZE:]


def put(key: bytes, code: bytes) -> None:
    """Stores code under this key. Without a usable cache, loading only takes longer."""
    try:
        folder = _folder()
        draft = folder / f"{secrets.token_hex(8)}{SUFFIXES[1]}"
        descriptor = _files.create(draft)
        try:
            try:
                _files.write(descriptor, _checksum(key, code) + code)
            finally:
                os.close(descriptor)
            os.replace(draft, folder / _name(key))
        except BaseException:
            os.unlink(draft)
            raise
        files = [path for path in folder.iterdir() if path.suffix in SUFFIXES]
        for old in sorted(files, key=lambda path: path.lstat().st_mtime_ns)[:-FILES_MAX]:
            old.unlink(missing_ok=True)
    except OSError as error:
        log.info("cannot cache the compiled code: %s", _files.why(error))


def _folder() -> Path:
    """Returns the folder, after creating it if it is missing."""
    cache = os.environ.get("XDG_CACHE_HOME") or (os.environ.get("LOCALAPPDATA") if sys.platform == "win32" else None)
    folder = Path(cache) if cache else Path(os.path.expanduser("~")) / ".cache"
    if not folder.is_absolute():
        raise OSError(0, "the path is not absolute")
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("kinesis-reader", "compiled-python"):
        folder /= name
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
        if not stat.S_ISDIR(status.st_mode):
            raise NotADirectoryError(0, f"not a directory: {folder}")
        _check_owner(status)
    return folder


def _read(path: Path) -> bytes:
    descriptor = _files.open_regular(path, os.O_RDONLY)
    try:
        status = os.fstat(descriptor)
        _check_owner(status)
        if status.st_nlink > 1:
            raise PermissionError(0, "the file has a second name")
        return _files.read(descriptor, SIZE_MAX)
    finally:
        os.close(descriptor)


def _check_owner(status: os.stat_result) -> None:
    if sys.platform != "win32" and (status.st_uid != os.geteuid() or status.st_mode & 0o022):
        raise PermissionError(0, "other users can write to it")


def _name(key: bytes) -> str:
    return f"{key[:16].hex()}{SUFFIXES[0]}"


def _checksum(key: bytes, code: bytes) -> bytes:
    """Covers the key too, so that code is not used under another key."""
    return hashlib.sha256(key + code).digest()
