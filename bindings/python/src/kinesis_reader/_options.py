"""What a caller may ask for, checked once and made a configuration of the component's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from typing import Any, Literal

from ._component import Component, change, variant
from ._errors import OptionError
from ._printable import printable, shown

Start = str | int | float | datetime | timedelta
"""Where the first run begins: `"trim-horizon"`, `"latest"`, a time, or a length of time ago.

A time is a `datetime` with a time zone, RFC 3339 text as in `"2025-11-23T12:00:00Z"`, a date at 00:00 UTC, or Unix
seconds. A length of time is a `timedelta`, or text as in `"1h ago"`, `"90s"`, `"1h30m"`, `"2d"`, `"PT1H"`.
"""

Until = str | int | float | datetime
"""When to stop: `"caught-up"`, `"forever"`, or a time, written as for `Start`; a length of time ends with `ago`."""

Payload = Literal["merged", "json", "text", "base64"]
"""How data appears in a message.

`merged` puts the members of a JSON object beside the envelope and any other JSON value under `data`; `json` puts every
JSON value under `data`; `text` puts UTF-8 text under `data`; `base64` puts any bytes, as base64, under `data_base64`.
Data that is not valid in the chosen form appears as text under `data`, or as base64 under `data_base64`.
"""

MessageId = Literal["sha256", "dlt"]
"""How `_kinesis_msg_id` is made: of SHA-256, or as dlt's Kinesis source makes it."""

Pace = int | Literal["off"]
"""The share of what Kinesis allows on a shard that may be used, in percent, 1 to 100; `"off"` suits emulators."""

OnGap = Literal["continue", "fail"]
"""What follows where records left the stream before they were read, by age or with the stream.

`continue`: a warning of the logger `kinesis_reader`, an entry in `gaps`, and reading goes on from what is left. `fail`:
`ReadError`, and the state stays before the gap, so that the next run finds it again.
"""

Recreated = Literal["refuse", "follow"]
"""What follows where the stream is another than the state's, deleted and made again under its name.

`refuse`: `ReadError`, before anything is read. `follow`: the new stream is read from its oldest record, and what was
unread of the old one is a gap.
"""

PAYLOADS = ("merged", "json", "text", "base64")
MESSAGE_IDS = ("sha256", "dlt")
ON_GAP = ("continue", "fail")
RECREATED = ("refuse", "follow")

SECONDS_MAX = 99_999_999_999
"""The year 5138; milliseconds since 1970 have been more than this since 1973."""


BATCH_BYTES = 32 << 20
"""Bytes of the lines of a batch. It is taken out of the component whole, as text of which Python may store each character
in four bytes; and a full page of plain records, which has 10 MiB of data, is still one batch."""


@dataclass(frozen=True)
class Options:
    """What to read and how. A field that is `None` is as the component has it."""

    stream: str
    start: Start
    until: Until
    behind: str | timedelta | None
    max_messages: int | None
    page_records: int | None
    pace: Pace | None
    payload: str
    message_id: str
    deaggregate: bool | None = None
    on_gap: str = "continue"
    recreated: str = "refuse"

    def config(self, component: Component, now: float) -> Any:
        """The component's configuration. `now` is the time, in Unix seconds."""
        config = component.defaults(self.stream)
        until = _until(self.until, self.behind, now)
        start = _start(self.start, now)
        ends = until.payload if until.tag == "time" else None
        begins = {"trim-horizon": 0, "latest": int(now * 1000)}.get(start.tag, start.payload)
        if ends is not None and ends <= begins:
            raise OptionError(
                f"until is not after start: {printable(self.until)}", "give an end that is later than the start"
            )
        change(
            config,
            {
                "start": start,
                "until": until,
                "payload": _one_of("payload", self.payload, PAYLOADS),
                "message-id": _one_of("message_id", self.message_id, MESSAGE_IDS),
                "on-gap": _one_of("on_gap", self.on_gap, ON_GAP),
                "recreated": _one_of("recreated", self.recreated, RECREATED),
            },
        )
        if self.deaggregate is not None:
            change(config, {"deaggregate": bool(self.deaggregate)})
        change(config.limits, self._limits())
        return config

    def _limits(self) -> Mapping[str, Any]:
        limits: dict[str, Any] = {"batch-bytes": BATCH_BYTES}
        if self.max_messages is not None:
            limits["max-messages"] = _whole("max_messages", self.max_messages, 1, 2**64 - 1)
        if self.page_records is not None:
            limits["page-records"] = _whole("page_records", self.page_records, 1, 10_000)
        if self.pace == "off":
            limits["pace"] = None
        elif self.pace is not None:
            limits["pace"] = _whole("pace", self.pace, 1, 100, ' or "off"')
        return limits


def check_stream(stream: object) -> str:
    """The name or ARN of a stream. What is wrong with the text itself, the component tells."""
    if not isinstance(stream, str) or not stream:
        raise OptionError(f"not the name or the ARN of a stream: {shown(stream)}", _STREAM)
    if stream.startswith("arn:"):
        if not _ARN.fullmatch(stream):
            raise OptionError(
                f"not the ARN of a stream: {printable(stream)}",
                "it looks like arn:aws:kinesis:us-east-1:123456789012:stream/orders",
            )
    elif not _NAME.fullmatch(stream):
        raise OptionError(f"not the name of a stream: {printable(stream)}", _STREAM)
    return stream


_STREAM = "a name has 1 to 128 of a-z, A-Z, 0-9, `_`, `.` and `-`"
_NAME = re.compile(r"[a-zA-Z0-9_.-]{1,128}")
_ARN = re.compile(r"arn:aws[a-z0-9-]*:kinesis:[a-z0-9-]+:[0-9]{12}:stream/[a-zA-Z0-9_.-]{1,128}")


def _start(start: Start, now: float) -> Any:
    word = _word(start)
    if word in ("trim-horizon", "latest"):
        return variant(word)
    if isinstance(start, timedelta):
        time = _ago(start, now, "start", start)
    else:
        time = _time("start", start, now, bare_length=True)
    if time > round(now * 1000):
        raise OptionError(f"start is in the future: {printable(start)}", 'use "latest" for what arrives from now on')
    return variant("at-timestamp", time)


def _until(until: Until, behind: str | timedelta | None, now: float) -> Any:
    word = _word(until)
    if word == "caught-up":
        lag = timedelta() if behind is None else _behind(behind)
        return variant("caught-up", int(lag.total_seconds() * 1000))
    if behind is not None:
        hint = 'it says what counts as caught up; leave it out, or use until="caught-up"'
        raise OptionError(f"behind has no meaning with this end: {printable(until)}", hint)
    if word == "forever":
        return variant("stopped")
    # A plain length of time could mean that long ago as well as for that long.
    return variant("time", _time("until", until, now, bare_length=False))


def _word(value: object) -> str | None:
    return value.strip().lower().replace("_", "-") if isinstance(value, str) else None


def _behind(behind: str | timedelta) -> timedelta:
    length = behind if isinstance(behind, timedelta) else _length(behind)
    if length is None or length < timedelta():
        raise OptionError(
            f"not a length of time for behind: {printable(behind)}", "write 90s, 15m, 1h30m or PT1H, or a timedelta"
        )
    return length


def _time(name: str, value: Until, now: float, bare_length: bool) -> int:
    """A time in milliseconds since the Unix epoch."""
    if isinstance(value, str):
        text = value.strip()
        if re.fullmatch(r"\d+(\.\d+)?", text):
            return _unix(name, float(text))
        ago = re.fullmatch(r"(.*?)[ _-]*ago", text, re.IGNORECASE)
        length = _length(ago[1]) if ago else _length(text) if bare_length else None
        if length is not None:
            return _ago(length, now, name, value)
        try:
            if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
                day = date.fromisoformat(text)
                value = datetime(day.year, day.month, day.day, tzinfo=timezone.utc)
            else:
                value = datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", text))
        except ValueError:
            raise OptionError(f"not a time for {name}: {shown(text)}", _times(name)) from None
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise OptionError(
                f"a time without a time zone for {name}: {printable(value)}",
                "end it with Z, or give datetime(…, tzinfo=timezone.utc)",
            )
        return _unix(name, value.timestamp())
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return _unix(name, value)
    raise OptionError(f"not a time for {name}: {shown(value)}", _times(name))


def _times(name: str) -> str:
    words = '"trim-horizon", "latest"' if name == "start" else '"caught-up", "forever"'
    return f'give {words}, a datetime, "2025-11-23T12:00:00Z", "2025-11-23", Unix seconds, or "1h ago"'


def _unix(name: str, seconds: float) -> int:
    if seconds > SECONDS_MAX:
        raise OptionError(f"too large for seconds: {name}={printable(seconds)}", "divide milliseconds by 1000")
    if not seconds >= 0:
        raise OptionError(f"before 1970: {name}={printable(seconds)}", _times(name))
    return round(seconds * 1000)


def _ago(length: timedelta, now: float, name: str, value: object) -> int:
    seconds = now - length.total_seconds()
    if length < timedelta() or seconds < 0:
        raise OptionError(f"not a length of time ago for {name}: {printable(value)}", _times(name))
    return round(seconds * 1000)


_SECONDS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1, "ms": 0.001}
_PART = r"(\d+(?:\.\d+)?)\s*(ms|w|d|h|m|s|(?:week|day|hour|minute|min|second|sec)s?)\s*"
_PARTS = re.compile(f"({_PART})+", re.IGNORECASE)
_ISO = re.compile(r"P(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?", re.IGNORECASE)


def _length(text: object) -> timedelta | None:
    """A length of time: `90s`, `1h30m`, `2d`, `1 hour`, `PT1H`. `None`: it is nothing like it."""
    if not isinstance(text, str):
        return None
    try:
        return _length_of(text.strip())
    except OverflowError:
        return None


def _length_of(text: str) -> timedelta | None:
    iso = _ISO.fullmatch(text)
    if iso and any(iso.groups()):
        weeks, days, hours, minutes, seconds = (float(part or 0) for part in iso.groups())
        return timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)
    if not _PARTS.fullmatch(text):
        return None
    parts = re.findall(_PART, text.lower())
    return timedelta(seconds=sum(float(number) * _SECONDS[unit if unit == "ms" else unit[0]] for number, unit in parts))


def _whole(name: str, value: object, least: int, most: int, other: str = "") -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise OptionError(f"{name} is {shown(value)}", f"give a whole number from {least} to {most}{other}")
    return value


def _one_of(name: str, value: str, words: tuple[str, ...]) -> str:
    if value not in words:
        raise OptionError(f"{name} is {shown(value)}", f"give one of {', '.join(words)}")
    return value
