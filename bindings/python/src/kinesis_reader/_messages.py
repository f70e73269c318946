"""Lines to messages: each line is one JSON object, and every message comes out as `json.loads` makes it."""

from __future__ import annotations

import json
from typing import Any

Message = dict[str, Any]


def parse(lines: str) -> list[Message]:
    """The messages of whole lines, parsed at once, which is faster: a line has no line break in it but at its end."""
    try:
        messages: list[Message] = json.loads(f"[{lines[:-1].replace(chr(10), ',')}]")
        return messages
    except (ValueError, RecursionError):
        return [_parse_one(line) for line in lines.splitlines()]


def _parse_one(line: str) -> Message:
    """A message, and where its payload is beyond Python's parser, as one nested thousands deep, the payload as text."""
    try:
        message: Message = json.loads(line)
        return message
    except (ValueError, RecursionError):
        decoder = json.JSONDecoder()
        envelope, end = decoder.raw_decode(line, len('{"_kinesis":'))
        end += len(',"_kinesis_msg_id":')
        identifier, end = decoder.raw_decode(line, end)
        return {"_kinesis": envelope, "_kinesis_msg_id": identifier, "data": "{" + line[end + 1 :]}
