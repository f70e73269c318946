"""Reading in an `async for` loop: as in `_sync`, but waiting in the event loop.

Calls of the component and of the state run in threads, so that neither blocks the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import sys
from collections import deque
from collections.abc import AsyncGenerator, Callable
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ._component import Finished, Gap, Outcome, Wait
from ._errors import Error
from ._messages import Message
from ._run import Page, Run
from ._state import AsyncState, FileState, State
from ._workers import Answer

if sys.version_info >= (3, 11):
    from typing import Self
elif TYPE_CHECKING:
    from typing_extensions import Self

T = TypeVar("T")
P = TypeVar("P", bound=Page)


class AsyncBatch(Page):
    """Messages of one shard, in order: a page, or part of one whose lines exceed 32 MiB.

    Iterate over it, or take its `lines`. Call `ack` once the messages are durable.
    """

    def __init__(self, run: Run, batch: Any, saver: AsyncCheckpointSaver) -> None:
        super().__init__(run, batch)
        self._saver = saver

    async def ack(self) -> None:
        """Acknowledges the messages. When this returns, the checkpoint is saved.

        Batches may be acknowledged in any order. Each counts once the earlier ones of its shard are acknowledged too.
        """
        self._run.acknowledge(self)
        await self._saver.save()
        if self._run.outcome is not None and self._run.is_settled():
            await self._saver.close()


class AsyncReading(Generic[T]):
    """One run, which can be iterated over once.

    If the loop is left early, `async with` or `aclose()` saves what was acknowledged.
    """

    def __init__(self, run: Run, items: AsyncGenerator[T, None], saver: AsyncCheckpointSaver) -> None:
        self._run = run
        self._items = items
        self._saver = saver

    def __aiter__(self) -> AsyncGenerator[T, None]:
        return self._items

    async def __anext__(self) -> T:
        return await self._items.__anext__()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    @property
    def checkpoint(self) -> str | None:
        """The checkpoint of all that is acknowledged, as JSON text; `None` before the first item was requested."""
        return self._run.checkpoint() if self._saver.is_open else None

    @property
    def outcome(self) -> Outcome | None:
        """How the run ended; `None` if it has not ended, or was left early."""
        return self._run.outcome

    @property
    def gaps(self) -> list[Gap]:
        """Where records may have left the stream before they were read."""
        return list(self._run.gaps)

    async def aclose(self) -> None:
        """Ends the run and saves what was acknowledged. Only needed if a loop is left early."""
        await self._items.aclose()
        await self._saver.close()


class AsyncMessages(AsyncReading[Message]):
    """An asynchronous iterator over messages. Requesting the next message acknowledges the one before."""

    async def ack(self) -> None:
        """Acknowledges the last message too, before the loop is left by `break`."""
        self._run.acknowledged = self._run.index
        await self._saver.save()


class AsyncBatches(AsyncReading[AsyncBatch]):
    """An asynchronous iterator over batches. Each is acknowledged by its `ack`."""


class AsyncCheckpointSaver:
    """Saves the checkpoints of a run in its state."""

    def __init__(self, run: Run, state: State | AsyncState | None) -> None:
        self._run = run
        self._state = state
        self._lock = asyncio.Lock()
        self._closed = False
        self.is_open = False

    async def open(self) -> AnswerQueue:
        """Opens the reader at the checkpoint in the state. Returns the queue of its answers."""
        answers = AnswerQueue()
        try:
            checkpoint = None if self._state is None else await _call(self._state.load)
            await asyncio.to_thread(self._run.open, checkpoint, answers.put)
        except BaseException:
            self._release()
            raise
        self.is_open = True
        return answers

    async def save(self) -> None:
        """Saves what is acknowledged. A save that has begun is completed even if its task is cancelled."""
        await asyncio.shield(asyncio.ensure_future(self._save()))

    async def _save(self) -> None:
        async with self._lock:
            with self._run.saving() as checkpoint:
                if checkpoint is not None and self._state is not None:
                    await _call(self._state.save, checkpoint)

    async def finish(self) -> None:
        """Ends the run. Pages that were delivered may still be acknowledged."""
        self._run.stop()
        await self.save()
        if self._run.is_settled():
            await self.close()

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if not self._run.is_in_own_process():
            # In a forked process, the checkpoint is out of date.
            self._release()
            return
        try:
            if self.is_open:
                await self.save()
                self._run.close()
        finally:
            self._release()

    def _release(self) -> None:
        if isinstance(self._state, FileState):
            self._state.close()


class AnswerQueue:
    """Carries answers from threads to the event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: deque[Answer] = deque()
        self._is_filled = asyncio.Event()

    def put(self, answer: Answer) -> None:
        """May be called by any thread."""
        self._queue.append(answer)
        # The event loop may be closed before the last answer arrives.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._is_filled.set)

    async def wait(self, seconds: float | None) -> None:
        """Waits for an answer, at most this long."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._is_filled.wait(), seconds)

    def take(self) -> list[Answer]:
        """Returns the answers that have arrived."""
        self._is_filled.clear()
        return [self._queue.popleft() for _ in range(len(self._queue))]


def open_messages(run: Run, state: State | AsyncState | None) -> AsyncMessages:
    """Returns the messages of a reader, which is opened when the first one is requested."""
    saver = AsyncCheckpointSaver(run, state)
    return AsyncMessages(run, _messages(run, saver), saver)


def open_batches(run: Run, state: State | AsyncState | None) -> AsyncBatches:
    """Returns the batches of a reader, which is opened when the first one is requested."""
    saver = AsyncCheckpointSaver(run, state)
    return AsyncBatches(run, _batches(run, saver), saver)


async def _messages(run: Run, saver: AsyncCheckpointSaver) -> AsyncGenerator[Message, None]:
    try:
        async with contextlib.aclosing(_pages(run, saver, Page)) as pages:
            async for page in pages:
                run.begin(page)
                for run.index, message in enumerate(page):
                    yield message
                    if monotonic() >= run.save_due:
                        run.index += 1
                        await saver.save()
                run.acknowledge(page)
                del page
    except GeneratorExit:
        await saver.close()
        raise
    except BaseException:
        # The original error matters, and not an error that follows from it.
        with contextlib.suppress(Error):
            await saver.close()
        raise
    await saver.finish()


async def _batches(run: Run, saver: AsyncCheckpointSaver) -> AsyncGenerator[AsyncBatch, None]:
    def make_batch(run: Run, batch: Any) -> AsyncBatch:
        return AsyncBatch(run, batch, saver)

    try:
        async with contextlib.aclosing(_pages(run, saver, make_batch)) as batches:
            async for batch in batches:
                yield batch
    except GeneratorExit:
        # Batches that were delivered may still be acknowledged.
        await saver.finish()
        raise
    except BaseException:
        with contextlib.suppress(Error):
            await saver.finish()
        raise
    await saver.finish()


async def _pages(run: Run, saver: AsyncCheckpointSaver, make_page: Callable[[Run, Any], P]) -> AsyncGenerator[P, None]:
    answers = await saver.open()
    while True:
        for answer in answers.take():
            await asyncio.to_thread(run.handle_answer, answer)
        step = await asyncio.to_thread(run.step, make_page)
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
            await saver.save()
        await answers.wait(run.seconds_until(step))
        if step.until is not None and run.now() >= step.until:
            await asyncio.to_thread(run.handle_timeout)


async def _call(function: Callable[..., Any], *arguments: Any) -> Any:
    if inspect.iscoroutinefunction(function):
        return await function(*arguments)
    return await asyncio.to_thread(function, *arguments)
