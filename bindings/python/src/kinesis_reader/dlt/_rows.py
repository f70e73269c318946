"""Lines to rows as dlt's Kinesis source makes them."""

from __future__ import annotations

import contextlib
import functools
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


def merged(lines: list[str]) -> list[Row]:
    """Rows with the members of the payload beside the envelope. What is no JSON object stands under `data`."""
    try:
        rows = _together(lines)
    except (ValueError, RecursionError):
        rows = [_one(line) for line in lines]
    for row in rows:
        envelope = row["_kinesis"]
        envelope["ts"] = _time(envelope["ts"])
    return rows


def raw(lines: list[str]) -> list[Row]:
    """Rows with the payload, as bytes, under `data`."""
    rows = _together(lines)
    for row in rows:
        envelope = row["_kinesis"]
        envelope["ts"] = _time(envelope["ts"])
        row["data"] = a2b_base64(row.pop("data_base64"))
    return rows


class Rows(list[Row]):
    """Rows of one shard, in the order of their sequence numbers."""


def chunks(lines: list[str], rows: Callable[[list[str]], list[Row]], size: int) -> Iterator[Rows]:
    """Rows in lists of a size. The messages of one record stay together: dlt's state tells records apart, no more."""
    start = 0
    while start < len(lines):
        end = min(start + size, len(lines))
        chunk = Rows()
        for at in range(start, end, TOGETHER):
            chunk += rows(lines[at : min(at + TOGETHER, end)])
        while end < len(lines) and _is_of_the_same_record(following := rows(lines[end : end + 1]), chunk):
            chunk += following
            end += 1
        yield chunk
        start = end


TOGETHER = 128
"""Lines made rows of at a time. One by one costs twice as much; more are no longer in the processor's caches when they
are looked at again."""


def _is_of_the_same_record(following: list[Row], chunk: Rows) -> bool:
    envelope = following[0]["_kinesis"]
    return "sub_seq" in envelope and bool(envelope["seq_no"] == chunk[-1]["_kinesis"]["seq_no"])


def _time(text: str) -> pendulum.DateTime:
    """The time of arrival, as in `2025-11-23T12:13:20.123Z`."""
    return pendulum.DateTime(*_second(text[:19]), int(text[20:23]) * 1000, pendulum.UTC)


@functools.lru_cache(maxsize=64)
def _second(text: str) -> tuple[int, int, int, int, int, int]:
    """Neighbours often have the same."""
    at = datetime.fromisoformat(text)
    return at.year, at.month, at.day, at.hour, at.minute, at.second


def _together(lines: list[str]) -> list[Row]:
    """The lines parsed by one call."""
    rows: list[Row] = loads("".join(("[", ",".join(lines), "]")))
    return rows


def _one(line: str) -> Row:
    try:
        row: Row = loads(line)
        return row
    except (ValueError, RecursionError):
        return _as_text(line)


def _as_text(line: str) -> Row:
    """A row of a payload that is JSON and beyond dlt's parser, as a number of 1e400 or a half of a character is."""
    decoder = json.JSONDecoder()
    envelope, end = decoder.raw_decode(line, len('{"_kinesis":'))
    identifier, end = decoder.raw_decode(line, end + len(',"_kinesis_msg_id":'))
    return {"_kinesis": envelope, "_kinesis_msg_id": identifier, "data": "{" + line[end + 1 :]}
