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

from .._messages import slices

Row = dict[str, Any]

loads: Callable[[str], Any] = dlt_json.loads
"""dlt's parser, whichever that is: a row is what its own source would have made of the payload."""
with contextlib.suppress(ImportError):
    # What it is wherever it can be had, and without a copy of the text.
    from orjson import loads


def merged(lines: str) -> list[Row]:
    """Rows with the members of the payload beside the envelope. What is no JSON object stands under `data`."""
    try:
        rows = _together(lines)
    except (ValueError, RecursionError):
        rows = [_one(line) for line in lines.split("\n")]
    return _timed(rows)


def raw(lines: str) -> list[Row]:
    """Rows with the payload, as bytes, under `data`."""
    rows = _timed(_together(lines))
    for row in rows:
        row["data"] = a2b_base64(row.pop("data_base64"))
    return rows


class Rows(list[Row]):
    """Rows of one shard, in the order of their sequence numbers."""


def chunks(lines: str, rows: Callable[[str], list[Row]], size: int) -> Iterator[Rows]:
    """Rows in lists of a size. Those of one record stay together, so that a list ends with a record if the lines do:
    dlt's state tells records apart, no more."""
    made, end = Rows(), size
    for some in slices(lines):
        made += rows(some)
        while end < len(made):
            end = _end_of_record(made, end)
            if end < len(made):
                yield Rows(made[:end])
                made, end = Rows(made[end:]), size
    if made:
        yield made


def _end_of_record(rows: Rows, end: int) -> int:
    """Where the messages end that are of the same record as the one before `end`."""
    record = rows[end - 1]["_kinesis"]["seq_no"]
    while end < len(rows) and "sub_seq" in (envelope := rows[end]["_kinesis"]) and envelope["seq_no"] == record:
        end += 1
    return end


def _timed(rows: list[Row]) -> list[Row]:
    """The rows with their times of arrival, as `2025-11-23T12:13:20.123Z` is one, as times."""
    last, time = "", None
    for row in rows:
        envelope = row["_kinesis"]
        text = envelope["ts"]
        if text != last:
            last, time = text, _second(text[:19])(int(text[20:23]) * 1000, pendulum.UTC)
        envelope["ts"] = time
    return rows


@functools.lru_cache(maxsize=64)
def _second(text: str) -> Callable[[int, Any], pendulum.DateTime]:
    """What makes times of this second. Neighbours often have the same."""
    at = datetime.fromisoformat(text)
    return functools.partial(pendulum.DateTime, at.year, at.month, at.day, at.hour, at.minute, at.second)


def _together(lines: str) -> list[Row]:
    """The lines parsed by one call."""
    rows: list[Row] = loads("".join(("[", lines.replace("\n", ","), "]")))
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
