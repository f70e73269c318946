"""Where messages go whose data is not as it was asked for."""

from __future__ import annotations

import os
from collections.abc import Callable

from ._errors import Error, OptionError

BadRecords = Callable[[str], object]
"""Takes lines of JSON, whole ones, each with the reason under `_kinesis_reason`."""


def taker(given: str | os.PathLike[str] | BadRecords | None) -> BadRecords | None:
    """What takes the lines: a callable as it is, or one that appends them to the file of this path."""
    if given is None or callable(given):
        return given
    if isinstance(given, (str, os.PathLike)):
        path = os.fspath(given)
        return lambda lines: _append(path, lines)
    raise OptionError(
        f"bad_records can be no {type(given).__name__}: {given!r}", "give the path of a file, or a callable for lines"
    )


def _append(path: str, lines: str) -> None:
    try:
        with open(path, "a", encoding="utf-8", newline="") as file:
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise Error(
            f"bad records cannot be written: {path} ({error.strerror})", "make it writable, and room"
        ) from error
