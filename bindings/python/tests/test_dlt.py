"""The source for dlt: names, configuration, rows and state are those of dlt's own source."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import botocore.session
import dlt
import duckdb
import pendulum
import pytest
from conftest import CHECKOUT
from dlt.common import json
from dlt.common.configuration.container import Container
from dlt.common.configuration.exceptions import ConfigFieldMissingException, ConfigValueCannotBeCoercedException
from dlt.common.configuration.specs import AwsCredentials
from dlt.common.pipeline import PipelineContext, StateInjectableContext
from dlt.extract.exceptions import ResourceExtractionError
from dlt_source import last_value, resource_state, rows
from emulator import Emulator
from model import FIRST_SEQUENCE, Model

from kinesis_reader import OptionError
from kinesis_reader.dlt import get_shard_iterator, kinesis_stream, max_sequence_by_shard

FIRST, SECOND = "shardId-000000000000", "shardId-000000000001"


@pytest.fixture
def kinesis(model: Callable[..., Model], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Model]:
    """Creates a model with numbered messages that the source finds through the environment."""

    def make(shards: int, messages: int, age: float = 3600) -> Model:
        Container()[PipelineContext].deactivate()
        stream = model(shards)
        for n in range(messages):
            stream[n % shards].add({"n": n}, arrived=time.time() - age)
        monkeypatch.setenv("AWS_ENDPOINT_URL", stream.url)
        return stream

    return make


def numbers(state: dict[str, Any], **options: Any) -> list[Any]:
    return [row["n"] for row in rows(state, **({"initial_at_timestamp": None} | options))]


def test_the_resource_is_named_after_its_stream() -> None:
    resource = kinesis_stream("orders")
    assert (resource.name, resource.section) == ("orders", "kinesis")
    table = resource.compute_table_schema()
    assert table["write_disposition"] == "append"
    assert table["columns"]["_kinesis_msg_id"] == {
        "name": "_kinesis_msg_id",
        "nullable": False,
        "primary_key": True,
    }
    assert kinesis_stream("arn:aws:kinesis:us-east-1:000000000000:stream/payments").name == "payments"


def test_a_missing_stream_name_is_reported() -> None:
    with pytest.raises(Exception, match="no stream name") as raised:
        kinesis_stream()
    assert "SOURCES__KINESIS__STREAM_NAME" in str(raised.value)


def test_a_row_has_envelope_message_id_and_payload_in_this_order(kinesis: Callable[..., Model]) -> None:
    record = kinesis(1, 0)[0].add({"n": 1, "tags": ["a"]}, arrived=1763900000.1239998)
    [row] = rows({}, initial_at_timestamp=None)
    assert list(row) == ["_kinesis", "_kinesis_msg_id", "n", "tags"]
    envelope = row["_kinesis"]
    assert list(envelope) == ["shard_id", "seq_no", "ts", "partition", "stream_name"]
    assert envelope["ts"] == pendulum.datetime(2025, 11, 23, 12, 13, 20, 124000)
    assert type(envelope["ts"]) is pendulum.DateTime and envelope["ts"].timezone_name == "UTC"
    assert (envelope["seq_no"], envelope["partition"]) == (record.sequence, "key")
    digest = hashlib.shake_128(f"{FIRST}{record.sequence}".encode()).digest(15)
    assert row["_kinesis_msg_id"] == base64.b64encode(digest).decode()


@pytest.mark.parametrize("payload", [b"", b"no json", b"\xff\x00", b'{"n": 1}', b"x" * 5000])
def test_without_parsing_a_row_has_the_bytes_of_the_payload(kinesis: Callable[..., Model], payload: bytes) -> None:
    kinesis(1, 0)[0].add(payload)
    [row] = rows({}, initial_at_timestamp=None, parse_json=False)
    assert list(row) == ["_kinesis", "_kinesis_msg_id", "data"] and row["data"] == payload


def test_values_are_the_same_as_from_dlts_parser(kinesis: Callable[..., Model]) -> None:
    payload = b'{"a": 18446744073709551615, "b": 18446744073709551616, "c": -0.0, "d": "2025-01-01", "a2": 1, "a2": 2}'
    kinesis(1, 0)[0].add(payload)
    [row] = rows({}, initial_at_timestamp=None)
    expected = json.loadb(payload)
    assert {name: row[name] for name in expected} == expected and isinstance(row["b"], float)


def test_a_message_may_have_no_partition_key(kinesis: Callable[..., Model]) -> None:
    kinesis(1, 0)[0].add({"n": 0}).key = None
    [row] = rows({}, initial_at_timestamp=None)
    assert row["_kinesis"]["partition"] is None


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (None, [0, 1, 2, 3]),
        (0, []),
        (0.0, []),
        ("1970-01-01T00:00:00Z", []),
        (lambda: time.time() - 3000, [2, 3]),
        (lambda: pendulum.now().subtract(minutes=50), [2, 3]),
        (lambda: pendulum.now("UTC").subtract(minutes=50).isoformat(), [2, 3]),
        (lambda: pendulum.now().add(hours=1), []),
        (-5.0, [0, 1, 2, 3]),
    ],
)
def test_the_first_run_begins_at_initial_at_timestamp(
    kinesis: Callable[..., Model], start: Any, expected: list[int]
) -> None:
    stream = kinesis(1, 2)
    for n in (2, 3):
        stream[0].add({"n": n}, arrived=time.time() - 60)
    state: dict[str, Any] = {}
    assert numbers(state, initial_at_timestamp=start() if callable(start) else start) == expected
    assert isinstance(resource_state(state)["initial_at_timestamp"], pendulum.DateTime)
    stream[0].add({"n": 4})
    # The state takes precedence over the argument, even if nothing was read yet.
    assert numbers(state, initial_at_timestamp=None) == [4]


def test_an_invalid_time_is_refused() -> None:
    with pytest.raises(ResourceExtractionError):
        rows({}, initial_at_timestamp="soon")


def test_chunk_size_sets_the_length_of_lists(kinesis: Callable[..., Model]) -> None:
    kinesis(1, 9)
    sizes = []

    @dlt.transformer
    def measure(items: list[Any]) -> Any:
        sizes.append(len(items))
        yield items

    assert len(list(kinesis_stream("orders", initial_at_timestamp=None, chunk_size=2) | measure)) == 9
    assert sizes == [2, 2, 2, 2, 1]
    for size in (0, 10_001):
        with pytest.raises(ResourceExtractionError) as raised:
            rows({}, chunk_size=size)
        assert isinstance(raised.value.__cause__, OptionError)


@pytest.mark.parametrize(("limit", "expected"), [(-1, 2), (0, 2), (1, 2), (2, 2), (3, 4), (100, 6)])
def test_a_run_ends_with_the_list_that_reaches_the_limit(
    kinesis: Callable[..., Model], limit: int, expected: int
) -> None:
    kinesis(1, 6)
    state: dict[str, Any] = {}
    first = numbers(state, chunk_size=2, max_number_of_messages=limit)
    assert first == list(range(expected))
    assert first + numbers(state) == list(range(6))


def test_options_come_from_the_configuration_unless_given_as_arguments(
    kinesis: Callable[..., Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    kinesis(1, 4)
    monkeypatch.setenv("SOURCES__KINESIS__ORDERS__MAX_NUMBER_OF_MESSAGES", "1")
    monkeypatch.setenv("SOURCES__KINESIS__CHUNK_SIZE", "3")
    monkeypatch.setenv("SOURCES__KINESIS__PARSE_JSON", "false")
    found = rows({}, initial_at_timestamp=None)
    assert len(found) == 3 and found[0]["data"] == b'{"n": 0}'
    assert numbers({}, parse_json=True, chunk_size=1) == [0]
    monkeypatch.setenv("SOURCES__KINESIS__CHUNK_SIZE", "many")
    with pytest.raises(ConfigValueCannotBeCoercedException):
        rows({})


def test_credentials_come_from_the_configuration_of_dlt(
    kinesis: Callable[..., Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = kinesis(1, 1)
    for prefix in ("SOURCES__CREDENTIALS", "SOURCES__KINESIS__CREDENTIALS", "SOURCES__KINESIS__ORDERS__CREDENTIALS"):
        monkeypatch.setenv(f"{prefix}__AWS_ACCESS_KEY_ID", prefix)
        monkeypatch.setenv(f"{prefix}__AWS_SECRET_ACCESS_KEY", "secret")
        monkeypatch.setenv(f"{prefix}__REGION_NAME", "eu-west-3")
        assert numbers({}) == [0]
        assert f"Credential={prefix}/" in stream.requests[-1].headers["Authorization"]
        assert "/eu-west-3/kinesis/" in stream.requests[-1].headers["Authorization"]


def test_credentials_can_be_a_session_or_left_to_botocore(kinesis: Callable[..., Model]) -> None:
    stream = kinesis(1, 1)
    session = botocore.session.Session()
    session.set_credentials("of-the-session", "secret")
    assert numbers({}, credentials=session) == [0]
    assert "Credential=of-the-session/" in stream.requests[-1].headers["Authorization"]
    assert numbers({}, credentials=AwsCredentials()) == [0]
    assert "Credential=test/" in stream.requests[-1].headers["Authorization"]


def test_missing_credentials_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(ConfigFieldMissingException, match="SOURCES__KINESIS__CREDENTIALS__AWS_ACCESS_KEY_ID"):
        rows({})


def test_a_run_continues_from_given_sequence_numbers(kinesis: Callable[..., Model]) -> None:
    """Other shards begin at `initial_at_timestamp`."""
    stream = kinesis(2, 6)
    after = stream[0].records[1].sequence
    last_msg = dlt.sources.incremental(
        "_kinesis", last_value_func=max_sequence_by_shard, initial_value={FIRST: after, "shardId-7": "no number"}
    )
    state: dict[str, Any] = {}
    assert sorted(numbers(state, last_msg=last_msg)) == [1, 3, 4, 5]
    assert numbers(state, last_msg=last_msg) == []
    assert sorted(numbers({}, last_msg=last_msg, initial_at_timestamp=0)) == [4]


def test_without_a_state_every_run_starts_over(kinesis: Callable[..., Model]) -> None:
    kinesis(1, 3)
    resource = kinesis_stream("orders", initial_at_timestamp=None)
    assert [row["n"] for row in resource] == [row["n"] for row in resource] == [0, 1, 2]


def test_with_lists_of_one_message_the_state_advances_with_each_message(kinesis: Callable[..., Model]) -> None:
    stream = kinesis(2, 6)
    text = json.typed_dumps({})
    received = []
    for _ in range(6):
        # Each run ends at its second message, which was received and is therefore in the state.
        with Container().injectable_context(StateInjectableContext(state=json.typed_loads(text))) as managed:
            for row in kinesis_stream("orders", initial_at_timestamp=None, chunk_size=1):
                received.append(row["n"])
                text = json.typed_dumps(managed.state)
                if len(received) % 2 == 0:
                    break
    assert sorted(received) == list(range(6))
    assert last_value(json.typed_loads(text)) == {
        shard.id: shard.records[-1].sequence for shard in (stream[0], stream[1])
    }


OLD_STATE = (
    '{"sources":{"kinesis":{"resources":{"orders":{"incremental":{"_kinesis":{"initial_value":null,"last_value":'
    '{"shardId-000000000000":"%s"},"unique_hashes":["v+zMt148M1aT"],"start_value":null}},'
    '"initial_at_timestamp":"\uf027%s"}}}}}'
)


def test_a_run_continues_from_a_state_of_dlts_own_source(kinesis: Callable[..., Model]) -> None:
    """A shard without a sequence number is read from the time of the last run."""
    stream = kinesis(3, 9)
    stream[1].add({"n": 9})
    since = pendulum.now("UTC").subtract(minutes=1).isoformat()
    state = json.typed_loads(OLD_STATE % (stream[0].records[1].sequence, since))
    assert sorted(numbers(state)) == [6, 9]
    assert numbers(state) == []
    assert last_value(state) == {FIRST: stream[0].records[-1].sequence, SECOND: stream[1].records[-1].sequence}


@pytest.mark.parametrize(
    ("recorded", "source", "stream_name"),
    [("standalone", "kinesis", "dlt_ci_kinesis_source"), ("pipeline", "kstate", "state_demo")],
)
def test_a_run_continues_from_a_recorded_state_of_dlts_own_source(
    kinesis: Callable[..., Model], recorded: str, source: str, stream_name: str
) -> None:
    text = (CHECKOUT / f"tests/golden/dlt_state_{recorded}.json").read_text()
    state = {"sources": {"kinesis": json.typed_loads(text)["sources"][source]}}
    last_values = last_value(state, stream_name)
    stream = kinesis(2, 0)
    for shard in (stream[0], stream[1]):
        last = int(last_values[shard.id])
        for n in (-2, 0, 1, 2):
            shard.add({"n": n}, sequence=last + n)
    assert sorted(numbers(state, stream=stream_name)) == [1, 1, 2, 2]
    assert numbers(state, stream=stream_name) == []
    assert last_value(state, stream_name) == {shard.id: shard.records[-1].sequence for shard in (stream[0], stream[1])}


def test_dlts_own_source_can_continue_from_our_state(kinesis: Callable[..., Model]) -> None:
    stream = kinesis(2, 3)
    state: dict[str, Any] = {}
    assert sorted(numbers(state)) == [0, 1, 2]
    state = json.typed_loads(json.typed_dumps(state))
    assert set(resource_state(state)["incremental"]["_kinesis"]) == {
        "initial_value",
        "last_value",
        "unique_hashes",
        "start_value",
    }
    # dlt's source requests shard iterators with this function.
    client = botocore.session.Session().create_client("kinesis", endpoint_url=stream.url)
    last_msg = dlt.sources.incremental("_kinesis", initial_value=last_value(state), end_value={})
    at = resource_state(state)["initial_at_timestamp"]
    assert get_shard_iterator(client, "orders", FIRST, last_msg, at) == (
        f"{FIRST}/2",
        {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": str(FIRST_SEQUENCE + 1)},
    )
    assert get_shard_iterator(client, "orders", "shardId-000000000001", None, at)[1] == {
        "ShardIteratorType": "AT_TIMESTAMP",
        "Timestamp": at.timestamp(),
    }
    # We continue from where dlt's source would stop.
    stream[0].add({"n": 3})
    stream[0].add({"n": 4})
    last_value(state)[FIRST] = stream[0].records[-2].sequence
    assert numbers(state) == [4]


def test_a_pipeline_loads_once_and_only_what_is_new(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AWS_ENDPOINT_URL", emulator.url)
    stream = emulator.stream(2, "dlt-pipeline")
    stream.put([{"n": n, "tags": ["a", "b"], "nested": {"deep": n}} for n in range(50)] + [b"no json"])
    pipeline = dlt.pipeline("orders", destination="duckdb", dataset_name="kinesis")

    def load(**options: Any) -> int:
        source = kinesis_stream(stream.name, initial_at_timestamp=None, **options)
        pipeline.run(source).raise_on_failed_jobs()
        counts = pipeline.last_trace.last_normalize_info.row_counts
        return counts.get("dlt_pipeline", 0)

    assert load(max_number_of_messages=1, chunk_size=20) == 20
    assert load() == 31
    stream.split(stream.open_shards()[0])
    stream.put([{"n": 50 + n} for n in range(10)])
    assert load() == 10
    assert load() == 0

    columns = pipeline.default_schema.get_table_columns("dlt_pipeline")
    assert {name: columns[name]["data_type"] for name in columns if name.startswith("_kinesis_")} == {
        "_kinesis__shard_id": "text",
        "_kinesis__seq_no": "text",
        "_kinesis__ts": "timestamp",
        "_kinesis__partition": "text",
        "_kinesis__stream_name": "text",
        "_kinesis_msg_id": "text",
    }
    with duckdb.connect(str(tmp_path / "orders.duckdb")) as database:
        query = (
            "SELECT count(*), count(DISTINCT _kinesis_msg_id), count(DISTINCT n), max(data) FROM kinesis.dlt_pipeline"
        )
        assert database.execute(query).fetchall() == [(61, 61, 60, "no json")]
        assert database.execute("SELECT count(*) FROM kinesis.dlt_pipeline__tags").fetchall() == [(100,)]
    resources = pipeline.state["sources"]["orders"]["resources"]
    assert set(resources["dlt-pipeline"]) == {"incremental", "initial_at_timestamp", "kinesis_reader"}


def test_the_run_after_a_failed_run_loads_everything_once(kinesis: Callable[..., Model], tmp_path: Path) -> None:
    kinesis(2, 20)
    pipeline = dlt.pipeline(
        "failing", destination=dlt.destinations.duckdb(str(tmp_path / "f.duckdb")), dataset_name="d"
    )
    should_fail = True

    def trip(row: Any) -> Any:
        if should_fail and row["n"] == 13:
            raise RuntimeError("marked")
        return row

    def source() -> Any:
        return kinesis_stream("orders", initial_at_timestamp=None, chunk_size=3).add_map(trip)

    with pytest.raises(Exception, match="marked"):
        pipeline.run(source())
    should_fail = False
    pipeline.run(source())
    with duckdb.connect(str(tmp_path / "f.duckdb")) as database:
        assert database.execute("SELECT count(*), count(DISTINCT n) FROM d.orders").fetchall() == [(20, 20)]


def test_the_state_is_correct_even_if_rows_are_filtered(kinesis: Callable[..., Model]) -> None:
    stream = kinesis(1, 10)
    state: dict[str, Any] = {}
    with Container().injectable_context(StateInjectableContext(state=state)):
        resource = kinesis_stream("orders", initial_at_timestamp=None, chunk_size=4)
        odd = [row["n"] for row in resource.add_filter(lambda row: row["n"] % 2 == 1)]
    assert odd == [1, 3, 5, 7, 9]
    assert last_value(state) == {FIRST: stream[0].records[-1].sequence}
    assert numbers(state) == []


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (({"shard_id": "a", "seq_no": "12"},), {"a": "12"}),
        (({"shard_id": "a", "seq_no": "12"}, None), {"a": "12"}),
        (({"shard_id": "a", "seq_no": "10"}, {"a": "9"}), {"a": "10"}),
        (({"shard_id": "a", "seq_no": "9"}, {"a": "10"}), {"a": "10"}),
        (({"shard_id": "b", "seq_no": "1"}, {"a": "10"}), {"a": "10", "b": "1"}),
        (({"shard_id": "a", "seq_no": "0001234"}, {"a": "0001233"}), {"a": "0001234"}),
    ],
)
def test_max_sequence_by_shard_keeps_the_greatest_sequence_number(values: Any, expected: dict[str, str]) -> None:
    known = dict(values[1]) if len(values) > 1 and values[1] else None
    assert max_sequence_by_shard(values) == expected
    assert known is None or values[1] == known
