"""One reader and all that belongs to it, without a way to wait: that is what `_sync` and `_async` add.

`Run.step` polls the component until there is something to hand out or to wait for. Requests are sent by threads, all
that are wanted at a time, and their answers are told to `Run.told`. A batch, which is a page unless its lines are more
than `limits.batch-bytes`, is taken out of the component whole, so that its shard's next page is asked for while the
caller works on this one. What is safe to keep is another matter:
`Ledger` knows which pages are acknowledged, and only those are in a checkpoint that is saved.
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
from ._invalid_records import InvalidRecords, InvalidRecordsFile
from ._component import (
    Component,
    Failure,
    Finished,
    Gap,
    Reader,
    Request,
    Retry,
    Seen,
    Wait,
    gap_in_words,
)
from ._crew import Answer, WorkerPool
from ._errors import Error, StateError
from ._messages import Loads, Message, parse, split
from ._printable import printable
from ._transport import Transport

log = logging.getLogger("kinesis_reader")

PIECE_SIZE = 1 << 20
"""Bytes of lines that are taken out of the component at a time."""

SAVE_INTERVAL = 1.0
"""Seconds that an acknowledged message may wait for its checkpoint to be saved: what a crash may cost to read again."""

WAIT_MIN = 0.001
"""Seconds. The component is polled at most a thousand times a second without a response."""

TURNS_MAX = 10_000
"""How often in a row the component may wait for a time that has passed, without an action in between."""

ACTIONS_MAX = 10_000_000
"""Actions that the component may take without a wait. Discovery of a large stream gives 10,000 notices."""

GAPS_MAX = 10_000
"""Gaps that are kept in `gaps`. All are logged."""


P = TypeVar("P", bound="Page")


class Page:
    """Messages of one page of one shard, or of a part of it, in order."""

    def __init__(self, run: Run, taken: _component.Batch) -> None:
        self._run = run
        self._pieces = taken.pieces(PIECE_SIZE)
        self._count = taken.count
        self._out = Out(taken.checkpoint)
        self.shard = taken.shard
        """The shard that all the messages are from."""
        self.behind = taken.behind / 1000
        """Seconds that the end of the batch is behind the tip of the shard."""
        self.checkpoint = ""
        """The checkpoint once this batch and all given out before it are safe: to be kept with them."""

    @property
    def shard_checkpoint(self) -> str:
        """The checkpoint of its shard alone, once this batch is safe."""
        return self._out.checkpoint

    @property
    def lines(self) -> str:
        """The messages as newline-delimited JSON."""
        return "".join(self._pieces)

    @property
    def messages(self) -> list[Message]:
        """The messages."""
        return list(self)

    def __iter__(self) -> Iterator[Message]:
        pieces = (parse(piece, self._run.loads) for piece in self._pieces)
        return chain.from_iterable(chain.from_iterable(pieces))

    def __len__(self) -> int:
        return self._count

    def __repr__(self) -> str:
        return f"<{self._count} messages of {printable(self.shard)}>"


class Out:
    """What the ledger keeps of a page that was given out. Its messages belong to the caller alone."""

    __slots__ = ("acknowledged", "checkpoint")

    def __init__(self, checkpoint: str) -> None:
        self.checkpoint = checkpoint
        """That of its shard alone."""
        self.acknowledged = False


class Ledger:
    """Which pages were given out and not acknowledged, and the checkpoint of all that is."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._out: dict[str, deque[Out]] = {}
        self._revision = reader.revision()
        self.checkpoint = reader.checkpoint()

    def is_clear(self) -> bool:
        """Whether all that was given out is acknowledged."""
        return not self._out

    def refresh(self) -> bool:
        """Where nothing is out, all that the reader reached is safe, and positions move without messages too.

        Tells whether there is something new.
        """
        if self._out or (revision := self._reader.revision()) == self._revision:
            return False
        self._revision, self.checkpoint = revision, self._reader.checkpoint()
        return True

    def give(self, page: Page) -> None:
        """A page goes out. To be called before the reader is told that it was delivered."""
        self.refresh()
        self._out.setdefault(page.shard, deque()).append(page._out)

    def acknowledge(self, page: Page) -> None:
        """A page counts once those of its shard before it are acknowledged too."""
        page._out.acknowledged = True
        out = self._out.get(page.shard, deque())
        last = None
        while out and out[0].acknowledged:
            last = out.popleft()
        if not out:
            self._out.pop(page.shard, None)
        if not self._out:
            self.refresh()
        elif last is not None:
            self.checkpoint = self._reader.merge(self.checkpoint, last.checkpoint)

    def within(self, page: Page, count: int) -> str:
        """The checkpoint of what is acknowledged and of the first `count` messages of a page that is out."""
        if count == 0:
            return self.checkpoint
        document = json.loads(page._out.checkpoint)
        document["shards"] = {page.shard: _place(page, count)}
        return self._reader.merge(self.checkpoint, json.dumps(document))


def _place(page: Page, count: int) -> dict[str, Any]:
    """The position behind the first `count` messages."""
    for piece in page._pieces:
        lines = split(piece)
        if count <= len(lines):
            envelope = json.JSONDecoder().raw_decode(lines[count - 1], len('{"_kinesis":'))[0]
            position = {"after": envelope["seq_no"]}
            if "sub_seq" in envelope:
                position["sub"] = envelope["sub_seq"]
            return position
        count -= len(lines)
    raise Error("more messages were acknowledged than there are")


class Run:
    """A reader, the way to Kinesis, and what is on its way between them."""

    def __init__(
        self,
        component: Component,
        config: Any,
        transport: Transport,
        loads: Loads,
        take_bad: InvalidRecords | None = None,
    ) -> None:
        self._component = component
        self._config = config
        self._transport = transport
        self.loads = loads
        """Makes a message of a line."""
        self._take_bad = take_bad
        self._ready: deque[_component.Batch] = deque()
        self._part: Page | None = None
        self._origin = time.monotonic()
        self.save_due = 0.0
        """The time, by `time.monotonic`, from which what is acknowledged should be saved."""
        self._dirty = False
        self._closed = False
        self._process = os.getpid()
        self._turns = 0
        self.index = 0
        """The message of the page in part that was given out last. Those before it are acknowledged."""
        self.acknowledged = -1
        """That message, if it is acknowledged too."""
        self.lock = threading.RLock()
        self.gaps: list[Gap] = []
        self.outcome: str | None = None

    def open(self, checkpoint: str | None, landed: Callable[[Answer], None]) -> None:
        """Opens the reader where the checkpoint says. `landed` is called with each answer, by other threads."""
        seed = random.SystemRandom().getrandbits(64)
        if not isinstance(checkpoint, str | None):
            kind = type(checkpoint).__name__
            raise StateError(f"load() of the state returned no text: {kind}", "return what save() was given, or None")
        now, present = self.now(), int(max(0.0, time.time()) * 1000)
        self._reader = self._component.open(self._config, checkpoint, seed, now, present)
        self._ledger = Ledger(self._reader)
        self.save_due = time.monotonic() + SAVE_INTERVAL
        transport, origin, now_of = self._transport, self._origin, _clock(self._origin)

        def work(request: Request) -> Answer:
            return Answer(request.id, transport.send(request, origin + request.deadline / 1000), now_of())

        self._crew = WorkerPool(self._config.limits.requests, work, landed, now_of)

    def now(self) -> int:
        """Milliseconds on the reader's clock."""
        return _clock(self._origin)()

    def step(self, kind: Callable[[Run, _component.Batch], P]) -> P | Wait | Finished:
        """The next page, of the kind that the caller gives out, or else why there is none."""
        with self.lock:
            self._check_process()
            waiting = self._pump()
            if self._ready:
                taken = self._ready.popleft()
                page = kind(self, taken)
                if self._take_bad is not None and taken.invalid > 0:
                    for lines in taken.invalid_lines(PIECE_SIZE):
                        self._take_bad(lines)
                self._ledger.give(page)
                taken.drop()
                self._reader.handle_delivered(taken.id, self.now())
                page.checkpoint = self._reader.checkpoint()
                # The shard's next page is asked for before the caller works on this one.
                self._pump()
                return page
            if isinstance(waiting, Finished):
                self.outcome = waiting.outcome
            return waiting

    def _pump(self) -> Wait | Finished:
        for count in range(ACTIONS_MAX):
            if count == 1:
                self._turns = 0
            match self._reader.poll():
                case Request() as request:
                    self._crew.put(request)
                case _component.Batch() as batch:
                    self._ready.append(batch)
                case (Wait() | Finished()) as waiting:
                    return waiting
                case Gap() as gap:
                    if len(self.gaps) < GAPS_MAX:
                        self.gaps.append(gap)
                    log.warning("%s", gap_in_words(gap))
                case Retry(why):
                    log.info("trying again: %s", why)
                case Seen(shard, state):
                    log.debug("%s is %s", printable(shard), state)
        raise Error(f"the component never waits: {ACTIONS_MAX} actions in a row")

    def told(self, answer: Answer) -> None:
        """Tells the reader of an answer, with the time at which it came: the caller may have been at work since."""
        if isinstance(answer.result, BaseException):
            kind = type(answer.result).__name__
            raise Error(f"a thread of the reader died: {kind}: {printable(answer.result)}") from answer.result
        with self.lock:
            self._turns = 0
            if isinstance(answer.result, Failure):
                self._reader.handle_failure(answer.request, answer.result, answer.at)
            else:
                self._reader.handle_response(answer.request, answer.result, answer.at)

    def timeout(self) -> None:
        """Tells the reader that time has passed."""
        with self.lock:
            self._reader.handle_timeout(self.now())

    def seconds_until(self, wait: Wait) -> float | None:
        """How long to wait for an answer."""
        if wait.until is None:
            if self._crew.is_idle():
                raise Error(f"the component waits for a response, but no request is out: {wait.reason}")
            return None
        seconds = (wait.until - self.now()) / 1000
        if seconds <= 0:
            self._turns += 1
            if self._turns > TURNS_MAX:
                raise Error(f"the component waits for a time that has passed: {wait.reason}")
        return max(WAIT_MIN, seconds)

    def give_out(self, page: Page) -> None:
        """The page is given out message by message."""
        self._part, self.index, self.acknowledged = page, 0, -1

    def acknowledge(self, page: Page) -> None:
        """The page is safe."""
        with self.lock:
            if self._closed:
                raise StateError("the reader is closed: its batches come again in the next run", "call ack before")
            self._check_process()
            if self._part is page:
                self._part = None
            if not page._out.acknowledged:
                self._ledger.acknowledge(page)
                self._dirty = True

    @contextlib.contextmanager
    def saving(self) -> Iterator[str | None]:
        """The checkpoint, if there is one that was not saved yet, for the caller to save."""
        with self.lock:
            self._dirty |= self._ledger.refresh()
            checkpoint = self.checkpoint() if self._dirty or self._given() > 0 else None
            self.save_due = time.monotonic() + SAVE_INTERVAL
        try:
            # What is acknowledged meanwhile is left to the next save.
            self._dirty = False
            yield checkpoint
        except BaseException:
            self._dirty = True
            raise

    def checkpoint(self) -> str:
        """The checkpoint of all that is acknowledged."""
        with self.lock:
            if self._closed:
                return self._ledger.checkpoint
            self._ledger.refresh()
            if self._part is None:
                return self._ledger.checkpoint
            return self._ledger.within(self._part, self._given())

    def _given(self) -> int:
        """How many messages of the page in part are acknowledged."""
        return 0 if self._part is None else self.index + (self.acknowledged == self.index)

    def is_of_this_process(self) -> bool:
        """Whether it was opened by this process. A forked process has a copy that is soon out of date."""
        return self._process == os.getpid()

    def _check_process(self) -> None:
        if not self.is_of_this_process():
            raise Error("the reader was opened by another process", "open a reader in each process, after the fork")

    def is_settled(self) -> bool:
        """Whether all that was given out is acknowledged, so that nothing is left to save."""
        return self._ledger.is_clear()

    def rest(self) -> None:
        """Sends nothing any more."""
        self._crew.stop()
        self._transport.close()
        if isinstance(self._take_bad, InvalidRecordsFile):
            self._take_bad.close()

    def close(self) -> None:
        """Sends nothing any more, and takes no acknowledgement any more."""
        with self.lock:
            self._closed = True
            self.rest()


def _clock(origin: float) -> Callable[[], int]:
    return lambda: int((time.monotonic() - origin) * 1000)
