"""Reading in a `for` loop."""

from __future__ import annotations

import atexit
import contextlib
import logging
import threading
import weakref
from collections.abc import Callable, Generator
from queue import Empty, SimpleQueue
from time import monotonic
from types import TracebackType
from typing import Any, Generic, TypeVar

from ._component import Finished, Gap, Wait
from ._crew import Answer
from ._errors import Error
from ._messages import Message
from ._printable import printable
from ._run import Page, Run
from ._state import FileState, State

log = logging.getLogger("kinesis_reader")

T = TypeVar("T")
P = TypeVar("P", bound=Page)


class Batch(Page):
    """Messages of one shard, in order: a page, or a part of one whose lines are more than 32 MiB.

    Iterate over it, or take its `lines`; once they are safe, `ack`.
    """

    def __init__(self, run: Run, taken: Any, keeper: CheckpointSaver) -> None:
        super().__init__(run, taken)
        self._keeper = keeper

    def ack(self) -> None:
        """Tells that the messages are safe, and saves the checkpoint before it returns. Any thread may call it.

        A batch counts once those of its shard before it are acknowledged too. The order is otherwise free.
        """
        self._run.acknowledge(self)
        self._keeper.save()
        if self._run.outcome is not None and self._run.is_settled():
            self._keeper.close()


class Reading(Generic[T]):
    """What `read` gives: an iterator, once over, with what there is to know of it.

    A loop that is left early, by `break` or by an exception, saves what was acknowledged when the iterator is closed:
    at the end of `with`, at `close()`, when it is dropped, or when the program ends.
    """

    def __init__(self, run: Run, items: Generator[T, None, None], keeper: CheckpointSaver) -> None:
        self._run = run
        self._items = items
        self._keeper = keeper
        _open.add(self)

    def __iter__(self) -> Generator[T, None, None]:
        return self._items

    def __next__(self) -> T:
        return next(self._items)

    def __enter__(self) -> Reading[T]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def checkpoint(self) -> str:
        """The checkpoint of all that is acknowledged, as JSON text."""
        return self._run.checkpoint()

    @property
    def outcome(self) -> str | None:
        """How it ended: `reached`, `exhausted` (the stream is closed), `limited`; `None` before that."""
        return self._run.outcome

    @property
    def gaps(self) -> list[Gap]:
        """Where records had left the stream before they were read."""
        return list(self._run.gaps)

    def close(self) -> None:
        """Stops reading, and saves what was acknowledged. Needed only where a loop is left early."""
        self._items.close()
        self._keeper.close()


class Messages(Reading[Message]):
    """An iterator over messages. Asking for the next one acknowledges the one before."""

    def ack(self) -> None:
        """Acknowledges the message that was given out last, too: for a loop that is about to be left by `break`."""
        self._run.acknowledged = self._run.index
        self._keeper.save()


class Batches(Reading[Batch]):
    """An iterator over batches, each to be acknowledged by its `ack`."""


_open: weakref.WeakSet[Reading[Any]] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """An exception that ends the program holds the loop's iterator until it is too late to save."""
    for reading in list(_open):
        try:
            reading.close()
        except Exception as error:
            log.warning("the last acknowledged messages are not saved and come again: %s", printable(error))


class CheckpointSaver:
    """A run and the position where its checkpoints are kept."""

    def __init__(self, run: Run, state: State | None) -> None:
        self._run = run
        self._state = state
        self._lock = threading.Lock()
        self._done = False

    def open(self) -> SimpleQueue[Answer]:
        """Opens the reader where the state says, and gives the queue of its answers."""
        answers: SimpleQueue[Answer] = SimpleQueue()
        try:
            self._run.open(None if self._state is None else self._state.load(), answers.put)
        except BaseException:
            self._release()
            raise
        return answers

    def save(self) -> None:
        """Saves what is acknowledged. When it returns, that is safe, whichever thread did it."""
        with self._lock, self._run.saving() as checkpoint:
            if checkpoint is not None and self._state is not None:
                self._state.save(checkpoint)

    def finish(self) -> None:
        """The run is at its end. What is out may still be acknowledged."""
        self._run.rest()
        self.save()
        if self._run.is_settled():
            self.close()

    def close(self) -> None:
        if self._done:
            return
        self._done = True
        if not self._run.is_of_this_process():
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


def read_messages(run: Run, state: State | None) -> Messages:
    """Opens the reader, to give out messages."""
    keeper = CheckpointSaver(run, state)
    return Messages(run, _messages(run, keeper, keeper.open()), keeper)


def read_batches(run: Run, state: State | None) -> Batches:
    """Opens the reader, to give out batches."""
    keeper = CheckpointSaver(run, state)
    return Batches(run, _batches(run, keeper, keeper.open()), keeper)


def _messages(run: Run, keeper: CheckpointSaver, answers: SimpleQueue[Answer]) -> Generator[Message, None, None]:
    try:
        for page in _pages(run, keeper, answers, Page):
            run.give_out(page)
            for run.index, message in enumerate(page):
                yield message
                if monotonic() >= run.save_due:
                    run.index += 1
                    keeper.save()
            run.acknowledge(page)
            del page
    except GeneratorExit:
        keeper.close()
        raise
    except BaseException:
        # What went wrong is told, and not what goes wrong because of it.
        with contextlib.suppress(Error):
            keeper.close()
        raise
    keeper.finish()


def _batches(run: Run, keeper: CheckpointSaver, answers: SimpleQueue[Answer]) -> Generator[Batch, None, None]:
    try:
        yield from _pages(run, keeper, answers, lambda run, taken: Batch(run, taken, keeper))
    except GeneratorExit:
        # Those given out may still be acknowledged.
        keeper.finish()
        raise
    except BaseException:
        with contextlib.suppress(Error):
            keeper.finish()
        raise
    keeper.finish()


def _pages(
    run: Run, keeper: CheckpointSaver, answers: SimpleQueue[Answer], kind: Callable[[Run, Any], P]
) -> Generator[P, None, None]:
    while True:
        with contextlib.suppress(Empty):
            while True:
                run.told(answers.get_nowait())
        step = run.step(kind)
        if isinstance(step, Finished):
            if step.error is not None:
                raise step.error
            return
        if not isinstance(step, Wait):
            yield step
            # Released before the next page is made.
            del step
            continue
        if monotonic() >= run.save_due:
            keeper.save()
        try:
            run.told(answers.get(timeout=run.seconds_until(step)))
        except Empty:
            run.timeout()
