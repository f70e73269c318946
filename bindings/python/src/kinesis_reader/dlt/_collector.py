"""Python's collector of cycles, held back while rows pass."""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Iterator

THRESHOLD = 100_000
"""Objects that may be made, and not gone, before the collector comes. A list of 1,000 rows has some 5,000."""

_lock = threading.Lock()
_held = 0
_before: tuple[int, int, int] | None = None


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """The collector comes after every few hundred objects that are made and not gone, and every so often looks at all
    there are, of which dlt has many. Rows have no cycles and are soon gone, but a list of them has it come each time.

    It still comes, later, and as before once nobody holds it back. Where it is off it stays so.
    """
    global _held, _before
    with _lock:
        _held += 1
        if _held == 1 and 0 < gc.get_threshold()[0] < THRESHOLD:
            _before = gc.get_threshold()
            gc.set_threshold(THRESHOLD, *_before[1:])
    try:
        yield
    finally:
        with _lock:
            _held -= 1
            if _held == 0 and _before is not None:
                gc.set_threshold(*_before)
                _before = None
