"""What left the stream unread, streams that were made again, and messages that are not as they should be."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from emulator import Emulator

from kinesis_reader import Error, OptionError, ReadError, aread, read


class Kept:
    def __init__(self) -> None:
        self.checkpoint: str | None = None

    def load(self) -> str | None:
        return self.checkpoint

    def save(self, checkpoint: str) -> None:
        self.checkpoint = checkpoint


def numbers(emulator: Emulator, name: str, **options: Any) -> list[int]:
    return [message["n"] for message in read(name, endpoint_url=emulator.url, pace="off", **options)]


def test_a_stream_that_was_made_again_is_refused_or_followed_and_what_left_with_the_old_one_is_told_or_fails(
    emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    stream = emulator.stream()
    stream.numbers(0, 10)
    state = Kept()
    assert numbers(emulator, stream.name, state=state) == list(range(10))
    assert state.checkpoint is not None
    # Streams of one second are not told apart.
    kept = json.loads(state.checkpoint)
    kept["stream"]["created"] -= 60_000
    before = state.checkpoint = json.dumps(kept)
    emulator.client.delete_stream(StreamName=stream.name)
    emulator.client.get_waiter("stream_not_exists").wait(StreamName=stream.name, WaiterConfig={"Delay": 1})
    emulator.stream(name=stream.name).numbers(10, 20)

    with pytest.raises(ReadError, match=r'another stream of this name(.|\n)*recreated="follow"'):
        numbers(emulator, stream.name, state=state)
    with pytest.raises(ReadError, match=r"records of shardId-000000000000 have left.*follow \d+") as failed:
        numbers(emulator, stream.name, state=state, recreated="follow", on_gap="fail")
    assert failed.value.hint == 'on_gap="continue" reads on from what is left'
    # It stays before the gap, so that another run finds it again.
    assert state.checkpoint == before

    caplog.clear()
    reading = read(stream.name, endpoint_url=emulator.url, pace="off", state=state, recreated="follow")
    assert [message["n"] for message in reading] == list(range(10, 20))
    assert [gap.shard for gap in reading.gaps] == ["shardId-000000000000"]
    assert "records of shardId-000000000000 have left the stream" in caplog.text
    assert numbers(emulator, stream.name, state=state) == []


def test_messages_that_are_not_as_asked_go_to_a_file_or_a_callable_with_the_reason(
    emulator: Emulator, tmp_path: Path
) -> None:
    stream = emulator.stream()
    stream.put([{"n": 0}, b"no. 1", {"n": 2}, b"\xff\x03"])
    path = tmp_path / "bad.ndjson"
    options: dict[str, Any] = {"endpoint_url": emulator.url, "pace": "off"}

    assert len(list(read(stream.name, invalid_records=path, **options))) == 4
    bad = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line.get("data"), line.get("data_base64"), line["_kinesis_reason"]) for line in bad] == [
        ("no. 1", None, "not JSON"),
        (None, "/wM=", "not UTF-8"),
    ]
    assert all(line["_kinesis"]["seq_no"] and line["_kinesis_msg_id"] for line in bad)

    async def asynchronously() -> int:
        async with aread(stream.name, invalid_records=taken.append, **options) as messages:
            return len([message async for message in messages])

    taken: list[str] = []
    assert asyncio.run(asynchronously()) == 4
    assert "".join(taken) == path.read_text()
    assert len(list(read(stream.name, invalid_records=taken.append, payload="base64", **options))) == 4
    assert "".join(taken) == path.read_text()


def test_who_cannot_take_bad_messages_has_them_again_with_their_page(emulator: Emulator, tmp_path: Path) -> None:
    def full(lines: str) -> None:
        raise OSError("no space left")

    stream = emulator.stream()
    stream.put([{"n": 0}, b"no. 1"])
    state = Kept()
    options: dict[str, Any] = {"endpoint_url": emulator.url, "pace": "off", "state": state}
    with pytest.raises(OSError, match="no space left"):
        list(read(stream.name, invalid_records=full, **options))
    with pytest.raises(Error, match=r"invalid records cannot be written: .*nowhere"):
        list(read(stream.name, invalid_records=tmp_path / "nowhere" / "bad.ndjson", **options))
    taken: list[str] = []
    assert len(list(read(stream.name, invalid_records=taken.append, **options))) == 2
    assert len(taken) == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"on_gap": "stop"}, "on_gap is 'stop'\nhint: give one of continue, fail"),
        ({"recreated": True}, "recreated is True\nhint: give one of refuse, follow"),
        ({"invalid_records": 7}, "invalid_records can be no int: 7\nhint: give the path of a file"),
    ],
)
def test_what_these_options_cannot_be_is_told(options: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError) as refused:
        read("orders", endpoint_url="http://127.0.0.1:1", **options)
    assert words in str(refused.value)
