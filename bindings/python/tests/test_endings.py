"""Everything ends: threads that die, waits without an end, batches that nobody acknowledges, copies of a process."""

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

from kinesis_reader import Error, StateError, _run, aread, read
from kinesis_reader._component import Finished, Gap, Reader, Seen, Wait
from kinesis_reader._transport import Transport


def filled(model: Callable[..., Model], hook: Any = None, count: int = 6) -> Model:
    kinesis = model(2, hook)
    for n in range(count):
        kinesis[n % 2].add({"n": n})
    return kinesis


async def all_of(url: str, **options: Any) -> list[Any]:
    return [message async for message in aread("orders", endpoint_url=url, **options)]


def ways(kinesis: Model, **options: Any) -> list[Callable[[], list[Any]]]:
    """To read all, in a loop and in asyncio."""
    return [
        lambda: list(read("orders", endpoint_url=kinesis.url, pace="off", **options)),
        lambda: asyncio.run(all_of(kinesis.url, pace="off", **options)),
    ]


@pytest.mark.parametrize("way", [0, 1])
def test_a_thread_that_dies_is_an_error_at_once(
    model: Callable[..., Model], monkeypatch: pytest.MonkeyPatch, way: int
) -> None:
    def send(transport: Transport, request: Any, due: float) -> Any:
        if request.operation == "get-records":
            raise SystemExit("marked")
        return before(transport, request, due)

    before = Transport.send
    monkeypatch.setattr(Transport, "send", send)
    with pytest.raises(Error, match="a thread of the reader died: SystemExit: marked"):
        ways(filled(model))[way]()


@pytest.mark.parametrize("way", [0, 1])
def test_threads_that_cannot_be_started_are_an_error_or_done_without(
    model: Callable[..., Model], monkeypatch: pytest.MonkeyPatch, way: int
) -> None:
    def start(thread: threading.Thread) -> None:
        if thread.name == "kinesis-reader":
            if len(started) >= most:
                raise RuntimeError("can't start new thread")
            started.append(thread)
        before(thread)

    before = threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", start)
    kinesis = filled(model)
    for most in (0, 1):
        started: list[threading.Thread] = []
        if most == 0:
            with pytest.raises(Error, match="no thread can be started: can't start new thread"):
                ways(kinesis)[way]()
        else:
            assert len(ways(kinesis)[way]()) == 6


@pytest.mark.parametrize("way", [0, 1])
@pytest.mark.parametrize(
    ("action", "words"),
    [
        (Wait(0, "pace"), "the component waits for a time that has passed: pace"),
        (Wait(None, "delivery"), "the component waits for a response, but no request is out: delivery"),
        (Seen("shard", "ready"), "the component never"),
    ],
)
def test_a_component_without_an_end_is_an_error(
    model: Callable[..., Model], monkeypatch: pytest.MonkeyPatch, way: int, action: Any, words: str
) -> None:
    monkeypatch.setattr(_run, "TURNS_MAX", 20)
    monkeypatch.setattr(_run, "ACTIONS_MAX", 1000)
    monkeypatch.setattr(Reader, "poll", lambda reader: action)
    with pytest.raises(Error, match=words):
        ways(filled(model))[way]()


def test_batches_that_are_not_acknowledged_are_not_kept_in_memory(model: Callable[..., Model]) -> None:
    kinesis = filled(model, count=40)
    gone = []
    with read("orders", endpoint_url=kinesis.url, pace="off", batches=True, page_records=5) as batches:
        for batch in batches:
            gone.append(weakref.ref(batch))
            del batch
            gc.collect()
            assert all(batch() is None for batch in gone[:-1])
    assert len(gone) == 8


def test_gaps_that_are_kept_are_so_many_and_all_are_told(
    model: Callable[..., Model], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_run, "GAPS_MAX", 1)
    actions = iter(
        [Gap("shard-0", "5"), Gap("shard-1", None), Gap("shard-2", None, 2**41), Finished("reached", None)]
    )
    monkeypatch.setattr(Reader, "poll", lambda reader: next(actions))
    reading = read("orders", endpoint_url=model().url)
    assert list(reading) == []
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert [gap.shard for gap in reading.gaps] == ["shard-0"]
    assert told == [
        "records of shard-0 have left the stream and may be unread: those that follow 5",
        "records of shard-1 have left the stream and may be unread",
        "the checkpoint of shard-2 is ahead of the present, at 2199023255552 ms since 1970: "
        "records that arrived since may be unread",
    ]


def test_a_state_that_loads_no_text_is_told(model: Callable[..., Model]) -> None:
    class State:
        def load(self) -> Any:
            return {"version": 1}

        def save(self, checkpoint: str) -> None:
            pass

    with pytest.raises(StateError, match=r"load\(\) of the state returned no text: dict"):
        list(read("orders", endpoint_url=model().url, state=State()))


def test_an_interrupt_saves_and_leaves_nothing_behind(model: Callable[..., Model], tmp_path: Path) -> None:
    kinesis, state = filled(model), tmp_path / "s.json"
    threads = {thread.name for thread in threading.enumerate()}
    got = []
    with pytest.raises(KeyboardInterrupt):
        for message in read("orders", endpoint_url=kinesis.url, pace="off", state=state, page_records=2):
            got.append(message["n"])
            if len(got) == 4:
                raise KeyboardInterrupt
    gc.collect()
    assert os.listdir(tmp_path) == ["s.json"]
    got += [message["n"] for message in read("orders", endpoint_url=kinesis.url, pace="off", state=state)]
    assert sorted(got[:3] + got[4:]) == list(range(6))
    for thread in threading.enumerate():
        if thread.name == "kinesis-reader" and thread.name not in threads:
            thread.join()


def test_an_interrupt_while_it_waits_ends_the_reader(
    model: Callable[..., Model], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def interrupted(run: Any, wait: Wait) -> float:
        raise KeyboardInterrupt

    monkeypatch.setattr(_run.Run, "seconds_until", interrupted)
    kinesis = filled(model)
    for way in ways(kinesis, state=tmp_path / "s.json"):
        with pytest.raises(KeyboardInterrupt):
            way()
        # Not even the lock is left.
        assert os.listdir(tmp_path) == []


def test_what_cannot_be_saved_as_the_program_ends_is_told(model: Callable[..., Model], tmp_path: Path) -> None:
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
    assert "the state was removed or replaced during the run" in done.stderr
    assert (tmp_path / "s.json").read_text() == "other"


def test_a_copy_of_a_process_does_not_read_on_or_save(model: Callable[..., Model], tmp_path: Path) -> None:
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


def test_a_listing_that_does_not_end_is_an_error(model: Callable[..., Model]) -> None:
    def hook(kinesis: Model, asked: Any) -> Reply | None:
        if asked.operation != "ListShards":
            return None
        if kinesis.count("ListShards") > 5000:
            return refusal("AccessDeniedException", "there is no end to it")
        token = "B" if asked.body.get("NextToken") == "A" else "A"
        return Reply(200, {"Shards": [kinesis._listed(kinesis[0])], "NextToken": token})

    kinesis = filled(model, hook)
    with pytest.raises(Error, match="ListShards"):
        ways(kinesis)[0]()
    assert kinesis.count("ListShards") < 5000
