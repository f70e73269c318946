"""Reading in a `for` loop."""

from __future__ import annotations

import atexit
import contextlib
import logging
import sys
import threading
import weakref
from collections.abc import Callable, Generator
from queue import Empty, SimpleQueue
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ._component import Finished, Gap, Outcome, Wait
from ._errors import Error
from ._messages import Message
from ._printable import printable
from ._run import Page, Run
from ._state import FileState, State
from ._workers import Answer

if sys.version_info >= (3, 11):
    from typing import Self
elif TYPE_CHECKING:
    from typing_extensions import Self

log = logging.getLogger("kinesis_reader")

T = TypeVar("T")
P = TypeVar("P", bound=Page)


class Batch(Page):
    """Messages of one shard, in order: a page, or part of one whose lines exceed 32 MiB.

    Iterate over it, or take its `lines`. Call `ack` once the messages are durable.
    """

    def __init__(self, run: Run, batch: Any, saver: CheckpointSaver) -> None:
        super().__init__(run, batch)
        self._saver = saver

    def ack(self) -> None:
        """Acknowledges the messages. When this returns, the checkpoint is saved. Any thread may call it.

        Batches may be acknowledged in any order. Each counts once the earlier ones of its shard are acknowledged too.
        """
        self._run.acknowledge(self)
        self._saver.save()
        if self._run.outcome is not None and self._run.is_settled():
            self._saver.close()


class Reading(Generic[T]):
    """One run, which can be iterated over once.

    If the loop is left early, by `break` or by an exception, what was acknowledged is saved when the iterator is
    closed: at the end of `with`, by `close()`, when the iterator is deleted, or when the program ends.
    """

    def __init__(self, run: Run, items: Generator[T, None, None], saver: CheckpointSaver) -> None:
        self._run = run
        self._items = items
        self._saver = saver
        _open.add(self)

    def __iter__(self) -> Generator[T, None, None]:
        return self._items

    def __next__(self) -> T:
        return next(self._items)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def checkpoint(self) -> str:
        """The checkpoint of all that is acknowledged, as JSON text."""
        return self._run.checkpoint()

    @property
    def outcome(self) -> Outcome | None:
        """How the run ended; `None` if it has not ended, or was left early."""
        return self._run.outcome

    @property
    def gaps(self) -> list[Gap]:
        """Where records may have left the stream before they were read."""
        return list(self._run.gaps)

    def close(self) -> None:
        """Ends the run and saves what was acknowledged. Only needed if a loop is left early."""
        self._items.close()
        self._saver.close()


class Messages(Reading[Message]):
    """An iterator over messages. Requesting the next message acknowledges the one before."""

    def ack(self) -> None:
        """Acknowledges the last message too, before the loop is left by `break`."""
        self._run.acknowledged = self._run.index
        self._saver.save()


class Batches(Reading[Batch]):
    """An iterator over batches. Each is acknowledged by its `ack`."""


_open: weakref.WeakSet[Reading[Any]] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """Closes what is still open: an exception that ends the program keeps the iterator alive until it is too late to
    save."""
    for reading in list(_open):
        try:
            reading.close()
        except Exception as error:
            log.warning("cannot save the last acknowledged messages, which will be repeated: %s", printable(error))


class CheckpointSaver:
    """Saves the checkpoints of a run in its state."""

    def __init__(self, run: Run, state: State | None) -> None:
        self._run = run
        self._state = state
        self._lock = threading.Lock()
        self._closed = False

    def open(self) -> SimpleQueue[Answer]:
        """Opens the reader at the checkpoint in the state. Returns the queue of its answers."""
        answers: SimpleQueue[Answer] = SimpleQueue()
        try:
            self._run.open(None if self._state is None else self._state.load(), answers.put)
        except BaseException:
            self._release()
            raise
        return answers

    def save(self) -> None:
        """Saves what is acknowledged. When this returns, it is saved, even if another thread did it."""
        with self._lock, self._run.saving() as checkpoint:
            if checkpoint is not None and self._state is not None:
                self._state.save(checkpoint)

    def finish(self) -> None:
        """Ends the run. Pages that were delivered may still be acknowledged."""
        self._run.stop()
        self.save()
        if self._run.is_settled():
            self.close()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if not self._run.is_in_own_process():
            # In a forked process, the checkpoint is out of date.
            self._release()
            return
        try:
            self.save()
        finally:
            self._run.close()
            self._release()

    def _release(self) -> None:
        if isinstance(self._state, FileState):
            self._state.close()


def open_messages(run: Run, state: State | None) -> Messages:
    """Opens the reader and returns its messages."""
    saver = CheckpointSaver(run, state)
    return Messages(run, _messages(run, saver, saver.open()), saver)


def open_batches(run: Run, state: State | None) -> Batches:
    """Opens the reader and returns its batches."""
    saver = CheckpointSaver(run, state)
    return Batches(run, _batches(run, saver, saver.open()), saver)


def _messages(run: Run, saver: CheckpointSaver, answers: SimpleQueue[Answer]) -> Generator[Message, None, None]:
    try:
        for page in _pages(run, saver, answers, Page):
            run.begin(page)
            for run.index, message in enumerate(page):
                yield message
                if monotonic() >= run.save_due:
                    run.index += 1
                    saver.save()
            run.acknowledge(page)
            del page
    except GeneratorExit:
        saver.close()
        raise
    except BaseException:
        # The original error matters, and not an error that follows from it.
        with contextlib.suppress(Error):
            saver.close()
        raise
    saver.finish()


def _batches(run: Run, saver: CheckpointSaver, answers: SimpleQueue[Answer]) -> Generator[Batch, None, None]:
    try:
        yield from _pages(run, saver, answers, lambda run, batch: Batch(run, batch, saver))
    except GeneratorExit:
        # Batches that were delivered may still be acknowledged.
        saver.finish()
        raise
    except BaseException:
        with contextlib.suppress(Error):
            saver.finish()
        raise
    saver.finish()


def _pages(
    run: Run, saver: CheckpointSaver, answers: SimpleQueue[Answer], make_page: Callable[[Run, Any], P]
) -> Generator[P, None, None]:
    while True:
        with contextlib.suppress(Empty):
            while True:
                run.handle_answer(answers.get_nowait())
        step = run.step(make_page)
        if isinstance(step, Finished):
            if step.error is not None:
                raise step.error
            return
        if not isinstance(step, Wait):
            yield step
            # Frees the page before the next one is made.
            del step
            continue
        if monotonic() >= run.save_due:
            saver.save()
        try:
            run.handle_answer(answers.get(timeout=run.seconds_until(step)))
        except Empty:
            run.handle_timeout()
