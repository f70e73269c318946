"""Reading from an emulator, in a loop and in asyncio: everything once, whatever the consumer does."""

from __future__ import annotations

import asyncio
import hashlib
import json
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from emulator import Emulator, Stream
from model import Model, aggregate, refusal

import kinesis_reader
from kinesis_reader import ReadError, StateError, aread, merge_checkpoints, read
from kinesis_reader._options import Options


class Memory:
    """A state that anybody could write."""

    def __init__(self) -> None:
        self.checkpoint: str | None = None
        self.saves = 0

    def load(self) -> str | None:
        return self.checkpoint

    def save(self, checkpoint: str) -> None:
        self.checkpoint = checkpoint
        self.saves += 1


def numbers(emulator: Emulator, stream: Stream, **options: Any) -> list[int]:
    return [message["n"] for message in read(stream.name, endpoint_url=emulator.url, pace="off", **options)]


def test_a_message_is_a_dict_with_its_envelope(emulator: Emulator) -> None:
    stream = emulator.stream()
    stream.put([{"n": 1, "item": "żółta herbata", "big": 2**70}], key=lambda n: "k")
    [message] = read(stream.name, endpoint_url=emulator.url)
    envelope = message.pop("_kinesis")
    shard, sequence = envelope["shard_id"], envelope["seq_no"]
    assert list(envelope) == ["shard_id", "seq_no", "ts", "partition", "stream_name"]
    assert (shard, envelope["partition"], envelope["stream_name"]) == ("shardId-000000000000", "k", stream.name)
    assert datetime.now(timezone.utc) - datetime.fromisoformat(envelope["ts"].replace("Z", "+00:00")) < timedelta(
        hours=1
    )
    assert message.pop("_kinesis_msg_id") == hashlib.sha256(f"{shard:/<63}{sequence}".encode()).hexdigest()[:32]
    assert message == {"n": 1, "item": "żółta herbata", "big": 2**70}


def test_ten_thousand_messages_come_once_across_reshards_and_runs(emulator: Emulator, tmp_path: Path) -> None:
    stream, state = emulator.stream(3), tmp_path / "state.json"
    stream.numbers(0, 3000)
    first, second, third = stream.open_shards()
    stream.split(first)
    stream.numbers(3000, 6000)
    got: list[int] = []
    with read(stream.name, endpoint_url=emulator.url, pace="off", state=state, page_records=700) as messages:
        for message in messages:
            got.append(message["n"])
            if len(got) == 4321:
                messages.ack()
                break
    stream.merge(second, third)
    stream.numbers(6000, 10_000)
    got += numbers(emulator, stream, state=str(state))
    assert sorted(got) == list(range(10_000))
    assert numbers(emulator, stream, state=state) == []
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.json"]


def test_messages_of_a_shard_come_in_order_and_children_after_parents(emulator: Emulator) -> None:
    stream = emulator.stream(2)
    stream.numbers(0, 1000)
    parent, _ = stream.open_shards()
    stream.split(parent)
    stream.numbers(1000, 2000)
    order: dict[str, list[int]] = {}
    finished_by: dict[str, int] = {}
    for place, message in enumerate(read(stream.name, endpoint_url=emulator.url, pace="off", page_records=100)):
        shard = message["_kinesis"]["shard_id"]
        order.setdefault(shard, []).append(int(message["_kinesis"]["seq_no"]))
        finished_by[shard] = place
    assert len(order) == 4
    assert all(sequences == sorted(sequences) for sequences in order.values())
    begun = {shard: place for place, shard in reversed(list(enumerate(order)))}
    children = [s["ShardId"] for s in stream.shards() if s.get("ParentShardId") == parent["ShardId"]]
    assert len(children) == 2 and all(begun[child] > begun[parent["ShardId"]] for child in children)


def test_a_message_that_was_not_followed_by_another_comes_again(emulator: Emulator) -> None:
    stream, state = emulator.stream(), Memory()
    stream.numbers(0, 10)
    got = []
    with pytest.raises(ZeroDivisionError), read(stream.name, endpoint_url=emulator.url, state=state) as messages:
        for message in messages:
            got.append(message["n"])
            if message["n"] == 6:
                1 / 0  # noqa: B018
    assert got == list(range(7))
    assert numbers(emulator, stream, state=state) == [6, 7, 8, 9]


def test_a_loop_that_breaks_saves_as_its_iterator_is_dropped(emulator: Emulator) -> None:
    stream, state = emulator.stream(), Memory()
    stream.numbers(0, 10)
    for message in read(stream.name, endpoint_url=emulator.url, state=state):
        message.clear()  # What the caller does with it is the caller's business.
        if state.saves == 0 and message == {}:
            break
    assert numbers(emulator, stream, state=state) == list(range(10))
    assert numbers(emulator, stream, state=state) == []


def test_a_program_that_dies_of_an_exception_has_saved(emulator: Emulator, tmp_path: Path) -> None:
    stream, state = emulator.stream(), tmp_path / "state.json"
    stream.numbers(0, 10)
    program = f"""
        from kinesis_reader import read
        for message in read({stream.name!r}, endpoint_url={emulator.url!r}, state={str(state)!r}):
            if message["n"] == 4:
                raise SystemError("marked")
    """
    died = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True)
    assert died.returncode == 1 and "SystemError: marked" in died.stderr
    assert numbers(emulator, stream, state=state) == list(range(4, 10))


def test_a_program_that_is_killed_repeats_a_second_of_work_at_most(emulator: Emulator, tmp_path: Path) -> None:
    stream, state = emulator.stream(), tmp_path / "state.json"
    stream.numbers(0, 5)
    program = f"""
        import os, time
        from kinesis_reader import read
        for message in read({stream.name!r}, endpoint_url={emulator.url!r}, state={str(state)!r}):
            if message["n"] == 3:
                os.kill(os.getpid(), 9)
            time.sleep(0.6)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)])
    # Saved after message 1, when a second was over: all that was acknowledged by then is not repeated.
    assert numbers(emulator, stream, state=state) in ([2, 3, 4], [3, 4])


def test_batches_are_repeated_unless_acknowledged(emulator: Emulator) -> None:
    stream, state = emulator.stream(2), Memory()
    stream.numbers(0, 1000)
    options = {"endpoint_url": emulator.url, "pace": "off", "state": state, "page_records": 100}
    kept, left = [], []
    with read(stream.name, batches=True, **options) as batches:
        for count, batch in enumerate(batches):
            ours = [message["n"] for message in batch]
            assert len(ours) == len(batch) and ours == [json.loads(line)["n"] for line in batch.lines.splitlines()]
            if count in (0, 1, 5):
                left += ours
            else:
                batch.ack()
                kept += ours
    again = numbers(emulator, stream, state=state)
    assert set(kept) | set(again) == set(range(1000)) and set(left) <= set(again)


def test_batches_may_be_acknowledged_in_any_order_and_after_the_end(emulator: Emulator, tmp_path: Path) -> None:
    stream, state = emulator.stream(3), tmp_path / "state.json"
    stream.numbers(0, 2000)
    batches = list(
        read(stream.name, endpoint_url=emulator.url, pace="off", state=state, batches=True, page_records=100)
    )
    assert len(batches) > 15
    with pytest.raises(StateError, match=r"another reader, process \d+, holds the state"):
        read(stream.name, endpoint_url=emulator.url, state=state)
    threads = [threading.Thread(target=batch.ack) for batch in reversed(batches)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert numbers(emulator, stream, state=state) == []


def test_a_checkpoint_kept_with_the_messages_goes_on_from_there(emulator: Emulator) -> None:
    stream, state = emulator.stream(2), Memory()
    stream.numbers(0, 1000)
    got: list[int] = []
    for batch in read(stream.name, endpoint_url=emulator.url, pace="off", batches=True, page_records=150):
        got += [message["n"] for message in batch]
        state.checkpoint = batch.checkpoint
        if len(got) > 500:
            break
    got += numbers(emulator, stream, state=state)
    assert sorted(got) == list(range(1000))


def test_a_slow_consumer_loses_nothing_and_asks_nothing_twice(
    model: Callable[..., Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers that wait for their consumer are judged by the time at which they came."""
    monkeypatch.setattr(Options, "_limits", lambda options: {"request-timeout": 6000, "page-records": 5, "pace": None})
    kinesis = model(2)
    for n in range(38):
        kinesis[n % 2].add({"n": n})
    got = []
    for message in read("orders", endpoint_url=kinesis.url):
        got.append(message["n"])
        time.sleep(6.5 if len(got) == 2 else 0)
    assert sorted(got) == list(range(38))
    asked = [asked.body["ShardIterator"] for asked in kinesis.asked if asked.operation == "GetRecords"]
    assert sorted(asked) == sorted(f"{shard}/{start}" for shard in kinesis.shards for start in (0, 5, 10, 15))


def test_all_shards_are_asked_at_once(model: Callable[..., Model]) -> None:
    together = threading.Barrier(6)

    def hook(kinesis: Model, asked: Any) -> None:
        if asked.operation == "GetRecords" and asked.body["ShardIterator"].endswith("/0"):
            together.wait(30)  # Nobody is answered before all six have asked.

    kinesis = model(6, hook)
    for n in range(60):
        kinesis[n % 6].add({"n": n})
    assert len(list(read("orders", endpoint_url=kinesis.url))) == 60
    assert kinesis.most_at_once == 6


def test_exactly_so_many_messages(emulator: Emulator) -> None:
    stream, state = emulator.stream(2), Memory()
    stream.numbers(0, 100)
    reading = read(stream.name, endpoint_url=emulator.url, state=state, max_messages=33)
    got = [message["n"] for message in reading]
    assert len(got) == 33 and reading.outcome == "limited"
    got += numbers(emulator, stream, state=state)
    assert sorted(got) == list(range(100))


def test_start_and_until_make_a_range(model: Callable[..., Model]) -> None:
    kinesis = model()
    now = datetime.now(timezone.utc)
    for n in range(10):
        kinesis[0].add({"n": n}, arrived=(now - timedelta(minutes=10 - n)).timestamp())

    def between(start: Any, until: Any = "caught-up") -> list[int]:
        messages = read("orders", endpoint_url=kinesis.url, pace="off", start=start, until=until)
        return [message["n"] for message in messages]

    assert between("5m30s ago", now - timedelta(minutes=2, seconds=30)) == [5, 6, 7]
    assert between(timedelta(minutes=3, seconds=30)) == [7, 8, 9]
    assert between(now - timedelta(minutes=3)) == [7, 8, 9]
    assert between((now - timedelta(minutes=3)).isoformat(), "1m30s ago") == [7, 8]
    assert between("trim-horizon", now.timestamp() - 480.5) == [0, 1]
    assert between("latest") == []


def test_the_first_run_at_the_tip_is_followed_by_what_came_since(model: Callable[..., Model]) -> None:
    kinesis, state = model(2), Memory()
    options: dict[str, Any] = {"endpoint_url": kinesis.url, "start": "latest", "state": state}
    kinesis[0].add({"n": 0}, arrived=time.time() - 60)
    assert list(read("orders", **options)) == []
    kinesis[0].add({"n": 1})
    kinesis[1].add({"n": 2})
    assert sorted(message["n"] for message in read("orders", **options)) == [1, 2]


def test_forever_goes_on_until_it_is_closed(emulator: Emulator) -> None:
    stream = emulator.stream()
    stream.numbers(0, 3)
    got = []
    with read(stream.name, endpoint_url=emulator.url, pace="off", until="forever") as messages:
        for message in messages:
            got.append(message["n"])
            if message["n"] == 2:
                stream.numbers(3, 6)
            if message["n"] == 5:
                break
    assert got == list(range(6))


@pytest.mark.parametrize(
    ("payload", "data", "expected"),
    [
        ("merged", b'{"a": 1}', {"a": 1}),
        ("merged", '{"lines": "a\u2028b\u0085c"}'.encode(), {"lines": "a\u2028b\u0085c"}),
        ("merged", b"[1, 2]", {"data": [1, 2]}),
        ("merged", b"no json", {"data": "no json"}),
        ("merged", b"\xff\xfe", {"data_base64": "//4="}),
        ("merged", b'{"_kinesis": "evil"}', {"data": {"_kinesis": "evil"}}),
        ("json", b'{"a": 1}', {"data": {"a": 1}}),
        ("text", "żółta".encode(), {"data": "żółta"}),
        ("base64", b"abc", {"data_base64": "YWJj"}),
        ("merged", b'{"e": 1e400, "lone": "\\ud800"}', {"e": float("inf"), "lone": "\ud800"}),
        ("merged", b'{"deep":' + b"[" * 60_000 + b"]" * 60_000 + b"}", None),
    ],
)
def test_payloads(emulator: Emulator, payload: Any, data: bytes, expected: dict[str, Any] | None) -> None:
    stream = emulator.stream()
    stream.put([data, {"a": 2}])
    first, second = read(stream.name, endpoint_url=emulator.url, payload=payload)
    rest = {name: value for name, value in first.items() if not name.startswith("_kinesis")}
    assert rest == (expected if expected is not None else {"data": data.decode()})
    assert second["_kinesis"]["seq_no"] > first["_kinesis"]["seq_no"]


def test_aggregates_are_taken_apart_and_gone_on_with_in_their_middle(model: Callable[..., Model]) -> None:
    kinesis, state = model(), Memory()
    kinesis[0].add(aggregate(b'{"n": 0}', b'{"n": 1}', b'{"n": 2}', b'{"n": 3}'))
    kinesis[0].add({"n": 4})
    got = []
    with read("orders", endpoint_url=kinesis.url, pace="off", state=state) as messages:
        for message in messages:
            got.append((message["n"], message["_kinesis"].get("sub_seq")))
            if message["n"] == 1:
                messages.ack()
                break
    again = list(read("orders", endpoint_url=kinesis.url, state=state))
    got += [(message["n"], message["_kinesis"].get("sub_seq")) for message in again]
    assert got == [(0, 0), (1, 1), (2, 2), (3, 3), (4, None)]
    assert len(list(read("orders", endpoint_url=kinesis.url, deaggregate=False))) == 2


def test_a_stream_that_is_not_there(emulator: Emulator) -> None:
    with pytest.raises(ReadError) as raised:
        list(read("no-such-stream", endpoint_url=emulator.url))
    assert raised.value.code == "ResourceNotFoundException" and "no-such-stream" in str(raised.value)
    assert raised.value.hint and "hint: " in str(raised.value)


def test_a_failure_in_the_middle_saves_what_was_acknowledged(model: Callable[..., Model]) -> None:
    refuse = False

    def hook(kinesis: Model, asked: Any) -> Any:
        return refusal("AccessDeniedException", "no") if refuse and asked.operation == "GetRecords" else None

    kinesis, state = model(1, hook), Memory()
    for n in range(10):
        kinesis[0].add({"n": n})
    got: list[int] = []
    with pytest.raises(ReadError, match="GetRecords of shardId-000000000000 was refused: AccessDeniedException: no"):
        for message in read("orders", endpoint_url=kinesis.url, pace="off", state=state, page_records=4):
            got.append(message["n"])
            refuse = len(got) > 3
    refuse = False
    got += [message["n"] for message in read("orders", endpoint_url=kinesis.url, state=state)]
    assert got == list(range(10))


def test_a_checkpoint_of_another_stream_is_refused(emulator: Emulator, tmp_path: Path) -> None:
    stream, other = emulator.stream(), emulator.stream()
    stream.numbers(0, 1)
    numbers(emulator, stream, state=tmp_path / "state.json")
    with pytest.raises(StateError, match=f"the checkpoint belongs to another stream: .*{stream.name}") as raised:
        read(other.name, endpoint_url=emulator.url, state=tmp_path / "state.json")
    assert raised.value.hint
    assert numbers(emulator, stream, state=tmp_path / "state.json") == []


def test_a_state_that_cannot_be_saved_ends_the_loop(emulator: Emulator) -> None:
    class Full(Memory):
        def save(self, checkpoint: str) -> None:
            raise OSError("the disk is full")

    stream = emulator.stream()
    stream.numbers(0, 10)
    got = []
    with pytest.raises(OSError, match="the disk is full"):
        for message in read(stream.name, endpoint_url=emulator.url, state=Full()):
            got.append(message["n"])
    assert got == list(range(10))


def test_checkpoints_are_joined(emulator: Emulator) -> None:
    stream = emulator.stream()
    stream.numbers(0, 100)
    batches = list(read(stream.name, endpoint_url=emulator.url, pace="off", batches=True, page_records=50))
    early, late = batches[0].checkpoint, batches[1].checkpoint
    assert merge_checkpoints(early, late) == merge_checkpoints(late, early) == late
    with pytest.raises(StateError, match="the checkpoint is damaged"):
        merge_checkpoints(early, "{}")


def test_asyncio_reads_once_stops_and_goes_on(emulator: Emulator, tmp_path: Path) -> None:
    stream, state = emulator.stream(3), tmp_path / "state.json"
    stream.numbers(0, 2000)
    options: dict[str, Any] = {"endpoint_url": emulator.url, "pace": "off", "state": state, "page_records": 200}

    async def main() -> list[int]:
        got: list[int] = []
        async with aread(stream.name, **options) as messages:
            async for message in messages:
                got.append(message["n"])
                if len(got) == 777:
                    await messages.ack()
                    break
        async with aread(stream.name, batches=True, **options) as batches:
            async for batch in batches:
                await batch.ack()
                got += [message["n"] for message in batch]
                if len(got) > 1500:
                    break
        got += [message["n"] async for message in aread(stream.name, **options)]
        return got

    assert sorted(asyncio.run(main())) == list(range(2000))
    assert numbers(emulator, stream, state=state) == []


def test_asyncio_leaves_the_loop_free_and_takes_coroutines_for_a_state(emulator: Emulator) -> None:
    class State:
        checkpoint: str | None = None

        async def load(self) -> str | None:
            await asyncio.sleep(0)
            return self.checkpoint

        async def save(self, checkpoint: str) -> None:
            await asyncio.sleep(0)
            self.checkpoint = checkpoint

    streams = [emulator.stream(), emulator.stream()]
    for stream in streams:
        stream.numbers(0, 500)

    async def one(stream: Stream, state: State) -> list[int]:
        reading = aread(stream.name, endpoint_url=emulator.url, pace="off", state=state, page_records=100)
        return [message["n"] async for message in reading]

    async def main() -> None:
        states = [State(), State()]
        both = await asyncio.gather(*map(one, streams, states))
        assert both == [list(range(500))] * 2
        assert await asyncio.gather(*map(one, streams, states)) == [[], []]

    asyncio.run(main())


def test_asyncio_that_is_cancelled_repeats_only_what_was_not_acknowledged(emulator: Emulator) -> None:
    stream, state = emulator.stream(), Memory()
    stream.numbers(0, 5)
    got = []

    async def consume() -> None:
        async with aread(stream.name, endpoint_url=emulator.url, state=state, until="forever") as messages:
            async for message in messages:
                got.append(message["n"])
                if message["n"] == 3:
                    await asyncio.sleep(60)

    async def main() -> None:
        task = asyncio.ensure_future(consume())
        while len(got) < 4:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert numbers(emulator, stream, state=state) == [3, 4]


def test_the_names_that_are_promised_are_there() -> None:
    assert all(hasattr(kinesis_reader, name) for name in kinesis_reader.__all__)
