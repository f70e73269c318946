"""Slows down Python's cyclic garbage collector while rows pass."""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Iterator

THRESHOLD = 100_000
"""Net allocations between two collections. A list of 1,000 rows has about 5,000 objects."""

_lock = threading.Lock()
_users = 0
_before: tuple[int, int, int] | None = None


@contextlib.contextmanager
def slowed_down() -> Iterator[None]:
    """Makes the garbage collector run less often inside the context.

    By default it runs every few hundred net allocations, and now and then scans all objects, of which dlt has many.
    Rows have no cycles and are soon freed, but each list of them would trigger it. A collector that is disabled stays
    disabled.
    """
    global _users, _before
    with _lock:
        _users += 1
        if _users == 1 and 0 < gc.get_threshold()[0] < THRESHOLD:
            _before = gc.get_threshold()
            gc.set_threshold(THRESHOLD, *_before[1:])
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0 and _before is not None:
                gc.set_threshold(*_before)
                _before = None
