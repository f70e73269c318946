"""What may be asked for, and how it is refused."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from kinesis_reader import OptionError, read
from kinesis_reader._component import Component
from kinesis_reader._options import Options

NOW = datetime(2025, 11, 23, 12, tzinfo=timezone.utc)


def config(**changes: Any) -> Any:
    options: dict[str, Any] = {
        "stream": "orders",
        "start": "trim-horizon",
        "until": "caught-up",
        "behind": None,
        "max_messages": None,
        "page_records": None,
        "pace": None,
        "payload": "merged",
        "message_id": "sha256",
    }
    return Options(**(options | changes)).config(Component(), NOW.timestamp())


def ago(**length: float) -> int:
    return int((NOW - timedelta(**length)).timestamp() * 1000)


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        ("1h ago", ago(hours=1)),
        ("1h30m", ago(minutes=90)),
        ("90s", ago(seconds=90)),
        ("2 days ago", ago(days=2)),
        ("1 hour 5 min ago", ago(minutes=65)),
        ("250ms", ago(milliseconds=250)),
        ("PT1H", ago(hours=1)),
        ("P1DT12H ago", ago(hours=36)),
        (timedelta(weeks=1), ago(weeks=1)),
        ("2025-11-23", ago(hours=12)),
        ("2025-11-23T11:00:00Z", ago(hours=1)),
        ("2025-11-23T13:00:00+02:00", ago(hours=1)),
        (NOW - timedelta(hours=3), ago(hours=3)),
        (1763895600, 1763895600000),
        (1763895600.5, 1763895600500),
        ("1763895600.5", 1763895600500),
    ],
)
def test_starts(start: Any, expected: int) -> None:
    got = config(start=start).start
    assert (got.tag, got.payload) == ("at-timestamp", expected)


def test_words_are_taken_as_aws_writes_them() -> None:
    assert config(start="TRIM_HORIZON").start.tag == "trim-horizon"
    assert config(start="LATEST").start.tag == "latest"
    assert config(until="forever").until.tag == "stopped"
    assert config(until="caught_up", behind="1m").until.payload == 60_000
    assert config(until="2025-11-24").until.payload == ago(hours=-12)


def test_what_is_not_given_is_as_the_component_has_it() -> None:
    component = Component()
    given, whole = config(), component.defaults("orders")
    # What is taken out of the component at once is bounded by what it takes in Python.
    assert vars(given.limits) == vars(whole.limits) | {"batch-bytes": 32 << 20} and given.wire == "json"
    changed = config(max_messages=7, page_records=9, pace=50)
    limits = vars(changed.limits)
    assert (limits["messages"], limits["page-records"], limits["pace"]) == (7, 9, 50)
    assert vars(config(pace="off").limits)["pace"] is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"start": "yesterday"}, "not a time for start: 'yesterday'"),
        ({"start": "1 fortnight ago"}, "not a time for start"),
        ({"start": datetime(2025, 1, 1)}, "a time without a time zone for start"),
        ({"start": "2025-01-01T00:00:00"}, "a time without a time zone for start"),
        ({"start": "2025-13-01"}, "not a time for start"),
        ({"start": "2999-01-01"}, "start is in the future"),
        ({"start": 1763895600000}, "too large for seconds"),
        ({"start": -1}, "before 1970"),
        ({"start": float("nan")}, "before 1970"),
        ({"start": None}, "not a time for start: None"),
        ({"start": True}, "not a time for start: True"),
        ({"start": 10**5000}, "too large for seconds: start=int that is too long to show"),
        ({"start": "9" * 5000}, "too large for seconds: start=inf"),
        ({"start": "9" * 400 + "w"}, "not a time for start: '999"),
        ({"start": f"PT{'9' * 400}S ago"}, "not a time for start: 'PT999"),
        ({"start": "1" * 100_000 + "x"}, "characters more)"),
        ({"until": "1h"}, "not a time for until: '1h'"),
        ({"until": "1h ago"}, "until is not after start"),
        ({"until": "forever", "behind": "1m"}, "behind has no meaning"),
        ({"behind": "soon"}, "not a length of time for behind: soon"),
        ({"behind": "9" * 20 + "h"}, "not a length of time for behind: 999"),
        ({"max_messages": 0}, "max_messages is 0"),
        ({"page_records": 10_001}, "page_records is 10001"),
        ({"page_records": 1.5}, "page_records is 1.5"),
        ({"pace": 101}, "pace is 101"),
        ({"pace": 10**5000}, "pace is int that is too long to show"),
        ({"pace": "fast"}, "pace is 'fast'"),
        ({"payload": "xml"}, "payload is 'xml'"),
        ({"message_id": "uuid"}, "message_id is 'uuid'"),
        ({"state": 7}, "not a state: 7"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_a_hint(options: dict[str, Any], words: str) -> None:
    if options.get("until") == "1h ago":
        options = {"start": "30m ago", **options}
    with pytest.raises(OptionError) as raised:
        read("orders", endpoint_url="http://127.0.0.1:9", **options)
    assert words in str(raised.value) and "\nhint: " in str(raised.value)


@pytest.mark.parametrize(
    "stream", ["", "a b", "x" * 129, "arn:aws:sqs:us-east-1:000000000000:orders", "arn:aws:kinesis:stream/x", None]
)
def test_what_is_no_stream_is_refused(stream: Any) -> None:
    with pytest.raises(OptionError, match=r"not the (name|ARN)") as raised:
        read(stream)
    assert raised.value.hint
