"""The source for dlt where clocks are wrong, a state is damaged, or messages are made to break it."""

from __future__ import annotations

import datetime
import json
import logging
import time
from collections.abc import Callable
from typing import Any

import pendulum
import pytest
from dlt_source import kept, rows
from model import Model, Reply, refusal

from kinesis_reader import OptionError, ReadError, StateError
from kinesis_reader.dlt import _state


@pytest.fixture
def kinesis(model: Callable[..., Model], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Model]:
    """Makes a model that the source finds by the environment."""

    def make(*args: Any, **options: Any) -> Model:
        made = model(*args, **options)
        monkeypatch.setenv("AWS_ENDPOINT_URL", made.url)
        return made

    return make


def state_of(**members: Any) -> dict[str, Any]:
    """The state of a pipeline, of which the resource has these members."""
    return {"sources": {"kinesis": {"resources": {"orders": members}}}}


@pytest.mark.parametrize("ahead", [3600.0, 13 * 365 * 86400.0])
def test_a_last_run_in_the_future_is_told(
    kinesis: Callable[..., Model], caplog: pytest.LogCaptureFixture, ahead: float
) -> None:
    """dlt's own source writes it by its clock, and a shard without a message has no other place."""
    kinesis(1)
    later = pendulum.from_timestamp(time.time() + ahead)
    state = state_of(initial_at_timestamp=later)
    assert rows(state) == []
    assert "the last run is dated in the future" in caplog.text
    assert kept(state)["initial_at_timestamp"].timestamp() <= time.time()
    caplog.clear()
    assert rows(state) == []
    assert "future" not in caplog.text


def test_a_position_in_the_checkpoint_that_is_in_the_future_is_told(
    kinesis: Callable[..., Model], caplog: pytest.LogCaptureFixture
) -> None:
    stream = kinesis(1)
    state: dict[str, Any] = {}
    assert rows(state) == []
    positions = kept(state)["kinesis_reader"]["shards"]
    positions[stream[0].id] = {"at": int((time.time() + 86400) * 1000)}
    assert rows(state) == []
    assert f"the checkpoint of {stream[0].id} is ahead of the present" in caplog.text


def test_the_last_run_is_dated_by_the_clock_that_the_service_accepts(
    kinesis: Callable[..., Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The computer's clock is a day ahead, and the service refuses what is signed by it."""

    def hook(stream: Model, asked: Any) -> Reply | None:
        signed = datetime.datetime.strptime(asked.headers["X-Amz-Date"], "%Y%m%dT%H%M%SZ")
        apart = abs(signed.replace(tzinfo=datetime.timezone.utc).timestamp() - right())
        return None if apart < 300 else refusal("RequestTimeTooSkewed", "skewed", 403)

    right = time.time
    stream = kinesis(1, hook)
    stream.clock_skew = -86400
    monkeypatch.setattr(time, "time", lambda: right() + 86400)
    state: dict[str, Any] = {}
    monkeypatch.setattr(pendulum, "now", lambda zone: pendulum.from_timestamp(right() + 86400))
    assert rows(state) == []
    assert kept(state)["initial_at_timestamp"].timestamp() <= right()


@pytest.mark.parametrize("time", ["garbage", [], {}, 1e300, "9999999-01-01"])
def test_a_last_run_that_is_no_time_is_told(kinesis: Callable[..., Model], time: Any) -> None:
    kinesis(1)
    with pytest.raises((OptionError, Exception), match="not a time in the state"):
        rows(state_of(initial_at_timestamp=time))


@pytest.mark.parametrize(
    "checkpoint", [{}, {"version": 9}, {"version": 1, "stream": 7}, {"version": 1, "stream": {"name": "others"}}]
)
@pytest.mark.parametrize("last", [None, {"shardId-000000000000": "5"}])
def test_a_checkpoint_that_is_damaged_is_told_and_kept(
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
    assert json.dumps(kept(state)["kinesis_reader"]) == before


def test_a_discovery_without_an_end_is_an_error(kinesis: Callable[..., Model], monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream whose state is of dlt's own source is listed before it is read."""
    monkeypatch.setattr(_state, "ACTIONS_MAX", 3)
    stream = kinesis(4)
    stream.listed_at_a_time = 1
    with pytest.raises(Exception, match="the component never"):
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


@pytest.mark.parametrize("arrived", [0.0, 0.001, 2**31, 99_999_999_999.0])
def test_times_of_arrival_are_times_whatever_they_are(kinesis: Callable[..., Model], arrived: float) -> None:
    stream = kinesis(1)
    stream[0].add({"n": 0}, arrived=arrived)
    [row] = rows({}, initial_at_timestamp=None)
    assert isinstance(row["_kinesis"]["ts"], pendulum.DateTime)


@pytest.mark.parametrize(
    "payload", [b"\x1b]0;title\x07", b'{"a": "\\ud800"}', b"[" * 100_000, b'{"n": 1e999}', b'{"__class__": {}}', b""]
)
def test_payloads_that_are_odd_stop_nothing(kinesis: Callable[..., Model], payload: bytes) -> None:
    stream = kinesis(1)
    stream[0].add(payload)
    stream[0].add({"n": 1})
    got = rows({}, initial_at_timestamp=None)
    assert len(got) == 2 and got[1]["n"] == 1


def test_what_the_service_says_is_told_with_escapes(
    kinesis: Callable[..., Model], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "kinesis_reader")
    kinesis(1, lambda stream, asked: refusal("AccessDeniedException", "no\x1b[31m\u202e"))
    with pytest.raises(Exception, match="AccessDeniedException") as raised:
        rows({}, initial_at_timestamp=None)
    error: BaseException | None = raised.value
    while error is not None and not isinstance(error, ReadError):
        error = error.__cause__ or error.__context__
    assert error is not None and "\x1b" not in str(error) and "\u202e" not in str(error)
    assert "\x1b" not in caplog.text
