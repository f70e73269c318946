"""Where messages go whose data is not as it was asked for."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from . import _files
from ._errors import Error, OptionError
from ._printable import printable, shown

InvalidRecords = Callable[[str], object]
"""Takes lines of JSON, whole ones, each with the reason under `_kinesis_reason`."""

LOCK_TIME_MAX = 10.0
"""Seconds to wait for the lock of the file, which other readers may append to as well."""

LOCK_PAUSE = 0.05
"""Seconds between two tries."""

TAIL = 128 << 20
"""Bytes searched for the beginning of a torn line."""

HEAD = b'{"_kinesis":'
"""How each line begins."""


def taker(given: str | os.PathLike[str] | InvalidRecords | None) -> InvalidRecords | None:
    """What takes the lines: a callable as it is, or one that appends them to the file of this path."""
    if given is None or callable(given):
        return given
    if isinstance(given, (str, os.PathLike)):
        return InvalidRecordsFile(given)
    raise OptionError(
        f"invalid_records can be no {type(given).__name__}: {shown(given)}",
        "give the path of a file, or a callable for lines",
    )


class InvalidRecordsFile:
    """A file to which lines are appended durably. It is created with the first of them, readable by its owner only.

    It is locked while it is written to, so that lines of several readers stay whole.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        try:
            self._file = _files.resolve(self.path)
            # Not opened: that would wait for a pipe's other end.
            _files.look(self._file)
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
        """Closes the file."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def __del__(self) -> None:
        if getattr(self, "_descriptor", None) is not None:
            self.close()

    def _opened(self) -> int:
        """The file, which stays open. If it was removed or replaced, lines that were already written are gone."""
        if self._descriptor is None:
            self._descriptor = self._open()
        elif _files.identity(os.fstat(self._descriptor)) != _files.identity_at(self._file):
            raise Error(
                f"the file of invalid records was removed or replaced during the run: {printable(self.path)}",
                "put it back, or give another one, and run again: it goes on from the last checkpoint",
            )
        return self._descriptor

    def _open(self) -> int:
        is_new = _files.look(self._file) is None
        descriptor = _files.open_regular(self._file, os.O_RDWR | os.O_APPEND | os.O_CREAT)
        try:
            with self._locked(descriptor):
                if not _cut_torn(descriptor):
                    raise Error(
                        f"the last line of the file is not a invalid record: {printable(self.path)}",
                        "give invalid records a file of their own",
                    )
            if is_new:
                _files.sync_directory(self._file.parent)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    @contextlib.contextmanager
    def _locked(self, descriptor: int) -> Iterator[None]:
        until = time.monotonic() + LOCK_TIME_MAX
        while not _files.lock(descriptor):
            if time.monotonic() >= until:
                raise Error(
                    f"another reader holds the file of invalid records: {printable(self.path)}",
                    "wait until it is done, or give each reader a file of its own",
                )
            time.sleep(LOCK_PAUSE)
        try:
            yield
        finally:
            _files.unlock(descriptor)

    def _failed(self, error: OSError) -> Error:
        return Error(
            f"invalid records cannot be written: {printable(self.path)} ({_files.why(error)})",
            "give the path of a file in a directory that exists, make it writable, and make room",
        )


def _append(descriptor: int, data: bytes) -> None:
    """Appends all of the data or nothing."""
    end = os.lseek(descriptor, 0, os.SEEK_END)
    try:
        _files.write(descriptor, data)
        os.fsync(descriptor)
    except BaseException:
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, end)
        raise


def _cut_torn(descriptor: int) -> bool:
    """Cuts off a line that a crash left incomplete. `False`: the file ends in something else."""
    size = os.lseek(descriptor, 0, os.SEEK_END)
    start = max(0, size - TAIL)
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
    torn = _files.read(descriptor, len(HEAD))
    if not HEAD.startswith(torn):
        return False
    if start < size:
        os.ftruncate(descriptor, start)
    return True
