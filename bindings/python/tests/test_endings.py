"""How runs end: by dead threads, endless waits, interrupts, forks, and batches that are never acknowledged."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import subprocess
import sys
import textwrap
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from model import Model, Reply, refusal

from kinesis_reader import Error, StateError, _run, aread, read, read_batches
from kinesis_reader._component import Finished, Gap, Reader, ShardNotice, Wait
from kinesis_reader._transport import Transport


def filled(model: Callable[..., Model], hook: Any = None, count: int = 6) -> Model:
    kinesis = model(2, hook)
    for n in range(count):
        kinesis[n % 2].add({"n": n})
    return kinesis


async def read_all(url: str, **options: Any) -> list[Any]:
    return [message async for message in aread("orders", endpoint_url=url, **options)]


def readers(kinesis: Model, **options: Any) -> list[Callable[[], list[Any]]]:
    """Returns functions that read all messages, in a loop and in asyncio."""
    return [
        lambda: list(read("orders", endpoint_url=kinesis.url, pace="off", **options)),
        lambda: asyncio.run(read_all(kinesis.url, pace="off", **options)),
    ]


@pytest.mark.parametrize("reader", [0, 1])
def test_a_thread_that_dies_ends_the_run_at_once(
    model: Callable[..., Model], monkeypatch: pytest.MonkeyPatch, reader: int
) -> None:
    def send(transport: Transport, request: Any, deadline: float) -> Any:
        if request.operation == "get-records":
            raise SystemExit("marked")
        return original(transport, request, deadline)

    original = Transport.send
    monkeypatch.setattr(Transport, "send", send)
    with pytest.raises(Error, match="a worker thread died: SystemExit: marked"):
        readers(filled(model))[reader]()


@pytest.mark.parametrize("reader", [0, 1])
def test_a_run_needs_one_thread_and_can_do_without_others(
    model: Callable[..., Model], monkeypatch: pytest.MonkeyPatch, reader: int
) -> None:
    def start(thread: threading.Thread) -> None:
        if thread.name == "kinesis-reader":
            if len(started) >= threads_max:
                raise RuntimeError("can't start new thread")
            started.append(thread)
        original(thread)

    original = threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", start)
    kinesis = filled(model)
    for threads_max in (0, 1):
        started: list[threading.Thread] = []
        if threads_max == 0:
            with pytest.raises(Error, match="cannot start a thread: can't start new thread"):
                readers(kinesis)[reader]()
        else:
            assert len(readers(kinesis)[reader]()) == 6


@pytest.mark.parametrize("reader", [0, 1])
@pytest.mark.parametrize(
    ("action", "message"),
    [
        (Wait(0, "pace"), "the component keeps waiting for a time that has passed: pace"),
        (Wait(None, "delivery"), "the component waits for an answer, but no request is in flight: delivery"),
        (ShardNotice("shard", "ready"), "the component returned more than 1000 actions without waiting"),
    ],
)
def test_a_component_that_does_not_make_progress_ends_the_run(
    model: Callable[..., Model], monkeypatch: pytest.MonkeyPatch, reader: int, action: Any, message: str
) -> None:
    monkeypatch.setattr(_run, "EXPIRED_WAITS_MAX", 20)
    monkeypatch.setattr(_run, "ACTIONS_MAX", 1000)
    monkeypatch.setattr(Reader, "poll", lambda reader: action)
    with pytest.raises(Error, match=message):
        readers(filled(model))[reader]()


def test_batches_that_are_not_acknowledged_are_freed(model: Callable[..., Model]) -> None:
    kinesis = filled(model, count=40)
    references = []
    with read_batches("orders", endpoint_url=kinesis.url, pace="off", page_records=5) as batches:
        for batch in batches:
            references.append(weakref.ref(batch))
            del batch
            gc.collect()
            assert all(reference() is None for reference in references[:-1])
    assert len(references) == 8


def test_all_gaps_are_logged_and_a_limited_number_is_kept(
    model: Callable[..., Model], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_run, "GAPS_MAX", 1)
    actions = iter(
        [
            Gap("shard-0", "5"),
            Gap("shard-1", None),
            Gap("shard-2", None, 2**41),
            Gap("shard-3", None, 2**64 - 1),
            Finished("reached", None),
        ]
    )
    monkeypatch.setattr(Reader, "poll", lambda reader: next(actions))
    reading = read("orders", endpoint_url=model().url)
    assert list(reading) == []
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert [gap.shard for gap in reading.gaps] == ["shard-0"]
    assert warnings == [
        "gap in shard-0: records after 5 may have left the stream unread",
        "gap in shard-1: records may have left the stream unread",
        "gap in shard-2: the checkpoint is in the future, and earlier records may be unread: 2039-09-07T15:47:35.552Z",
        "gap in shard-3: the checkpoint is in the future, and earlier records may be unread: 9999-12-31T23:59:59.999Z",
    ]


def test_a_state_that_does_not_load_text_is_reported(model: Callable[..., Model]) -> None:
    class State:
        def load(self) -> Any:
            return {"version": 1}

        def save(self, checkpoint: str) -> None:
            pass

    with pytest.raises(StateError, match=r"load\(\) of the state did not return text: dict"):
        list(read("orders", endpoint_url=model().url, state=State()))


def test_an_interrupt_saves_the_checkpoint_and_leaves_no_files(model: Callable[..., Model], tmp_path: Path) -> None:
    kinesis, state = filled(model), tmp_path / "s.json"
    threads = {thread.name for thread in threading.enumerate()}
    numbers = []
    with pytest.raises(KeyboardInterrupt):
        for message in read("orders", endpoint_url=kinesis.url, pace="off", state=state, page_records=2):
            numbers.append(message["n"])
            if len(numbers) == 4:
                raise KeyboardInterrupt
    gc.collect()
    assert os.listdir(tmp_path) == ["s.json"]
    numbers += [message["n"] for message in read("orders", endpoint_url=kinesis.url, pace="off", state=state)]
    assert sorted(numbers[:3] + numbers[4:]) == list(range(6))
    for thread in threading.enumerate():
        if thread.name == "kinesis-reader" and thread.name not in threads:
            thread.join()


def test_an_interrupt_during_a_wait_ends_the_run(
    model: Callable[..., Model], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def interrupted(run: Any, wait: Wait) -> float:
        raise KeyboardInterrupt

    monkeypatch.setattr(_run.Run, "seconds_until", interrupted)
    kinesis = filled(model)
    for reader in readers(kinesis, state=tmp_path / "s.json"):
        with pytest.raises(KeyboardInterrupt):
            reader()
        # Not even the lock is left.
        assert os.listdir(tmp_path) == []


def test_a_save_that_fails_at_exit_is_logged(model: Callable[..., Model], tmp_path: Path) -> None:
    kinesis = filled(model)
    code = f"""
        import logging, os
        from kinesis_reader import read
        logging.basicConfig()
        for message in read("orders", endpoint_url={kinesis.url!r}, pace="off", state="s.json"):
            if message["n"] == 4:
                open("s.json", "w").write("other")
                raise SystemError("marked")
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1 and "SystemError: marked" in done.stderr
    assert "state removed or replaced during the run" in done.stderr
    assert (tmp_path / "s.json").read_text() == "other"


def test_a_forked_process_neither_reads_nor_saves(model: Callable[..., Model], tmp_path: Path) -> None:
    kinesis = filled(model)
    code = f"""
        import os, sys
        from kinesis_reader import Error, read
        class State:
            def load(self): return None
            def save(self, checkpoint): print("saved by", "parent" if os.getpid() == parent else "child", flush=True)
        parent = os.getpid()
        reading = read("orders", endpoint_url={kinesis.url!r}, pace="off", state=State(), page_records=1)
        next(reading)
        if os.fork() == 0:
            try:
                list(reading)
            except Error as error:
                print("child:", error, flush=True)
            reading.close()
            sys.exit()
        os.wait()
        print("parent:", len(list(reading)))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "child: the reader was opened by another process" in done.stdout
    assert "saved by child" not in done.stdout and "saved by parent" in done.stdout and "parent: 5" in done.stdout


def test_an_endless_listing_ends_the_run(model: Callable[..., Model]) -> None:
    def hook(kinesis: Model, request: Any) -> Reply | None:
        if request.operation != "ListShards":
            return None
        if kinesis.count("ListShards") > 5000:
            return refusal("AccessDeniedException", "stop")
        token = "B" if request.body.get("NextToken") == "A" else "A"
        return Reply(200, {"Shards": [kinesis.describe(kinesis[0])], "NextToken": token})

    kinesis = filled(model, hook)
    with pytest.raises(Error, match="ListShards"):
        readers(kinesis)[0]()
    assert kinesis.count("ListShards") < 5000
