"""One reader with its requests and its ledger. `_sync` and `_async` add the ways to wait.

`Run.step` polls the component until there is a page to deliver or something to wait for. Threads send the requests, and
their answers go to `Run.handle_answer`.

A batch, which is a page unless its lines exceed `limits.batch-bytes`, is taken out of the component as a whole, so that
the shard's next page is requested while the caller works on this one. So the component's own checkpoint runs ahead of
the caller: `Ledger` knows which pages are acknowledged, and only those are in a checkpoint that is saved.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, TypeVar

from . import _component
from ._component import (
    Component,
    Failure,
    Finished,
    Gap,
    Outcome,
    Reader,
    Request,
    Retry,
    ShardNotice,
    Wait,
    describe_gap,
)
from ._errors import Error, StateError
from ._invalid_records import InvalidRecordsFile, OnInvalidRecords
from ._messages import Loads, Message, parse, split
from ._printable import printable
from ._transport import Transport
from ._workers import Answer, WorkerPool

log = logging.getLogger("kinesis_reader")

PIECE_SIZE = 1 << 20
"""Bytes of lines to take out of the component at a time."""

SAVE_INTERVAL = 1.0
"""Seconds between saves while messages are acknowledged. This is how much work a crash may repeat."""

WAIT_MIN = 0.001
"""Seconds. Without an answer, the component is polled at most a thousand times a second."""

EXPIRED_WAITS_MAX = 10_000
"""How often in a row the component may wait for a time that has passed, without an action in between."""

ACTIONS_MAX = 10_000_000
"""Actions that the component may return before it waits. Discovery of a large stream gives 10,000 notices."""

GAPS_MAX = 10_000
"""Gaps to keep in `gaps`. All are logged."""


P = TypeVar("P", bound="Page")


class Page:
    """Messages of one page of one shard, or of a part of it, in order."""

    def __init__(self, run: Run, batch: _component.Batch) -> None:
        self._run = run
        self._pieces = batch.pieces(PIECE_SIZE)
        self._count = batch.count
        self._delivery = Delivery(batch.checkpoint)
        self.shard = batch.shard
        """The shard of all the messages."""
        self.behind = batch.behind / 1000
        """The lag at the end of the batch, in seconds."""
        self.checkpoint = ""
        """The checkpoint after this batch and all that were delivered before it, to be stored with them."""

    @property
    def shard_checkpoint(self) -> str:
        """The checkpoint of this shard alone, after this batch."""
        return self._delivery.checkpoint

    @property
    def lines(self) -> str:
        """The messages as newline-delimited JSON."""
        return "".join(self._pieces)

    @property
    def messages(self) -> list[Message]:
        """The messages as a list."""
        return list(self)

    def __iter__(self) -> Iterator[Message]:
        pieces = (parse(piece, self._run.loads) for piece in self._pieces)
        return chain.from_iterable(chain.from_iterable(pieces))

    def __len__(self) -> int:
        return self._count

    def __repr__(self) -> str:
        return f"<{self._count} messages of {printable(self.shard)}>"


class Delivery:
    """What the ledger keeps of a page that was delivered. The messages belong to the caller alone."""

    __slots__ = ("acknowledged", "checkpoint")

    def __init__(self, checkpoint: str) -> None:
        self.checkpoint = checkpoint
        """That of the page's shard alone."""
        self.acknowledged = False


class Ledger:
    """The pages that were delivered but not acknowledged, and the checkpoint of all that are acknowledged."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._pending: dict[str, deque[Delivery]] = {}
        self._revision = reader.revision()
        self.checkpoint = reader.checkpoint()

    def is_settled(self) -> bool:
        """Whether all delivered pages are acknowledged."""
        return not self._pending

    def refresh(self) -> bool:
        """Adopts the reader's checkpoint if all pages are acknowledged. Positions also move without messages.

        Returns whether the checkpoint changed.
        """
        if self._pending or (revision := self._reader.revision()) == self._revision:
            return False
        self._revision, self.checkpoint = revision, self._reader.checkpoint()
        return True

    def add(self, page: Page) -> None:
        """Adds a page that is about to be delivered. Call this before the delivery is reported to the reader."""
        self.refresh()
        self._pending.setdefault(page.shard, deque()).append(page._delivery)

    def acknowledge(self, page: Page) -> None:
        """Acknowledges a page. It counts once the earlier pages of its shard are acknowledged too."""
        page._delivery.acknowledged = True
        pending = self._pending.get(page.shard, deque())
        last = None
        while pending and pending[0].acknowledged:
            last = pending.popleft()
        if not pending:
            self._pending.pop(page.shard, None)
        if not self._pending:
            self.refresh()
        elif last is not None:
            self.checkpoint = self._reader.merge(self.checkpoint, last.checkpoint)

    def checkpoint_within(self, page: Page, count: int) -> str:
        """Returns the checkpoint of all that is acknowledged, and of the first `count` messages of a pending page."""
        if count == 0:
            return self.checkpoint
        document = json.loads(page._delivery.checkpoint)
        document["shards"] = {page.shard: _position_within(page, count)}
        return self._reader.merge(self.checkpoint, json.dumps(document))


def _position_within(page: Page, count: int) -> dict[str, Any]:
    """Returns the position after the first `count` messages."""
    for piece in page._pieces:
        lines = split(piece)
        if count <= len(lines):
            envelope = json.JSONDecoder().raw_decode(lines[count - 1], len('{"_kinesis":'))[0]
            position = {"after": envelope["seq_no"]}
            if "sub_seq" in envelope:
                position["sub"] = envelope["sub_seq"]
            return position
        count -= len(lines)
    raise Error("more messages were acknowledged than the page has")


class Run:
    """A reader and its requests."""

    def __init__(
        self,
        component: Component,
        config: Any,
        transport: Transport,
        loads: Loads,
        on_invalid_records: OnInvalidRecords | None = None,
    ) -> None:
        self._component = component
        self._config = config
        self._transport = transport
        self.loads = loads
        self._on_invalid_records = on_invalid_records
        self._ready: deque[_component.Batch] = deque()
        # The page whose messages are delivered one by one.
        self._current: Page | None = None
        self._origin = time.monotonic()
        self.save_due = 0.0
        """When to save the next time, by `time.monotonic`."""
        self._dirty = False
        self._closed = False
        self._process = os.getpid()
        self._expired_waits = 0
        self.index = 0
        """The index in the current page of the message that was delivered last. Those before it are acknowledged."""
        self.acknowledged = -1
        """The same index, if that message is acknowledged too."""
        self.lock = threading.RLock()
        self.gaps: list[Gap] = []
        self.outcome: Outcome | None = None

    def open(self, checkpoint: str | None, on_answer: Callable[[Answer], None]) -> None:
        """Opens the reader at the checkpoint. Other threads will call `on_answer` with each answer."""
        seed = random.SystemRandom().getrandbits(64)
        if not isinstance(checkpoint, str | None):
            kind = type(checkpoint).__name__
            hint = "return what save() received last, or None"
            raise StateError(f"load() of the state did not return text: {kind}", hint)
        now, present = self.now(), int(max(0.0, time.time()) * 1000)
        self._reader = self._component.open(self._config, checkpoint, seed, now, present)
        self._ledger = Ledger(self._reader)
        self.save_due = time.monotonic() + SAVE_INTERVAL
        transport, origin, now_of = self._transport, self._origin, _clock(self._origin)

        def work(request: Request) -> Answer:
            return Answer(request.id, transport.send(request, origin + request.deadline / 1000), now_of())

        self._workers = WorkerPool(self._config.limits.requests, work, on_answer, now_of)

    def now(self) -> int:
        """Returns the current instant, in milliseconds."""
        return _clock(self._origin)()

    def step(self, make_page: Callable[[Run, _component.Batch], P]) -> P | Wait | Finished:
        """Returns the next page, or why there is none."""
        with self.lock:
            self._check_process()
            state = self._poll()
            if self._ready:
                batch = self._ready.popleft()
                page = make_page(self, batch)
                if self._on_invalid_records is not None and batch.invalid > 0:
                    for lines in batch.invalid_lines(PIECE_SIZE):
                        self._on_invalid_records(lines)
                self._ledger.add(page)
                batch.drop()
                self._reader.handle_delivered(batch.id, self.now())
                page.checkpoint = self._reader.checkpoint()
                # Requests the shard's next page before the caller works on this one.
                self._poll()
                return page
            if isinstance(state, Finished):
                self.outcome = state.outcome
            return state

    def _poll(self) -> Wait | Finished:
        for count in range(ACTIONS_MAX):
            if count == 1:
                self._expired_waits = 0
            match self._reader.poll():
                case Request() as request:
                    self._workers.send(request)
                case _component.Batch() as batch:
                    self._ready.append(batch)
                case (Wait() | Finished()) as state:
                    return state
                case Gap() as gap:
                    if len(self.gaps) < GAPS_MAX:
                        self.gaps.append(gap)
                    log.warning("%s", describe_gap(gap))
                case Retry(message):
                    log.info("retrying: %s", message)
                case ShardNotice(shard, shard_state):
                    log.debug("%s: %s", printable(shard), shard_state)
        raise Error(f"the component returned more than {ACTIONS_MAX} actions without waiting")

    def handle_answer(self, answer: Answer) -> None:
        """Reports an answer to the reader, with the time at which it arrived: the caller may have been busy since."""
        if isinstance(answer.result, BaseException):
            kind = type(answer.result).__name__
            raise Error(f"a worker thread died: {kind}: {printable(answer.result)}") from answer.result
        with self.lock:
            self._expired_waits = 0
            if isinstance(answer.result, Failure):
                self._reader.handle_failure(answer.request, answer.result, answer.at)
            else:
                self._reader.handle_response(answer.request, answer.result, answer.at)

    def handle_timeout(self) -> None:
        """Reports to the reader that time has passed."""
        with self.lock:
            self._reader.handle_timeout(self.now())

    def seconds_until(self, wait: Wait) -> float | None:
        """Returns how long to wait for an answer."""
        if wait.until is None:
            if self._workers.is_idle():
                raise Error(f"the component waits for an answer, but no request is in flight: {wait.reason}")
            return None
        seconds = (wait.until - self.now()) / 1000
        if seconds <= 0:
            self._expired_waits += 1
            if self._expired_waits > EXPIRED_WAITS_MAX:
                raise Error(f"the component keeps waiting for a time that has passed: {wait.reason}")
        return max(WAIT_MIN, seconds)

    def begin(self, page: Page) -> None:
        """Begins to deliver a page message by message."""
        self._current, self.index, self.acknowledged = page, 0, -1

    def acknowledge(self, page: Page) -> None:
        with self.lock:
            if self._closed:
                raise StateError(
                    "the batch can no longer be acknowledged: the reader is closed",
                    "call ack() before closing it; the next run delivers the batch again",
                )
            self._check_process()
            if self._current is page:
                self._current = None
            if not page._delivery.acknowledged:
                self._ledger.acknowledge(page)
                self._dirty = True

    @contextlib.contextmanager
    def saving(self) -> Iterator[str | None]:
        """Gives the checkpoint to save, or `None` if the last one that was saved is still current."""
        with self.lock:
            self._dirty |= self._ledger.refresh()
            checkpoint = self.checkpoint() if self._dirty or self._acknowledged_count() > 0 else None
            self.save_due = time.monotonic() + SAVE_INTERVAL
        try:
            # What is acknowledged during the save is left to the next one.
            self._dirty = False
            yield checkpoint
        except BaseException:
            self._dirty = True
            raise

    def checkpoint(self) -> str:
        """Returns the checkpoint of all that is acknowledged."""
        with self.lock:
            if self._closed:
                return self._ledger.checkpoint
            self._ledger.refresh()
            if self._current is None:
                return self._ledger.checkpoint
            return self._ledger.checkpoint_within(self._current, self._acknowledged_count())

    def _acknowledged_count(self) -> int:
        """Returns how many messages of the current page are acknowledged."""
        return 0 if self._current is None else self.index + (self.acknowledged == self.index)

    def is_in_own_process(self) -> bool:
        """Whether this process opened the run. The copy in a forked process is soon out of date."""
        return self._process == os.getpid()

    def _check_process(self) -> None:
        if not self.is_in_own_process():
            raise Error("the reader was opened by another process", "open a reader in each process, after forking")

    def is_settled(self) -> bool:
        """Whether all delivered pages are acknowledged, so that nothing more can be saved."""
        return self._ledger.is_settled()

    def stop(self) -> None:
        """Sends no more requests. Pages may still be acknowledged."""
        self._workers.stop()
        self._transport.close()
        if isinstance(self._on_invalid_records, InvalidRecordsFile):
            self._on_invalid_records.close()

    def close(self) -> None:
        """Sends no more requests, and accepts no more acknowledgements."""
        with self.lock:
            self._closed = True
            self.stop()


def _clock(origin: float) -> Callable[[], int]:
    return lambda: int((time.monotonic() - origin) * 1000)
