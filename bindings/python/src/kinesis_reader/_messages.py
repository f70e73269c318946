"""Lines to messages: each line is one JSON object."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any

Message = dict[str, Any]
"""A message: its envelope under `_kinesis`, its identifier under `_kinesis_msg_id`, and its payload."""

Loads = Callable[[str], Any]
"""A parser of JSON."""

WHOLE = ("json", "orjson")
"""Modules whose parsers make of an array what they make of its elements."""

TOGETHER = 40_000
"""Characters of lines that are parsed at a time. Line by line costs a call each; a whole page at once costs more, for
so many objects that live at the same time leave the processor's caches, and set the garbage collector to work."""


def split(lines: str) -> list[str]:
    """Whole lines, each without its end. `str.splitlines` would split at more than line feeds."""
    split = lines.split("\n")
    split.pop()
    return split


def slices(lines: str) -> Iterator[str]:
    """Whole lines in parts of some, the last of each without its end."""
    start = 0
    while start < len(lines):
        end = lines.index("\n", min(start + TOGETHER, len(lines) - 1))
        yield lines[start:end]
        start = end + 1


def parse(lines: str, loads: Loads) -> Iterator[list[Message]]:
    """The messages of whole lines, some at a time."""
    return (_parse_some(some, loads) for some in slices(lines))


def _parse_some(lines: str, loads: Loads) -> list[Message]:
    try:
        if getattr(loads, "__module__", None) in WHOLE:
            messages: list[Message] = loads("".join(("[", lines.replace("\n", ","), "]")))
            return messages
        return list(map(loads, lines.split("\n")))
    except (ValueError, RecursionError):
        return [_parse_one(line, loads) for line in lines.split("\n")]


def _parse_one(line: str, loads: Loads) -> Message:
    """A message, and where its payload is beyond Python's parser, as one nested thousands deep, the payload as text."""
    for parser in (loads, json.loads):
        with contextlib.suppress(ValueError, RecursionError):
            message: Message = parser(line)
            return message
    decoder = json.JSONDecoder()
    envelope, end = decoder.raw_decode(line, len('{"_kinesis":'))
    identifier, end = decoder.raw_decode(line, end + len(',"_kinesis_msg_id":'))
    return {"_kinesis": envelope, "_kinesis_msg_id": identifier, "data": "{" + line[end + 1 :]}
