"""Gaps, recreated streams, and invalid records."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from emulator import Emulator
from memory import Memory

from kinesis_reader import Error, ReadError, aread, read


def read_numbers(emulator: Emulator, name: str, **options: Any) -> list[int]:
    return [message["n"] for message in read(name, endpoint_url=emulator.url, pace="off", **options)]


def test_a_recreated_stream_is_refused_or_followed_and_the_unread_records_of_the_old_one_are_a_gap(
    emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    stream = emulator.stream()
    stream.numbers(0, 10)
    state = Memory()
    assert read_numbers(emulator, stream.name, state=state) == list(range(10))
    assert state.checkpoint is not None
    # Creation times have a resolution of a second, so this makes the old stream older.
    checkpoint = json.loads(state.checkpoint)
    checkpoint["stream"]["created"] -= 60_000
    before = state.checkpoint = json.dumps(checkpoint)
    emulator.client.delete_stream(StreamName=stream.name)
    emulator.client.get_waiter("stream_not_exists").wait(StreamName=stream.name, WaiterConfig={"Delay": 1})
    emulator.stream(name=stream.name).numbers(10, 20)

    with pytest.raises(ReadError, match=r'the stream was recreated(.|\n)*recreated="follow"'):
        read_numbers(emulator, stream.name, state=state)
    with pytest.raises(ReadError, match=r"gap in shardId-000000000000: records after \d+ may have left") as raised:
        read_numbers(emulator, stream.name, state=state, recreated="follow", on_gap="fail")
    assert raised.value.hint == 'set on_gap="continue" to continue with the records that are left'
    # The checkpoint stays before the gap, so that the next run finds it again.
    assert state.checkpoint == before

    caplog.clear()
    reading = read(stream.name, endpoint_url=emulator.url, pace="off", state=state, recreated="follow")
    assert [message["n"] for message in reading] == list(range(10, 20))
    assert [gap.shard for gap in reading.gaps] == ["shardId-000000000000"]
    assert "gap in shardId-000000000000" in caplog.text
    assert read_numbers(emulator, stream.name, state=state) == []


def test_invalid_records_go_to_a_file_or_a_callable_with_the_reason(emulator: Emulator, tmp_path: Path) -> None:
    stream = emulator.stream()
    stream.put([{"n": 0}, b"no. 1", {"n": 2}, b"\xff\x03"])
    path = tmp_path / "invalid.ndjson"
    options: dict[str, Any] = {"endpoint_url": emulator.url, "pace": "off"}

    assert len(list(read(stream.name, invalid_records=path, **options))) == 4
    invalid = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line.get("data"), line.get("data_base64"), line["_kinesis_reason"]) for line in invalid] == [
        ("no. 1", None, "not JSON"),
        (None, "/wM=", "not UTF-8"),
    ]
    assert all(line["_kinesis"]["seq_no"] and line["_kinesis_msg_id"] for line in invalid)

    async def read_async() -> int:
        async with aread(stream.name, invalid_records=received.append, **options) as messages:
            return len([message async for message in messages])

    received: list[str] = []
    assert asyncio.run(read_async()) == 4
    assert "".join(received) == path.read_text()
    assert len(list(read(stream.name, invalid_records=received.append, payload="base64", **options))) == 4
    assert "".join(received) == path.read_text()


def test_an_error_about_invalid_records_ends_the_run_and_the_next_one_repeats_the_page(
    emulator: Emulator, tmp_path: Path
) -> None:
    def full(lines: str) -> None:
        raise OSError("no space left")

    stream = emulator.stream()
    stream.put([{"n": 0}, b"no. 1"])
    state = Memory()
    options: dict[str, Any] = {"endpoint_url": emulator.url, "pace": "off", "state": state}
    with pytest.raises(OSError, match="no space left"):
        list(read(stream.name, invalid_records=full, **options))
    with pytest.raises(Error, match=r"cannot write invalid records: .*nowhere"):
        list(read(stream.name, invalid_records=tmp_path / "nowhere" / "invalid.ndjson", **options))
    received: list[str] = []
    assert len(list(read(stream.name, invalid_records=received.append, **options))) == 2
    assert len(received) == 1
