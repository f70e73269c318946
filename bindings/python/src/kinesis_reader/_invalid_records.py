"""Passes on invalid records: messages whose data is not in the form that the option `payload` asks for."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from . import _files
from ._errors import Error, OptionError
from ._printable import printable, shown

OnInvalidRecords = Callable[[str], object]
"""Receives whole lines of JSON, each with the reason under `_kinesis_reason`."""

LOCK_TIMEOUT = 10.0
"""Seconds to wait for the lock of the file, to which other readers may append too."""

LOCK_PAUSE = 0.05
"""Seconds between two attempts."""

SEARCH_SIZE_MAX = 128 << 20
"""Bytes searched for the beginning of an incomplete line."""

LINE_START = b'{"_kinesis":'
"""Every line begins like this."""


def handler(option: str | os.PathLike[str] | OnInvalidRecords | None) -> OnInvalidRecords | None:
    """Returns what receives the lines: the callable itself, or one that appends them to the file with this path."""
    if option is None or callable(option):
        return option
    if isinstance(option, (str, os.PathLike)):
        return InvalidRecordsFile(option)
    raise OptionError(
        f"invalid_records is not a path or a callable: {shown(option)}",
        "use the path of a file, or a callable that receives lines",
    )


class InvalidRecordsFile:
    """Appends lines to a file, durably. The file is created with the first line, and is readable only by its owner.

    It is locked during each write, so that several readers can append whole lines to one file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        try:
            self._file = _files.locate(self.path)
        except OSError as error:
            raise self._failed(error) from error
        self._descriptor: int | None = None

    def __call__(self, lines: str) -> None:
        try:
            descriptor = self._opened()
            with self._locked(descriptor):
                _append(descriptor, lines.encode("utf-8", "surrogatepass"))
        except OSError as error:
            raise self._failed(error) from error

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def __del__(self) -> None:
        if getattr(self, "_descriptor", None) is not None:
            self.close()

    def _opened(self) -> int:
        """Opens the file once. If it was removed or replaced since then, lines that were written are missing."""
        if self._descriptor is None:
            self._descriptor = self._open()
        elif _files.identity(os.fstat(self._descriptor)) != _files.identity_at(self._file):
            raise Error(
                f"file of invalid records removed or replaced during the run: {printable(self.path)}",
                "restore it, or use another file, and run again; it continues from the last checkpoint",
            )
        return self._descriptor

    def _open(self) -> int:
        is_new = _files.look(self._file) is None
        descriptor = _files.open_regular(self._file, os.O_RDWR | os.O_APPEND | os.O_CREAT)
        try:
            with self._locked(descriptor):
                if not _cut_incomplete_line(descriptor):
                    raise Error(
                        f"the last line is not an invalid record: {printable(self.path)}",
                        "use a file that holds nothing but invalid records",
                    )
            if is_new:
                _files.sync_directory(self._file.parent)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    @contextlib.contextmanager
    def _locked(self, descriptor: int) -> Iterator[None]:
        deadline = time.monotonic() + LOCK_TIMEOUT
        while not _files.lock(descriptor):
            if time.monotonic() >= deadline:
                raise Error(
                    f"file of invalid records in use by another reader: {printable(self.path)}",
                    "wait until it is done, or give each reader its own file",
                )
            time.sleep(LOCK_PAUSE)
        try:
            yield
        finally:
            _files.unlock(descriptor)

    def _failed(self, error: OSError) -> Error:
        return Error(
            f"cannot write invalid records: {printable(self.path)}: {_files.why(error)}",
            "use the path of a file in an existing directory, make it writable, and free some space",
        )


def _append(descriptor: int, data: bytes) -> None:
    """Appends all of the data, or nothing."""
    end = os.lseek(descriptor, 0, os.SEEK_END)
    try:
        _files.write(descriptor, data)
        os.fsync(descriptor)
    except BaseException:
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, end)
        raise


def _cut_incomplete_line(descriptor: int) -> bool:
    """Cuts off a line that a crash left incomplete. Returns `False` if the file ends with something else."""
    size = os.lseek(descriptor, 0, os.SEEK_END)
    start = max(0, size - SEARCH_SIZE_MAX)
    end = size
    while end > start:
        begin = max(start, end - (1 << 16))
        os.lseek(descriptor, begin, os.SEEK_SET)
        newline = _files.read(descriptor, end - begin).rfind(b"\n")
        if newline >= 0:
            start = begin + newline + 1
            break
        end = begin
    os.lseek(descriptor, start, os.SEEK_SET)
    if not LINE_START.startswith(_files.read(descriptor, len(LINE_START))):
        return False
    if start < size:
        os.ftruncate(descriptor, start)
    return True
