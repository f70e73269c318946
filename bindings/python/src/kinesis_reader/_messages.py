"""Parses lines into messages. Each line is one JSON object."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any

Message = dict[str, Any]
"""A message: its envelope under `_kinesis`, its message id under `_kinesis_msg_id`, and its payload."""

Loads = Callable[[str], Any]
"""A JSON parser."""

ARRAY_PARSERS = ("json", "orjson")
"""Modules whose parsers give the elements of an array the same values as they give each one alone."""

SLICE_SIZE = 40_000
"""Characters of lines to parse at a time. One call per line is slow. A whole page at once is slower still: so many live
objects leave the processor's caches and trigger the garbage collector."""


def split(lines: str) -> list[str]:
    """Splits whole lines. `str.splitlines` would also split at other characters than line feeds."""
    parts = lines.split("\n")
    parts.pop()
    return parts


def slices(lines: str) -> Iterator[str]:
    """Splits text into slices of whole lines, each without its final line feed."""
    start = 0
    while start < len(lines):
        end = lines.index("\n", min(start + SLICE_SIZE, len(lines) - 1))
        yield lines[start:end]
        start = end + 1


def parse(lines: str, loads: Loads) -> Iterator[list[Message]]:
    """Parses whole lines, some at a time."""
    return (_parse_slice(some, loads) for some in slices(lines))


def _parse_slice(lines: str, loads: Loads) -> list[Message]:
    try:
        if getattr(loads, "__module__", None) in ARRAY_PARSERS:
            messages: list[Message] = loads("".join(("[", lines.replace("\n", ","), "]")))
            return messages
        return list(map(loads, lines.split("\n")))
    except (ValueError, RecursionError):
        return [_parse_line(line, loads) for line in lines.split("\n")]


def _parse_line(line: str, loads: Loads) -> Message:
    """Parses one line. If Python's parser fails too, as on thousands of nested arrays, the payload remains text."""
    for parser in (loads, json.loads):
        with contextlib.suppress(ValueError, RecursionError):
            message: Message = parser(line)
            return message
    decoder = json.JSONDecoder()
    envelope, end = decoder.raw_decode(line, len('{"_kinesis":'))
    message_id, end = decoder.raw_decode(line, end + len(',"_kinesis_msg_id":'))
    return {"_kinesis": envelope, "_kinesis_msg_id": message_id, "data": "{" + line[end + 1 :]}
