"""The source for dlt with wrong clocks, damaged states, cut records and hostile messages."""

from __future__ import annotations

import datetime
import json
import logging
import time
from collections.abc import Callable
from itertools import chain
from typing import Any

import pendulum
import pytest
from dlt_source import last_value, resource_state, rows
from model import Model, Reply, aggregate, refusal

from kinesis_reader import OptionError, ReadError, StateError, _options
from kinesis_reader.dlt import _state
from kinesis_reader.dlt._incremental import SequenceIncremental
from kinesis_reader.dlt._rows import Rows


@pytest.fixture
def kinesis(model: Callable[..., Model], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Model]:
    """Creates a model that the source finds through the environment."""

    def make(*args: Any, **options: Any) -> Model:
        stream = model(*args, **options)
        monkeypatch.setenv("AWS_ENDPOINT_URL", stream.url)
        return stream

    return make


def state_of(**members: Any) -> dict[str, Any]:
    """Returns the state of a pipeline whose resource has these members."""
    return {"sources": {"kinesis": {"resources": {"orders": members}}}}


@pytest.mark.parametrize("ahead", [3600.0, 13 * 365 * 86400.0])
def test_a_last_run_in_the_future_is_logged(
    kinesis: Callable[..., Model], caplog: pytest.LogCaptureFixture, ahead: float
) -> None:
    """dlt's own source writes it by its clock, and a shard without messages has no other position."""
    kinesis(1)
    later = pendulum.from_timestamp(time.time() + ahead)
    state = state_of(initial_at_timestamp=later)
    assert rows(state) == []
    assert "the last run is in the future" in caplog.text
    assert resource_state(state)["initial_at_timestamp"].timestamp() <= time.time()
    caplog.clear()
    assert rows(state) == []
    assert "future" not in caplog.text


def test_a_position_in_the_future_is_logged(kinesis: Callable[..., Model], caplog: pytest.LogCaptureFixture) -> None:
    stream = kinesis(1)
    state: dict[str, Any] = {}
    assert rows(state) == []
    positions = resource_state(state)["kinesis_reader"]["shards"]
    positions[stream[0].id] = {"at": int((time.time() + 86400) * 1000)}
    assert rows(state) == []
    assert f"gap in {stream[0].id}: the checkpoint is in the future" in caplog.text


def test_the_last_run_is_dated_by_the_clock_that_the_service_accepts(
    kinesis: Callable[..., Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock of this machine is a day ahead, and the service refuses its signatures."""

    def hook(stream: Model, request: Any) -> Reply | None:
        signed = datetime.datetime.strptime(request.headers["X-Amz-Date"], "%Y%m%dT%H%M%SZ")
        offset = abs(signed.replace(tzinfo=datetime.timezone.utc).timestamp() - true_time())
        return None if offset < 300 else refusal("RequestTimeTooSkewed", "skewed", 403)

    true_time = time.time
    stream = kinesis(1, hook)
    stream.clock_skew = -86400
    monkeypatch.setattr(time, "time", lambda: true_time() + 86400)
    state: dict[str, Any] = {}
    monkeypatch.setattr(pendulum, "now", lambda zone: pendulum.from_timestamp(true_time() + 86400))
    assert rows(state) == []
    assert resource_state(state)["initial_at_timestamp"].timestamp() <= true_time()


@pytest.mark.parametrize("time", ["garbage", [], {}, 1e300, "9999999-01-01"])
def test_a_last_run_that_is_not_a_time_is_reported(kinesis: Callable[..., Model], time: Any) -> None:
    kinesis(1)
    with pytest.raises((OptionError, Exception), match="not a time for initial_at_timestamp of the state"):
        rows(state_of(initial_at_timestamp=time))


@pytest.mark.parametrize(
    "checkpoint", [{}, {"version": 9}, {"version": 1, "stream": 7}, {"version": 1, "stream": {"name": "others"}}]
)
@pytest.mark.parametrize("last", [None, {"shardId-000000000000": "5"}])
def test_a_damaged_checkpoint_is_reported_and_left_unchanged(
    kinesis: Callable[..., Model], checkpoint: Any, last: Any
) -> None:
    kinesis(1)
    state = state_of(kinesis_reader=checkpoint)
    if last is not None:
        state["sources"]["kinesis"]["resources"]["orders"]["incremental"] = {
            "_kinesis": {"initial_value": None, "last_value": last, "unique_hashes": []}
        }
    before = json.dumps(checkpoint)
    with pytest.raises(Exception, match="checkpoint") as raised:
        rows(state)
    causes = [raised.value, raised.value.__cause__, raised.value.__context__]
    assert any(isinstance(cause, StateError) for cause in causes)
    assert json.dumps(resource_state(state)["kinesis_reader"]) == before


def test_an_endless_discovery_ends_the_run(kinesis: Callable[..., Model], monkeypatch: pytest.MonkeyPatch) -> None:
    """With a state of dlt's own source, the shards are listed before the stream is read."""
    monkeypatch.setattr(_state, "ACTIONS_MAX", 3)
    stream = kinesis(4)
    stream.shards_per_listing = 1
    with pytest.raises(Exception, match="the discovery does not end"):
        rows(
            state_of(
                incremental={
                    "_kinesis": {
                        "initial_value": None,
                        "last_value": {"shardId-000000000000": "5"},
                        "unique_hashes": [],
                    }
                }
            )
        )


@pytest.fixture
def cut_record(kinesis: Callable[..., Model], monkeypatch: pytest.MonkeyPatch) -> Model:
    """A stream with an aggregated record that takes several batches, and two plain records after it."""
    monkeypatch.setattr(_options, "BATCH_BYTES", 1200)
    stream = kinesis(2)
    stream[0].add(aggregate(*(b'{"n": %d}' % n for n in range(10))))
    for n in (10, 11):
        stream[0].add({"n": n})
    return stream


def test_the_state_keeps_the_position_inside_an_aggregated_record(cut_record: Model) -> None:
    """dlt's own members of the state can only express positions between records."""
    shard, state = cut_record[0], {}  # type: ignore[var-annotated]
    first = rows(state, initial_at_timestamp=None, max_number_of_messages=1)
    sub = first[-1]["_kinesis"]["sub_seq"]
    assert [row["n"] for row in first] == list(range(sub + 1)) and 0 < sub < 9
    position = {"after": shard.records[0].sequence, "sub": sub}
    assert resource_state(state)["kinesis_reader"]["shards"][shard.id] == position

    second = rows(state, initial_at_timestamp=None)
    assert [row["n"] for row in first + second] == list(range(12))
    position = {"after": shard.records[-1].sequence}
    assert resource_state(state)["kinesis_reader"]["shards"][shard.id] == position
    assert rows(state, initial_at_timestamp=None) == []


def test_a_run_that_is_cut_after_the_rest_of_a_record_does_not_repeat_it(cut_record: Model) -> None:
    """The rest of the record and the next record are in one batch, and each run ends after one list."""
    state: dict[str, Any] = {}
    lists = []
    while found := rows(state, initial_at_timestamp=None, chunk_size=1, max_number_of_messages=1):
        lists.append([row["n"] for row in found])
        envelope = found[-1]["_kinesis"]
        if "sub_seq" in envelope:
            position = {"after": envelope["seq_no"]}
            if envelope["sub_seq"] < 9:
                position["sub"] = envelope["sub_seq"]
            assert resource_state(state)["kinesis_reader"]["shards"][cut_record[0].id] == position
    assert list(chain.from_iterable(lists)) == list(range(12))
    assert len(lists) > 4 and lists[-2:] == [[10], [11]]


@pytest.mark.parametrize("limit", [None, 1])
def test_the_rest_of_a_cut_record_passes_the_incremental(cut_record: Model, limit: int | None) -> None:
    """Its rows have a sequence number that is known already, from earlier batches of this run or of the one before.

    Once a second shard has a sequence number, dlt's own incremental drops them in the next run.
    """
    state = state_of(
        incremental={
            "_kinesis": {"initial_value": None, "last_value": {cut_record[1].id: "5"}, "unique_hashes": []},
        }
    )
    first = rows(state, initial_at_timestamp=None, max_number_of_messages=limit)
    assert (len(first) < 10) == (limit is not None)
    # This run begins with a list of the rest of the record and of the records after it.
    second = rows(state, initial_at_timestamp=None)
    assert [row["n"] for row in first + second] == list(range(12))
    assert last_value(state) == {cut_record[0].id: cut_record[0].records[-1].sequence, cut_record[1].id: "5"}


def test_only_rows_of_the_known_record_are_its_rest() -> None:
    def row(sequence: str, sub: int | None) -> dict[str, Any]:
        return {"_kinesis": {"shard_id": "shard", "seq_no": sequence} | ({} if sub is None else {"sub_seq": sub})}

    rest = SequenceIncremental._rest
    assert rest(Rows([row("5", 2), row("5", 3)]), "5") == 2
    assert rest(Rows([row("5", 2), row("6", 0), row("5", 3)]), "5") == 1
    assert rest(Rows([row("5", None), row("6", None)]), "5") is None
    assert rest(Rows([row("4", 1), row("5", 0)]), "5") is None


@pytest.mark.parametrize("arrived", [0.0, 0.001, 2**31, 99_999_999_999.0])
def test_any_arrival_time_becomes_a_time(kinesis: Callable[..., Model], arrived: float) -> None:
    stream = kinesis(1)
    stream[0].add({"n": 0}, arrived=arrived)
    [row] = rows({}, initial_at_timestamp=None)
    assert isinstance(row["_kinesis"]["ts"], pendulum.DateTime)


@pytest.mark.parametrize(
    "payload", [b"\x1b]0;title\x07", b'{"a": "\\ud800"}', b"[" * 100_000, b'{"n": 1e999}', b'{"__class__": {}}', b""]
)
def test_unusual_payloads_do_not_fail_the_run(kinesis: Callable[..., Model], payload: bytes) -> None:
    stream = kinesis(1)
    stream[0].add(payload)
    stream[0].add({"n": 1})
    found = rows({}, initial_at_timestamp=None)
    assert len(found) == 2 and found[1]["n"] == 1


def test_errors_of_the_service_are_escaped(kinesis: Callable[..., Model], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "kinesis_reader")
    kinesis(1, lambda stream, request: refusal("AccessDeniedException", "no\x1b[31m\u202e"))
    with pytest.raises(Exception, match="AccessDeniedException") as raised:
        rows({}, initial_at_timestamp=None)
    error: BaseException | None = raised.value
    while error is not None and not isinstance(error, ReadError):
        error = error.__cause__ or error.__context__
    assert error is not None and "\x1b" not in str(error) and "\u202e" not in str(error)
    assert "\x1b" not in caplog.text
