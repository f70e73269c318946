"""The options of `read` and its siblings, checked once and turned into the component's configuration."""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import date, datetime, timedelta, timezone
from typing import Any, Literal, TypedDict, get_args

from ._component import Component, change, variant
from ._errors import OptionError
from ._invalid_records import OnInvalidRecords
from ._messages import Loads
from ._printable import printable, shown
from ._state import AsyncState, State

Start = str | int | float | datetime | timedelta
"""Where the first run begins: `"trim-horizon"`, `"latest"`, a time, or how long ago.

A time is a `datetime` with a time zone, RFC 3339 as in `"2025-11-23T12:00:00Z"`, a date at 00:00 UTC, or Unix seconds.
How long ago is a `timedelta`, or text such as `"1h ago"`, `"90s"`, `"1h30m"`, `"2d"` or `"PT1H"`.
"""

Until = str | int | float | datetime
"""When a run ends: `"caught-up"`, `"forever"`, or a time as in `Start`, where how long ago ends with `ago`."""

Duration = str | int | float | timedelta
"""A `timedelta`, seconds, or text such as `"90s"`, `"15m"`, `"1h30m"`, `"2d"` or `"PT1H"`."""

Payload = Literal["merged", "json", "text", "base64"]
"""How a message shows its data.

`merged` puts the members of a JSON object beside the envelope, and any other JSON value under `data`. `json` puts a
JSON value under `data`. `text` puts UTF-8 text under `data`. `base64` puts any bytes under `data_base64`. A message
whose data is not in this form is an invalid record: it has `data` if its data is text, or else `data_base64`.
"""

MessageId = Literal["sha256", "dlt"]
"""How `_kinesis_msg_id` is made: with SHA-256, or as dlt's Kinesis source does."""

Pace = int | Literal["off"]
"""The share to use of Kinesis's limits on reading a shard, in percent, from 1 to 100. `"off"` suits emulators."""

OnGap = Literal["continue", "fail"]
"""What to do if records left the stream before they were read.

`continue` logs a warning, adds to `gaps`, and continues with the records that are left. `fail` ends this run, and every
later one, with a `ReadError` before the gap.
"""

Recreated = Literal["refuse", "follow"]
"""What to do if the stream was deleted and created again under its name.

`refuse` ends the run with a `ReadError` before anything is read. `follow` reads the new stream from its oldest record;
the unread records of the old one are a gap.
"""

SECONDS_MAX = 99_999_999_999
"""Unix seconds in the year 5138. Milliseconds have been larger than this since 1973, so larger numbers are mistakes."""

BATCH_BYTES = 32 << 20
"""Bytes of lines per batch. A batch is taken out of the component as a whole, as text of which Python may store each
character in four bytes. A full page of plain records, with 10 MiB of data, still fits in one batch."""


class _CommonOptions(TypedDict, total=False):
    start: Start
    until: Until
    behind: Duration | None
    max_messages: int | None
    page_records: int | None
    pace: Pace | None
    idle_interval: Duration | None
    payload: Payload
    message_id: MessageId
    deaggregate: bool
    on_gap: OnGap
    recreated: Recreated
    invalid_records: str | os.PathLike[str] | OnInvalidRecords | None
    loads: Loads
    region: str | None
    profile: str | None
    endpoint_url: str | None
    session: Any


class ReadOptions(_CommonOptions, total=False):
    """The options of `read` and `read_batches`. All are optional.

    Attributes:
        start: Where the first run begins; later runs continue from `state`. See `Start`. Default: `"trim-horizon"`, the
            oldest record.
        until: When the run ends. See `Until`. Default: `"caught-up"`, where the tip was when the run began.
        behind: The lag that counts as caught up. See `Duration`. Default: 0.
        state: Where to keep the checkpoint, so that the next run continues from there: the path of a file, or an object
            with `load() -> str | None` and `save(checkpoint)`. Default: nowhere, so that each run begins at `start`.
        max_messages: Ends the run after exactly this many messages. Default: no maximum.
        page_records: Records to request per page, from 1 to 10,000. Default: 10,000.
        pace: The share to use of Kinesis's limits on reading a shard, in percent, or `"off"`. The limits are five calls
            and 2 MiB a second, shared by all readers of the shard. Default: 80.
        idle_interval: How often to look for new records in a shard that was read to its tip. See `Duration`. Default: a
            second.
        payload: How a message shows its data. See `Payload`. Default: `"merged"`.
        message_id: How to make `_kinesis_msg_id`. See `MessageId`. Default: `"sha256"`.
        deaggregate: Whether to split aggregated records of the Kinesis Producer Library into their user records, whose
            envelopes have the subsequence number as `sub_seq`. Default: `True`.
        on_gap: What to do if records left the stream before they were read. See `OnGap`. Default: `"continue"`.
        recreated: What to do if the stream was recreated. See `Recreated`. Default: `"refuse"`.
        invalid_records: Also receives the messages whose data is not in the form of `payload`, before their page is
            delivered: the path of a file to append to, or a callable. It receives lines with the reason under
            `_kinesis_reason`. An error of the callable ends the run, and the next run delivers the page again.
        loads: Parses a line into a message. `orjson.loads` takes half the time, and rounds integers of more than 64
            bits. Default: `json.loads`.
        region, profile, endpoint_url: As for the AWS command line. Default: found as the AWS command line does.
        session: A boto3 or botocore session with credentials and settings. Default: a new one.
    """

    state: str | os.PathLike[str] | State | None


class AsyncReadOptions(_CommonOptions, total=False):
    """The options of `aread` and `aread_batches`: those of `ReadOptions`.

    `load` and `save` of a state may also be coroutine functions.
    """

    state: str | os.PathLike[str] | State | AsyncState | None


@dataclass(frozen=True)
class Options:
    """All options, with their defaults. `None` leaves the choice to the component or botocore."""

    start: Start = "trim-horizon"
    until: Until = "caught-up"
    behind: Duration | None = None
    state: str | os.PathLike[str] | State | AsyncState | None = None
    max_messages: int | None = None
    page_records: int | None = None
    pace: Pace | None = None
    idle_interval: Duration | None = None
    payload: Payload = "merged"
    message_id: MessageId = "sha256"
    deaggregate: bool = True
    on_gap: OnGap = "continue"
    recreated: Recreated = "refuse"
    invalid_records: str | os.PathLike[str] | OnInvalidRecords | None = None
    loads: Loads = json.loads
    region: str | None = None
    profile: str | None = None
    endpoint_url: str | None = None
    session: Any = None

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Options:
        """Refuses unknown options. Values are checked where they are used."""
        known = [field.name for field in fields(cls)]
        for name in options:
            if name not in known:
                similar = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {similar[0]}?" if similar else f"the options are {', '.join(sorted(known))}"
                raise OptionError(f"unknown option: {printable(name)}", hint)
        return cls(**options)

    def config(self, component: Component, stream: str, now: float) -> Any:
        """Returns the component's configuration. `now` is the time in Unix seconds."""
        config = component.defaults(stream)
        until = _until(self.until, self.behind, now)
        start = _start(self.start, now)
        ends = until.payload if until.tag == "time" else None
        begins = {"trim-horizon": 0, "latest": int(now * 1000)}.get(start.tag, start.payload)
        if ends is not None and ends <= begins:
            raise OptionError(
                f"until is not after start: {printable(self.until)}", "use an end that is after the start"
            )
        change(
            config,
            {
                "start": start,
                "until": until,
                "payload": _choice("payload", self.payload, get_args(Payload)),
                "message-id": _choice("message_id", self.message_id, get_args(MessageId)),
                "deaggregate": bool(self.deaggregate),
                "on-gap": _choice("on_gap", self.on_gap, get_args(OnGap)),
                "recreated": _choice("recreated", self.recreated, get_args(Recreated)),
            },
        )
        change(config.limits, self._limits())
        return config

    def _limits(self) -> Mapping[str, Any]:
        limits: dict[str, Any] = {"batch-bytes": BATCH_BYTES}
        if self.max_messages is not None:
            limits["max-messages"] = _whole_number("max_messages", self.max_messages, 1, 2**64 - 1)
        if self.page_records is not None:
            limits["page-records"] = _whole_number("page_records", self.page_records, 1, 10_000)
        if self.pace == "off":
            limits["pace"] = None
        elif self.pace is not None:
            limits["pace"] = _whole_number("pace", self.pace, 1, 100, ' or "off"')
        if self.idle_interval is not None:
            limits["idle-interval"] = _milliseconds("idle_interval", self.idle_interval)
        return limits


def check_stream(stream: object) -> str:
    """Returns the name or ARN of a stream, if it is one."""
    if not isinstance(stream, str) or not stream:
        raise OptionError(f"not the name or ARN of a stream: {shown(stream)}", _HINT_STREAM)
    if stream.startswith("arn:"):
        if not _ARN.fullmatch(stream):
            raise OptionError(
                f"not the ARN of a stream: {printable(stream)}",
                "ARNs of streams look like arn:aws:kinesis:us-east-1:123456789012:stream/orders",
            )
    elif not _NAME.fullmatch(stream):
        raise OptionError(f"not the name of a stream: {printable(stream)}", _HINT_STREAM)
    return stream


_HINT_STREAM = "a name has 1 to 128 of the characters a-z, A-Z, 0-9, `_`, `.` and `-`"
_NAME = re.compile(r"[a-zA-Z0-9_.-]{1,128}")
_ARN = re.compile(r"arn:aws[a-z0-9-]*:kinesis:[a-z0-9-]+:[0-9]{12}:stream/[a-zA-Z0-9_.-]{1,128}")


def _start(start: Start, now: float) -> Any:
    keyword = _keyword(start)
    if keyword in ("trim-horizon", "latest"):
        return variant(keyword)
    if isinstance(start, timedelta):
        time = _ago("start", start, now, start)
    else:
        time = _time("start", start, now, bare_duration=True)
    if time > round(now * 1000):
        raise OptionError(
            f"start is in the future: {printable(start)}", 'use "latest" to read what arrives from now on'
        )
    return variant("at-timestamp", time)


def _until(until: Until, behind: Duration | None, now: float) -> Any:
    keyword = _keyword(until)
    if keyword == "caught-up":
        return variant("caught-up", 0 if behind is None else _milliseconds("behind", behind))
    if behind is not None:
        hint = 'leave out behind, or use until="caught-up"'
        raise OptionError(f"behind cannot be combined with until: {printable(until)}", hint)
    if keyword == "forever":
        return variant("stopped")
    # A bare duration could mean "that long ago" as well as "for that long".
    return variant("time", _time("until", until, now, bare_duration=False))


def _keyword(value: object) -> str | None:
    """Returns a keyword in its usual form: AWS writes TRIM_HORIZON."""
    return value.strip().lower().replace("_", "-") if isinstance(value, str) else None


def _milliseconds(name: str, value: Duration) -> int:
    duration = value if isinstance(value, timedelta) else _duration(value)
    if duration is None or duration < timedelta():
        raise OptionError(
            f"not a duration for {name}: {shown(value)}", "use a timedelta, seconds, or text such as 90s, 15m or 1h30m"
        )
    return int(duration.total_seconds() * 1000)


def _time(name: str, value: Until, now: float, bare_duration: bool) -> int:
    """Parses a time into milliseconds since the Unix epoch."""
    if isinstance(value, str):
        text = value.strip()
        if re.fullmatch(r"\d+(\.\d+)?", text):
            return _unix(name, float(text))
        ago = re.fullmatch(r"(.*?)[ _-]*ago", text, re.IGNORECASE)
        duration = _parse_duration(ago[1]) if ago else _parse_duration(text) if bare_duration else None
        if duration is not None:
            return _ago(name, duration, now, value)
        try:
            if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
                day = date.fromisoformat(text)
                value = datetime(day.year, day.month, day.day, tzinfo=timezone.utc)
            else:
                value = datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", text))
        except ValueError:
            raise OptionError(f"not a time for {name}: {shown(text)}", _time_hint(name)) from None
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise OptionError(
                f"no time zone in {name}: {printable(value)}", "end it with Z, or use datetime(…, tzinfo=timezone.utc)"
            )
        return _unix(name, value.timestamp())
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return _unix(name, value)
    raise OptionError(f"not a time for {name}: {shown(value)}", _time_hint(name))


def _time_hint(name: str) -> str:
    keywords = '"trim-horizon", "latest"' if name == "start" else '"caught-up", "forever"'
    return f'use {keywords}, a datetime, "2025-11-23T12:00:00Z", "2025-11-23", Unix seconds, or "1h ago"'


def _unix(name: str, seconds: float) -> int:
    if seconds > SECONDS_MAX:
        raise OptionError(f"{name} is too large for seconds: {printable(seconds)}", "divide milliseconds by 1000")
    if not seconds >= 0:
        raise OptionError(f"{name} is before 1970: {printable(seconds)}", _time_hint(name))
    return round(seconds * 1000)


def _ago(name: str, duration: timedelta, now: float, value: object) -> int:
    seconds = now - duration.total_seconds()
    if duration < timedelta():
        raise OptionError(f"negative duration for {name}: {printable(value)}", _time_hint(name))
    if seconds < 0:
        raise OptionError(f"{name} is before 1970: {printable(value)}", _time_hint(name))
    return round(seconds * 1000)


_SECONDS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1, "ms": 0.001}
_PART = r"(\d+(?:\.\d+)?)\s*(ms|w|d|h|m|s|(?:week|day|hour|minute|min|second|sec)s?)\s*"
_PARTS = re.compile(f"({_PART})+", re.IGNORECASE)
_ISO_8601 = re.compile(r"P(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?", re.IGNORECASE)


def _duration(value: object) -> timedelta | None:
    """Converts seconds or text. Returns `None` if it is neither."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return _parse_duration(value)
    try:
        return timedelta(seconds=value)
    except (OverflowError, ValueError):
        return None


def _parse_duration(text: object) -> timedelta | None:
    """Parses a duration such as `90s`, `1h30m`, `2d`, `1 hour` or `PT1H`. Returns `None` if it is not one."""
    if not isinstance(text, str):
        return None
    text = text.strip()
    try:
        iso = _ISO_8601.fullmatch(text)
        if iso and any(iso.groups()):
            weeks, days, hours, minutes, seconds = (float(part or 0) for part in iso.groups())
            return timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)
        if not _PARTS.fullmatch(text):
            return None
        parts = re.findall(_PART, text.lower())
        total = sum(float(number) * _SECONDS[unit if unit == "ms" else unit[0]] for number, unit in parts)
        return timedelta(seconds=total)
    except OverflowError:
        return None


def _whole_number(name: str, value: object, least: int, most: int, alternative: str = "") -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise OptionError(f"invalid {name}: {shown(value)}", f"use a whole number from {least} to {most}{alternative}")
    return value


def _choice(name: str, value: str, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise OptionError(f"invalid {name}: {shown(value)}", f"use one of {', '.join(choices)}")
    return value
