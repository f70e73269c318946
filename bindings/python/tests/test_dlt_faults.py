"""Faults that a source of Kinesis messages can have, with a test for each.

With `KINESIS_DLT_SOURCE`, these tests run against another source; see `dlt_source`.
"""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from dlt_source import last_value, resource_state, rows
from model import FIRST_SEQUENCE, Model, Reply, aggregate, refusal


@pytest.fixture
def kinesis(model: Callable[..., Model], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Model]:
    """Creates a model that the source finds through the environment."""

    def make(*args: Any, **options: Any) -> Model:
        stream = model(*args, **options)
        monkeypatch.setenv("AWS_ENDPOINT_URL", stream.url)
        return stream

    return make


def numbers(state: dict[str, Any], **options: Any) -> list[Any]:
    options.setdefault("initial_at_timestamp", None)
    return [row["n"] for row in rows(state, **options)]


def test_all_pages_of_a_listing_are_read(kinesis: Callable[..., Model]) -> None:
    stream = kinesis(5)
    stream.shards_per_listing = 2
    for n in range(5):
        stream[n].add({"n": n})
    assert sorted(numbers({})) == [0, 1, 2, 3, 4]


def test_a_child_that_is_listed_is_read_once(kinesis: Callable[..., Model]) -> None:
    stream = kinesis(2)
    child = stream.shard(2, stream[0], stream[1])
    for n in range(3):
        stream[n].add({"n": n})
    assert sorted(numbers({})) == [0, 1, 2]
    shards = [request.body["ShardId"] for request in stream.requests if request.operation == "GetShardIterator"]
    assert shards.count(child.id) == 1


def test_a_shard_may_end_while_it_lags(kinesis: Callable[..., Model]) -> None:
    stream = kinesis(1)
    stream[0].add({"n": 0})
    stream.shard(1, stream[0]).add({"n": 1})
    stream.lag_ms = lambda shard, unread: 2_665_000 if shard.closed else 0
    assert numbers({}) == [0, 1]


def test_sequence_numbers_are_compared_as_numbers(kinesis: Callable[..., Model]) -> None:
    stream, state = kinesis(1), {}  # type: ignore[var-annotated]
    for n in (8, 9):
        stream[0].add({"n": n}, sequence=n)
    assert numbers(state) == [8, 9]
    for n in (10, 11):
        stream[0].add({"n": n}, sequence=n)
    assert numbers(state) == [10, 11]
    assert last_value(state) == {stream[0].id: "11"}
    assert numbers(state) == []


@pytest.mark.parametrize(
    "payload",
    [
        {"_kinesis": {"shard_id": "evil", "seq_no": "1"}},
        {"_kinesis": 7},
        {"_kinesis_msg_id": "evil"},
    ],
)
def test_a_payload_cannot_touch_the_envelope(kinesis: Callable[..., Model], payload: Any) -> None:
    stream, state = kinesis(1), {}  # type: ignore[var-annotated]
    record = stream[0].add(payload)
    [row] = rows(state, initial_at_timestamp=None)
    assert row["_kinesis"]["shard_id"] == stream[0].id and row["_kinesis"]["seq_no"] == record.sequence
    assert row["_kinesis_msg_id"] != "evil" and len(row["_kinesis_msg_id"]) == 20
    assert last_value(state) == {stream[0].id: record.sequence}
    assert rows(state, initial_at_timestamp=None) == []


@pytest.mark.parametrize("start", [None, "long ago"])
def test_shards_that_a_limit_left_unread_are_read_later(kinesis: Callable[..., Model], start: Any) -> None:
    stream, state = kinesis(3), {}  # type: ignore[var-annotated]
    long_ago = time.time() - 3600
    for n in range(9):
        stream[n % 3].add({"n": n}, arrived=long_ago)
    options = {"initial_at_timestamp": start and long_ago - 60, "max_number_of_messages": 2, "chunk_size": 2}
    found: list[int] = []
    for _ in range(9):
        found += numbers(state, **options)
    assert sorted(found) == list(range(9))


def test_records_after_an_empty_page_are_read_later(kinesis: Callable[..., Model]) -> None:
    """An empty page within the accepted lag counts as caught up, and leaves no sequence number to continue from."""

    def hook(stream: Model, request: Any) -> Reply | None:
        if request.operation != "GetRecords" or stream.count("GetRecords") > 1:
            return None
        body = {"Records": [], "NextShardIterator": request.body["ShardIterator"], "MillisBehindLatest": 3000}
        return Reply(200, body)

    stream, state = kinesis(1, hook), {}  # type: ignore[var-annotated]
    stream[0].add({"n": 0}, arrived=time.time() - 3)
    found = numbers(state, milliseconds_behind_latest=10_000)
    found += numbers(state, milliseconds_behind_latest=10_000)
    assert found == [0]


@pytest.mark.parametrize(
    ("error", "times"), [("ExpiredIteratorException", 1), ("ProvisionedThroughputExceededException", 4)]
)
def test_expired_iterators_and_throttling_pass(kinesis: Callable[..., Model], error: str, times: int) -> None:
    refusals = 0

    def hook(stream: Model, request: Any) -> Reply | None:
        nonlocal refusals
        # In the middle of a shard, so that the source must continue at the right position.
        if request.operation == "GetRecords" and stream.count("GetRecords") > 1 and refusals < times:
            refusals += 1
            return refusal(error, "try again")
        return None

    stream = kinesis(1, hook)
    for n in range(4):
        stream[0].add({"n": n}, sequence=FIRST_SEQUENCE + n)
    stream.lag_ms = lambda shard, unread: 60_000 if refusals < times or unread else 0
    assert numbers({}, chunk_size=2) == [0, 1, 2, 3]
    assert refusals == times


def test_shards_are_read_side_by_side(kinesis: Callable[..., Model]) -> None:
    both = threading.Event()

    def hook(stream: Model, request: Any) -> None:
        if request.operation == "GetRecords" and not both.is_set():
            if stream.most_in_flight >= 2:
                both.set()
            both.wait(5)
            both.set()

    stream = kinesis(2, hook)
    for n in range(2):
        stream[n].add({"n": n})
    assert sorted(numbers({})) == [0, 1]
    assert stream.most_in_flight == 2


@pytest.mark.parametrize(
    "payload",
    [
        b"[1, 2]",
        b'[["k", 1]]',
        b'"text"',
        b"3",
        b"null",
        b"true",
        b"",
        b"no json",
        b'{"a": 1e400}',
        b'{"a": "\\ud800"}',
        b'{"a": NaN}',
        b'{"a": 1} {"b": 2}',
        b'{"deep": ' + b"[" * 2000 + b"]" * 2000 + b"}",
        gzip.compress(b"{}", mtime=0),
    ],
    ids=lambda payload: payload[:12].decode("latin-1"),
)
def test_no_payload_stops_a_run(kinesis: Callable[..., Model], payload: bytes) -> None:
    stream, state = kinesis(1), {}  # type: ignore[var-annotated]
    for data in (b'{"n": 0}', payload, b'{"n": 1}'):
        stream[0].add(data)
    first, odd, second = rows(state, initial_at_timestamp=None)
    assert (first["n"], second["n"]) == (0, 1)
    assert list(odd)[:2] == ["_kinesis", "_kinesis_msg_id"] and set(list(odd)[2:]) <= {"data", "data_base64"}
    assert rows(state, initial_at_timestamp=None) == []


def test_aggregated_records_are_split_and_their_messages_have_different_ids(kinesis: Callable[..., Model]) -> None:
    stream, state = kinesis(1), {}  # type: ignore[var-annotated]
    stream[0].add(aggregate(b'{"n": 0}', b'{"n": 1}', b'{"n": 2}'))
    stream[0].add({"n": 3})
    # Lists end between records, because dlt's state cannot express a position inside one.
    options = {"initial_at_timestamp": None, "chunk_size": 2, "max_number_of_messages": 1}
    first = rows(state, **options)
    second = rows(state, **options)
    assert [row["n"] for row in first + second] == [0, 1, 2, 3]
    assert len({row["_kinesis_msg_id"] for row in first + second}) == 4
    assert rows(state, initial_at_timestamp=None) == []


def test_a_lag_of_zero_is_possible(kinesis: Callable[..., Model]) -> None:
    def hook(stream: Model, request: Any) -> Reply | None:
        # Ends a source that would never stop.
        return refusal("AccessDeniedException") if stream.count("GetRecords") > 25 else None

    stream = kinesis(1, hook)
    for n in range(3):
        stream[0].add({"n": n})
    assert numbers({}, milliseconds_behind_latest=0) == [0, 1, 2]


def test_the_stream_can_be_set_in_the_configuration(
    kinesis: Callable[..., Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    kinesis(1)[0].add({"n": 0})
    monkeypatch.setenv("SOURCES__KINESIS__STREAM_NAME", "orders")
    state: dict[str, Any] = {}
    assert numbers(state, stream=None) == [0]
    assert last_value(state) and resource_state(state, "orders")


def test_the_endpoint_can_be_set_in_the_credentials(
    model: Callable[..., Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = model(1)
    stream[0].add({"n": 0})
    monkeypatch.setenv("SOURCES__KINESIS__CREDENTIALS__ENDPOINT_URL", stream.url)
    # No request leaves this machine.
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    assert numbers({}) == [0]
