"""Turns lines into rows as dlt's Kinesis source makes them."""

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
"""dlt's parser, so that a row is what dlt's own source would have made of the payload."""
with contextlib.suppress(ImportError):
    # dlt uses orjson if it is installed, but copies the text first.
    from orjson import loads


def merged(lines: str) -> list[Row]:
    """Returns rows with the members of the payload beside the envelope, or with `data` if it is not a JSON object."""
    try:
        rows = _parse_lines(lines)
    except (ValueError, RecursionError):
        rows = [_parse_line(line) for line in lines.split("\n")]
    return _with_times(rows)


def raw(lines: str) -> list[Row]:
    """Returns rows with the payload's bytes under `data`."""
    rows = _with_times(_parse_lines(lines))
    for row in rows:
        row["data"] = a2b_base64(row.pop("data_base64"))
    return rows


class Rows(list[Row]):
    """Rows of one shard, in the order of their sequence numbers."""


def chunks(lines: str, to_rows: Callable[[str], list[Row]], size: int) -> Iterator[Rows]:
    """Yields lists of `size` rows.

    Rows of one record stay in one list, however long that makes it, because dlt's state can only express positions
    between records. A record that the batch holds only a part of is still cut.
    """
    rows, end = Rows(), size
    for some in slices(lines):
        rows += to_rows(some)
        while end < len(rows):
            end = _end_of_record(rows, end)
            if end < len(rows):
                yield Rows(rows[:end])
                rows, end = Rows(rows[end:]), size
    if rows:
        yield rows


def _end_of_record(rows: Rows, end: int) -> int:
    """Returns the end of the record that the row before `end` belongs to."""
    record = rows[end - 1]["_kinesis"]["seq_no"]
    while end < len(rows) and "sub_seq" in (envelope := rows[end]["_kinesis"]) and envelope["seq_no"] == record:
        end += 1
    return end


def _with_times(rows: list[Row]) -> list[Row]:
    """Parses the arrival times, such as `2025-11-23T12:13:20.123Z`."""
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
    """Returns a function that makes times within this second, which neighbouring rows often share."""
    at = datetime.fromisoformat(text)
    return functools.partial(pendulum.DateTime, at.year, at.month, at.day, at.hour, at.minute, at.second)


def _parse_lines(lines: str) -> list[Row]:
    """Parses all lines in one call."""
    rows: list[Row] = loads("".join(("[", lines.replace("\n", ","), "]")))
    return rows


def _parse_line(line: str) -> Row:
    try:
        row: Row = loads(line)
        return row
    except (ValueError, RecursionError):
        return _as_text(line)


def _as_text(line: str) -> Row:
    """Makes a row of a payload that is valid JSON but beyond dlt's parser, such as `1e400` or an unpaired surrogate."""
    decoder = json.JSONDecoder()
    envelope, end = decoder.raw_decode(line, len('{"_kinesis":'))
    message_id, end = decoder.raw_decode(line, end + len(',"_kinesis_msg_id":'))
    return {"_kinesis": envelope, "_kinesis_msg_id": message_id, "data": "{" + line[end + 1 :]}
