"""What the options accept, and how invalid ones are refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import fields
from datetime import datetime, timedelta, timezone
from typing import Any, get_type_hints

import pytest
from conftest import CHECKOUT

from kinesis_reader import (
    AsyncReadOptions,
    OptionError,
    ReadOptions,
    aread,
    aread_batches,
    read,
    read_batches,
)
from kinesis_reader._component import Component
from kinesis_reader._options import Options

NOW = datetime(2025, 11, 23, 12, tzinfo=timezone.utc)


def config(**options: Any) -> Any:
    return Options.of(options).config(Component(), "orders", NOW.timestamp())


def ago(**duration: float) -> int:
    return int((NOW - timedelta(**duration)).timestamp() * 1000)


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
def test_a_start_can_be_written_in_several_ways(start: Any, expected: int) -> None:
    parsed = config(start=start).start
    assert (parsed.tag, parsed.payload) == ("at-timestamp", expected)


@pytest.mark.parametrize("behind", ["90s", "1m30s", "PT90S", 90, 90.0, timedelta(seconds=90)])
def test_a_duration_can_be_written_in_several_ways(behind: Any) -> None:
    until = config(behind=behind).until
    assert (until.tag, until.payload) == ("caught-up", 90_000)


def test_keywords_can_be_written_as_aws_writes_them() -> None:
    assert config(start="TRIM_HORIZON").start.tag == "trim-horizon"
    assert config(start="LATEST").start.tag == "latest"
    assert config(until="forever").until.tag == "stopped"
    assert config(until="caught_up", behind="1m").until.payload == 60_000
    assert config(until="2025-11-24").until.payload == ago(hours=-12)


def test_options_change_the_defaults_of_the_component() -> None:
    unchanged, defaults = config(), Component().defaults("orders")
    # Batches are smaller, because Python takes each out of the component as a whole.
    assert vars(unchanged.limits) == vars(defaults.limits) | {"batch-bytes": 32 << 20}
    assert (unchanged.wire, unchanged.deaggregate) == ("json", True)
    limits = vars(config(max_messages=7, page_records=9, pace=50).limits)
    assert (limits["max-messages"], limits["page-records"], limits["pace"]) == (7, 9, 50)
    assert vars(config(pace="off").limits)["pace"] is None
    assert vars(config(idle_interval=0.25).limits)["idle-interval"] == 250
    assert config(deaggregate=False).deaggregate is False


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start": "yesterday"}, "not a time for start: 'yesterday'"),
        ({"start": "1 fortnight ago"}, "not a time for start"),
        ({"start": datetime(2025, 1, 1)}, "no time zone in start"),
        ({"start": "2025-01-01T00:00:00"}, "no time zone in start"),
        ({"start": "2025-13-01"}, "not a time for start"),
        ({"start": "2999-01-01"}, "start is in the future"),
        ({"start": 1763895600000}, "start is too large for seconds: 1763895600000"),
        ({"start": -1}, "start is before 1970: -1"),
        ({"start": float("nan")}, "start is before 1970: nan"),
        ({"start": timedelta(hours=-1)}, "negative duration for start: -1 day"),
        ({"start": timedelta(days=365_000)}, "start is before 1970: 365000 days"),
        ({"start": None}, "not a time for start: None"),
        ({"start": True}, "not a time for start: True"),
        ({"start": 10**5000}, "start is too large for seconds: int that is too long to show"),
        ({"start": "9" * 5000}, "start is too large for seconds: inf"),
        ({"start": "9" * 400 + "w"}, "not a time for start: '999"),
        ({"start": f"PT{'9' * 400}S ago"}, "not a time for start: 'PT999"),
        ({"start": "1" * 100_000 + "x"}, "characters more)"),
        ({"until": "1h"}, "not a time for until: '1h'"),
        ({"until": timedelta(hours=1)}, "not a time for until: datetime.timedelta"),
        ({"start": "30m ago", "until": "1h ago"}, "until is not after start: 1h ago"),
        ({"until": "forever", "behind": "1m"}, "behind cannot be combined with until: forever"),
        ({"behind": "soon"}, "not a duration for behind: 'soon'"),
        ({"behind": "9" * 20 + "h"}, "not a duration for behind: '999"),
        ({"behind": -1}, "not a duration for behind: -1"),
        ({"behind": timedelta(seconds=-1)}, "not a duration for behind: datetime.timedelta"),
        ({"behind": float("nan")}, "not a duration for behind: nan"),
        ({"behind": 1e300}, "not a duration for behind: 1e+300"),
        ({"behind": 10**5000}, "not a duration for behind: int that is too long to show"),
        ({"behind": True}, "not a duration for behind: True"),
        ({"max_messages": 0}, "invalid max_messages: 0"),
        ({"page_records": 10_001}, "invalid page_records: 10001"),
        ({"page_records": 1.5}, "invalid page_records: 1.5"),
        ({"idle_interval": "often"}, "not a duration for idle_interval: 'often'"),
        ({"pace": 101}, "invalid pace: 101"),
        ({"pace": 10**5000}, "invalid pace: int that is too long to show"),
        ({"pace": "fast"}, "invalid pace: 'fast'"),
        ({"payload": "xml"}, "invalid payload: 'xml'"),
        ({"message_id": "uuid"}, "invalid message_id: 'uuid'"),
        ({"on_gap": "stop"}, "invalid on_gap: 'stop'\nhint: use one of continue, fail"),
        ({"recreated": True}, "invalid recreated: True\nhint: use one of refuse, follow"),
        ({"invalid_records": 7}, "invalid_records is not a path or a callable: 7\nhint: use the path of a file"),
        ({"state": 7}, "not a path or a state: 7"),
    ],
)
def test_an_invalid_option_is_refused_with_a_hint(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError) as raised:
        read("orders", endpoint_url="http://127.0.0.1:9", **options)
    assert message in str(raised.value) and "\nhint: " in str(raised.value)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("page_record", "did you mean page_records?"),
        ("frobnicate", "the options are behind, deaggregate, endpoint_url,"),
        ("\x1b[31m", "the options are behind"),
    ],
)
@pytest.mark.parametrize("function", [read, read_batches, aread, aread_batches])
def test_an_unknown_option_is_refused_with_a_hint(function: Callable[..., Any], name: str, hint: str) -> None:
    with pytest.raises(OptionError) as raised:
        function("orders", **{name: 7})
    shown = name.replace("\x1b", "\\u{1b}")
    assert str(raised.value).startswith(f"unknown option: {shown}\nhint: {hint}")


@pytest.mark.parametrize(
    "stream", ["", "a b", "x" * 129, "arn:aws:sqs:us-east-1:000000000000:orders", "arn:aws:kinesis:stream/x", None]
)
def test_an_invalid_stream_is_refused(stream: Any) -> None:
    with pytest.raises(OptionError, match=r"not the (name|ARN)") as raised:
        read(stream)
    assert raised.value.hint


def test_every_option_has_a_type_a_default_and_a_place_in_the_documentation() -> None:
    typed, defaults = set(get_type_hints(ReadOptions)), {field.name for field in fields(Options)}
    assert typed == defaults == set(get_type_hints(AsyncReadOptions))

    assert ReadOptions.__doc__
    documented = re.findall(r"^ {8}([a-z][a-z_, ]*):", ReadOptions.__doc__, re.MULTILINE)
    assert {name for names in documented for name in names.split(", ")} == typed

    readme = (CHECKOUT / "bindings/python/README.md").read_text()
    rows = re.findall(r"^\| (`[a-z_`, ]+`) \|", readme, re.MULTILINE)
    assert {name.strip("`") for row in rows for name in row.split(", ")} == typed
