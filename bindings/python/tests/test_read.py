"""Reading in a loop and in asyncio: each message comes once, whatever the consumer does."""

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
from memory import Memory
from model import Model, aggregate, refusal

import kinesis_reader
from kinesis_reader import ReadError, StateError, aread, aread_batches, merge_checkpoints, read, read_batches
from kinesis_reader._options import Options


def read_numbers(emulator: Emulator, stream: Stream, **options: Any) -> list[int]:
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


def test_ten_thousand_messages_are_read_once_across_reshards_and_runs(emulator: Emulator, tmp_path: Path) -> None:
    stream, state = emulator.stream(3), tmp_path / "state.json"
    stream.numbers(0, 3000)
    first, second, third = stream.open_shards()
    stream.split(first)
    stream.numbers(3000, 6000)
    numbers: list[int] = []
    with read(stream.name, endpoint_url=emulator.url, pace="off", state=state, page_records=700) as messages:
        for message in messages:
            numbers.append(message["n"])
            if len(numbers) == 4321:
                messages.ack()
                break
    stream.merge(second, third)
    stream.numbers(6000, 10_000)
    numbers += read_numbers(emulator, stream, state=str(state))
    assert sorted(numbers) == list(range(10_000))
    assert read_numbers(emulator, stream, state=state) == []
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.json"]


def test_messages_of_a_shard_are_in_order_and_children_follow_their_parents(emulator: Emulator) -> None:
    stream = emulator.stream(2)
    stream.numbers(0, 1000)
    parent, _ = stream.open_shards()
    stream.split(parent)
    stream.numbers(1000, 2000)
    order: dict[str, list[int]] = {}
    finished_by: dict[str, int] = {}
    for index, message in enumerate(read(stream.name, endpoint_url=emulator.url, pace="off", page_records=100)):
        shard = message["_kinesis"]["shard_id"]
        order.setdefault(shard, []).append(int(message["_kinesis"]["seq_no"]))
        finished_by[shard] = index
    assert len(order) == 4
    assert all(sequences == sorted(sequences) for sequences in order.values())
    begun = {shard: index for index, shard in reversed(list(enumerate(order)))}
    children = [s["ShardId"] for s in stream.shards() if s.get("ParentShardId") == parent["ShardId"]]
    assert len(children) == 2 and all(begun[child] > begun[parent["ShardId"]] for child in children)


def test_the_message_in_hand_when_a_loop_ends_is_repeated(emulator: Emulator) -> None:
    stream, state = emulator.stream(), Memory()
    stream.numbers(0, 10)
    numbers = []
    with pytest.raises(ZeroDivisionError), read(stream.name, endpoint_url=emulator.url, state=state) as messages:
        for message in messages:
            numbers.append(message["n"])
            if message["n"] == 6:
                1 / 0  # noqa: B018
    assert numbers == list(range(7))
    assert read_numbers(emulator, stream, state=state) == [6, 7, 8, 9]


def test_leaving_a_loop_saves_when_the_iterator_is_deleted(emulator: Emulator) -> None:
    stream, state = emulator.stream(), Memory()
    stream.numbers(0, 10)
    for message in read(stream.name, endpoint_url=emulator.url, state=state):
        message.clear()  # The caller may change messages.
        if state.saves == 0 and message == {}:
            break
    assert read_numbers(emulator, stream, state=state) == list(range(10))
    assert read_numbers(emulator, stream, state=state) == []


def test_a_program_that_ends_with_an_exception_saves_first(emulator: Emulator, tmp_path: Path) -> None:
    stream, state = emulator.stream(), tmp_path / "state.json"
    stream.numbers(0, 10)
    program = f"""
        from kinesis_reader import read
        for message in read({stream.name!r}, endpoint_url={emulator.url!r}, state={str(state)!r}):
            if message["n"] == 4:
                raise SystemError("marked")
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True)
    assert done.returncode == 1 and "SystemError: marked" in done.stderr
    assert read_numbers(emulator, stream, state=state) == list(range(4, 10))


def test_a_program_that_is_killed_repeats_at_most_a_second_of_work(emulator: Emulator, tmp_path: Path) -> None:
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
    # The checkpoint was saved after message 1, when a second had passed. What was acknowledged by then is not repeated.
    assert read_numbers(emulator, stream, state=state) in ([2, 3, 4], [3, 4])


def test_batches_are_repeated_unless_acknowledged(emulator: Emulator) -> None:
    stream, state = emulator.stream(2), Memory()
    stream.numbers(0, 1000)
    options = {"endpoint_url": emulator.url, "pace": "off", "state": state, "page_records": 100}
    acknowledged, others = [], []
    with read_batches(stream.name, **options) as batches:
        for count, batch in enumerate(batches):
            numbers = [message["n"] for message in batch]
            assert len(numbers) == len(batch)
            assert numbers == [json.loads(line)["n"] for line in batch.lines.splitlines()]
            if count in (0, 1, 5):
                others += numbers
            else:
                batch.ack()
                acknowledged += numbers
    again = read_numbers(emulator, stream, state=state)
    assert set(acknowledged) | set(again) == set(range(1000)) and set(others) <= set(again)


def test_batches_can_be_acknowledged_in_any_order_and_after_the_end(emulator: Emulator, tmp_path: Path) -> None:
    stream, state = emulator.stream(3), tmp_path / "state.json"
    stream.numbers(0, 2000)
    batches = list(read_batches(stream.name, endpoint_url=emulator.url, pace="off", state=state, page_records=100))
    assert len(batches) > 15
    with pytest.raises(StateError, match=r"state in use by process \d+"):
        read(stream.name, endpoint_url=emulator.url, state=state)
    threads = [threading.Thread(target=batch.ack) for batch in reversed(batches)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read_numbers(emulator, stream, state=state) == []


def test_a_run_continues_from_a_checkpoint_stored_with_the_messages(emulator: Emulator) -> None:
    stream, state = emulator.stream(2), Memory()
    stream.numbers(0, 1000)
    numbers: list[int] = []
    for batch in read_batches(stream.name, endpoint_url=emulator.url, pace="off", page_records=150):
        numbers += [message["n"] for message in batch]
        state.checkpoint = batch.checkpoint
        if len(numbers) > 500:
            break
    numbers += read_numbers(emulator, stream, state=state)
    assert sorted(numbers) == list(range(1000))


def test_a_slow_consumer_loses_nothing_and_repeats_no_request(
    model: Callable[..., Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers that wait for the consumer are judged by the time at which they arrived."""
    monkeypatch.setattr(Options, "_limits", lambda options: {"request-timeout": 6000, "page-records": 5, "pace": None})
    kinesis = model(2)
    for n in range(38):
        kinesis[n % 2].add({"n": n})
    numbers = []
    for message in read("orders", endpoint_url=kinesis.url):
        numbers.append(message["n"])
        time.sleep(6.5 if len(numbers) == 2 else 0)
    assert sorted(numbers) == list(range(38))
    iterators = [request.body["ShardIterator"] for request in kinesis.requests if request.operation == "GetRecords"]
    assert sorted(iterators) == sorted(f"{shard}/{start}" for shard in kinesis.shards for start in (0, 5, 10, 15))


def test_shards_are_read_side_by_side(model: Callable[..., Model]) -> None:
    together = threading.Barrier(6)

    def hook(kinesis: Model, request: Any) -> None:
        if request.operation == "GetRecords" and request.body["ShardIterator"].endswith("/0"):
            together.wait(30)  # No request is answered before all six have arrived.

    kinesis = model(6, hook)
    for n in range(60):
        kinesis[n % 6].add({"n": n})
    assert len(list(read("orders", endpoint_url=kinesis.url))) == 60
    assert kinesis.most_in_flight == 6


def test_max_messages_ends_a_run_after_exactly_that_many(emulator: Emulator) -> None:
    stream, state = emulator.stream(2), Memory()
    stream.numbers(0, 100)
    reading = read(stream.name, endpoint_url=emulator.url, state=state, max_messages=33)
    numbers = [message["n"] for message in reading]
    assert len(numbers) == 33 and reading.outcome == "limited"
    numbers += read_numbers(emulator, stream, state=state)
    assert sorted(numbers) == list(range(100))


def test_start_and_until_select_a_range_of_time(model: Callable[..., Model]) -> None:
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


def test_after_a_first_run_at_the_tip_the_next_run_reads_what_arrived_since(model: Callable[..., Model]) -> None:
    kinesis, state = model(2), Memory()
    options: dict[str, Any] = {"endpoint_url": kinesis.url, "start": "latest", "state": state}
    kinesis[0].add({"n": 0}, arrived=time.time() - 60)
    assert list(read("orders", **options)) == []
    kinesis[0].add({"n": 1})
    kinesis[1].add({"n": 2})
    assert sorted(message["n"] for message in read("orders", **options)) == [1, 2]


def test_a_run_without_an_end_continues_until_it_is_closed(emulator: Emulator) -> None:
    stream = emulator.stream()
    stream.numbers(0, 3)
    numbers = []
    with read(stream.name, endpoint_url=emulator.url, pace="off", until="forever") as messages:
        for message in messages:
            numbers.append(message["n"])
            if message["n"] == 2:
                stream.numbers(3, 6)
            if message["n"] == 5:
                break
    assert numbers == list(range(6))


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
def test_a_payload_has_the_chosen_form_or_is_text_or_base64(
    emulator: Emulator, payload: Any, data: bytes, expected: dict[str, Any] | None
) -> None:
    stream = emulator.stream()
    stream.put([data, {"a": 2}])
    first, second = read(stream.name, endpoint_url=emulator.url, payload=payload)
    rest = {name: value for name, value in first.items() if not name.startswith("_kinesis")}
    assert rest == (expected if expected is not None else {"data": data.decode()})
    assert second["_kinesis"]["seq_no"] > first["_kinesis"]["seq_no"]


def test_a_run_continues_inside_an_aggregated_record(model: Callable[..., Model]) -> None:
    kinesis, state = model(), Memory()
    kinesis[0].add(aggregate(b'{"n": 0}', b'{"n": 1}', b'{"n": 2}', b'{"n": 3}'))
    kinesis[0].add({"n": 4})
    delivered = []
    with read("orders", endpoint_url=kinesis.url, pace="off", state=state) as messages:
        for message in messages:
            delivered.append((message["n"], message["_kinesis"].get("sub_seq")))
            if message["n"] == 1:
                messages.ack()
                break
    again = list(read("orders", endpoint_url=kinesis.url, state=state))
    delivered += [(message["n"], message["_kinesis"].get("sub_seq")) for message in again]
    assert delivered == [(0, 0), (1, 1), (2, 2), (3, 3), (4, None)]
    assert len(list(read("orders", endpoint_url=kinesis.url, deaggregate=False))) == 2


def test_a_missing_stream_is_reported(emulator: Emulator) -> None:
    with pytest.raises(ReadError) as raised:
        list(read("no-such-stream", endpoint_url=emulator.url))
    assert raised.value.code == "ResourceNotFoundException" and "no-such-stream" in str(raised.value)
    assert raised.value.hint and "hint: " in str(raised.value)


def test_a_failed_run_saves_what_was_acknowledged(model: Callable[..., Model]) -> None:
    is_refused = False

    def hook(kinesis: Model, request: Any) -> Any:
        return refusal("AccessDeniedException", "no") if is_refused and request.operation == "GetRecords" else None

    kinesis, state = model(1, hook), Memory()
    for n in range(10):
        kinesis[0].add({"n": n})
    numbers: list[int] = []
    with pytest.raises(ReadError, match="GetRecords of shardId-000000000000 failed: AccessDeniedException: no"):
        for message in read("orders", endpoint_url=kinesis.url, pace="off", state=state, page_records=4):
            numbers.append(message["n"])
            is_refused = len(numbers) > 3
    is_refused = False
    numbers += [message["n"] for message in read("orders", endpoint_url=kinesis.url, state=state)]
    assert numbers == list(range(10))


def test_a_checkpoint_of_another_stream_is_refused(emulator: Emulator, tmp_path: Path) -> None:
    stream, other = emulator.stream(), emulator.stream()
    stream.numbers(0, 1)
    read_numbers(emulator, stream, state=tmp_path / "state.json")
    with pytest.raises(StateError, match=f"the checkpoint belongs to another stream: .*{stream.name}") as raised:
        read(other.name, endpoint_url=emulator.url, state=tmp_path / "state.json")
    assert raised.value.hint
    assert read_numbers(emulator, stream, state=tmp_path / "state.json") == []


def test_an_error_while_saving_ends_the_loop(emulator: Emulator) -> None:
    class Full(Memory):
        def save(self, checkpoint: str) -> None:
            raise OSError("the disk is full")

    stream = emulator.stream()
    stream.numbers(0, 10)
    numbers = []
    with pytest.raises(OSError, match="the disk is full"):
        for message in read(stream.name, endpoint_url=emulator.url, state=Full()):
            numbers.append(message["n"])
    assert numbers == list(range(10))


def test_checkpoints_can_be_joined(emulator: Emulator) -> None:
    stream = emulator.stream()
    stream.numbers(0, 100)
    batches = list(read_batches(stream.name, endpoint_url=emulator.url, pace="off", page_records=50))
    early, late = batches[0].checkpoint, batches[1].checkpoint
    assert merge_checkpoints(early, late) == merge_checkpoints(late, early) == late
    with pytest.raises(StateError, match="invalid checkpoint"):
        merge_checkpoints(early, "{}")


def test_asyncio_reads_each_message_once_across_runs(emulator: Emulator, tmp_path: Path) -> None:
    stream, state = emulator.stream(3), tmp_path / "state.json"
    stream.numbers(0, 2000)
    options: dict[str, Any] = {"endpoint_url": emulator.url, "pace": "off", "state": state, "page_records": 200}

    async def main() -> list[int]:
        numbers: list[int] = []
        async with aread(stream.name, **options) as messages:
            async for message in messages:
                numbers.append(message["n"])
                if len(numbers) == 777:
                    await messages.ack()
                    break
        async with aread_batches(stream.name, **options) as batches:
            async for batch in batches:
                await batch.ack()
                numbers += [message["n"] for message in batch]
                if len(numbers) > 1500:
                    break
        numbers += [message["n"] async for message in aread(stream.name, **options)]
        return numbers

    assert sorted(asyncio.run(main())) == list(range(2000))
    assert read_numbers(emulator, stream, state=state) == []


def test_asyncio_reads_streams_concurrently_and_accepts_states_with_coroutines(emulator: Emulator) -> None:
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


def test_a_cancelled_task_repeats_only_what_was_not_acknowledged(emulator: Emulator) -> None:
    stream, state = emulator.stream(), Memory()
    stream.numbers(0, 5)
    numbers = []

    async def consume() -> None:
        async with aread(stream.name, endpoint_url=emulator.url, state=state, until="forever") as messages:
            async for message in messages:
                numbers.append(message["n"])
                if message["n"] == 3:
                    await asyncio.sleep(60)

    async def main() -> None:
        task = asyncio.ensure_future(consume())
        while len(numbers) < 4:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert read_numbers(emulator, stream, state=state) == [3, 4]


def test_all_public_names_exist() -> None:
    assert all(hasattr(kinesis_reader, name) for name in kinesis_reader.__all__)
