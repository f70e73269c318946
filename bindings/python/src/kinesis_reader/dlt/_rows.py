"""Lines to rows as dlt's Kinesis source makes them."""

from __future__ import annotations

import contextlib
import functools
import gc
import json
from binascii import a2b_base64
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pendulum
from dlt.common.json import json as dlt_json

Row = dict[str, Any]

loads: Callable[[str], Any] = dlt_json.loads
"""dlt's parser, whichever that is: a row is what its own source would have made of the payload."""
with contextlib.suppress(ImportError):
    # What it is wherever it can be had, and without a copy of the text.
    from orjson import loads


def merged(line: str) -> Row:
    """A row with the members of the payload beside its envelope. What is no JSON object stands under `data`."""
    try:
        row: Row = loads(line)
    except (ValueError, RecursionError):
        row = _as_text(line)
    envelope = row["_kinesis"]
    envelope["ts"] = _time(envelope["ts"])
    return row


def raw(line: str) -> Row:
    """A row with the payload, as bytes, under `data`."""
    row: Row = loads(line)
    envelope = row["_kinesis"]
    envelope["ts"] = _time(envelope["ts"])
    row["data"] = a2b_base64(row.pop("data_base64"))
    return row


class Rows(list[Row]):
    """Rows of one shard, in the order of their sequence numbers."""


def chunks(lines: list[str], row: Callable[[str], Row], size: int) -> Iterator[Rows]:
    """Rows in lists of a size. The messages of one record stay together: dlt's state tells records apart, no more."""
    start = 0
    while start < len(lines):
        end = start + size
        with _uncollected():
            chunk = Rows(map(row, lines[start:end]))
            while end < len(lines) and "sub_seq" in (following := row(lines[end]))["_kinesis"]:
                if following["_kinesis"]["seq_no"] != chunk[-1]["_kinesis"]["seq_no"]:
                    break
                chunk.append(following)
                end += 1
        yield chunk
        start = end


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Without Python's collector of cycles, which rows have none of.

    It comes after every few hundred objects, and every so often looks at all there are, of which dlt has many: that
    took more time than all else together.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@functools.lru_cache(maxsize=1024)
def _time(text: str) -> pendulum.DateTime:
    """The time of arrival, as in `2025-11-23T12:13:20.123Z`. Neighbours often have the same."""
    at = datetime.fromisoformat(text[:-1])
    return pendulum.DateTime(
        at.year, at.month, at.day, at.hour, at.minute, at.second, at.microsecond, tzinfo=pendulum.UTC
    )


def _as_text(line: str) -> Row:
    """A row of a payload that is JSON and beyond dlt's parser, as a number of 1e400 or a half of a character is."""
    decoder = json.JSONDecoder()
    envelope, end = decoder.raw_decode(line, len('{"_kinesis":'))
    identifier, end = decoder.raw_decode(line, end + len(',"_kinesis_msg_id":'))
    return {"_kinesis": envelope, "_kinesis_msg_id": identifier, "data": "{" + line[end + 1 :]}
