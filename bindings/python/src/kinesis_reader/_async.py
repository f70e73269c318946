"""Reading in an `async for` loop: what `_sync` does, with the event loop's ways to wait.

The component's calls and the state's run in threads, so that the event loop is held up by neither.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections import deque
from collections.abc import AsyncGenerator, Callable
from time import monotonic
from types import TracebackType
from typing import Any, Generic, TypeVar

from ._component import Finished, Gap, Wait
from ._crew import Answer
from ._errors import Error
from ._messages import Message
from ._run import Page, Run
from ._state import FileState, State

T = TypeVar("T")
P = TypeVar("P", bound=Page)


class AsyncBatch(Page):
    """Messages of one shard, in order: a page, or a part of one whose lines are more than 32 MiB.

    Iterate over it, or take its `lines`; once they are safe, `ack`.
    """

    def __init__(self, run: Run, taken: Any, keeper: AsyncKeeper) -> None:
        super().__init__(run, taken)
        self._keeper = keeper

    async def ack(self) -> None:
        """Tells that the messages are safe, and saves the checkpoint before it returns.

        A batch counts once those of its shard before it are acknowledged too. The order is otherwise free.
        """
        self._run.acknowledge(self)
        await self._keeper.save()
        if self._run.outcome is not None and self._run.is_settled():
            await self._keeper.close()


class AsyncReading(Generic[T]):
    """What `aread` gives: an asynchronous iterator, once over, with what there is to know of it.

    Where a loop is left early, `async with` or `aclose()` saves what was acknowledged.
    """

    def __init__(self, run: Run, items: AsyncGenerator[T, None], keeper: AsyncKeeper) -> None:
        self._run = run
        self._items = items
        self._keeper = keeper

    def __aiter__(self) -> AsyncGenerator[T, None]:
        return self._items

    async def __anext__(self) -> T:
        return await self._items.__anext__()

    async def __aenter__(self) -> AsyncReading[T]:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    @property
    def checkpoint(self) -> str | None:
        """The checkpoint of all that is acknowledged, as JSON text; `None` before the first item is asked for."""
        return self._run.checkpoint() if self._keeper.opened else None

    @property
    def outcome(self) -> str | None:
        """How it ended: `reached`, `exhausted` (the stream is closed), `limited`; `None` before that."""
        return self._run.outcome

    @property
    def gaps(self) -> list[Gap]:
        """Where records had left the stream before they were read."""
        return list(self._run.gaps)

    async def aclose(self) -> None:
        """Stops reading, and saves what was acknowledged. Needed only where a loop is left early."""
        await self._items.aclose()
        await self._keeper.close()


class AsyncMessages(AsyncReading[Message]):
    """An asynchronous iterator over messages. Asking for the next one acknowledges the one before."""

    async def ack(self) -> None:
        """Acknowledges the message that was given out last, too: for a loop that is about to be left by `break`."""
        self._run.acknowledged = self._run.index
        await self._keeper.save()


class AsyncBatches(AsyncReading[AsyncBatch]):
    """An asynchronous iterator over batches, each to be acknowledged by its `ack`."""


class AsyncKeeper:
    """A run and the position where its checkpoints are kept."""

    def __init__(self, run: Run, state: Any) -> None:
        self._run = run
        self._state = state
        self._lock = asyncio.Lock()
        self._done = False
        self.opened = False

    async def open(self) -> Answers:
        """Opens the reader where the state says, and gives the queue of its answers."""
        answers = Answers()
        try:
            checkpoint = None if self._state is None else await _call(self._state.load)
            await asyncio.to_thread(self._run.open, checkpoint, answers.put)
        except BaseException:
            self._release()
            raise
        self.opened = True
        return answers

    async def save(self) -> None:
        # One at a time, and to its end also where the task that asks for it is cancelled.
        await asyncio.shield(asyncio.ensure_future(self._save()))

    async def _save(self) -> None:
        async with self._lock:
            with self._run.saving() as checkpoint:
                if checkpoint is not None and self._state is not None:
                    await _call(self._state.save, checkpoint)

    async def finish(self) -> None:
        """The run is at its end. What is out may still be acknowledged."""
        self._run.rest()
        await self.save()
        if self._run.is_settled():
            await self.close()

    async def close(self) -> None:
        if self._done:
            return
        self._done = True
        if not self._run.is_of_this_process():
            # In a forked process, the checkpoint is out of date.
            self._release()
            return
        try:
            if self.opened:
                await self.save()
                self._run.close()
        finally:
            self._release()

    def _release(self) -> None:
        if isinstance(self._state, FileState):
            self._state.close()


class Answers:
    """A queue from threads to the event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: deque[Answer] = deque()
        self._some = asyncio.Event()

    def put(self, answer: Answer) -> None:
        """Called by any thread."""
        self._queue.append(answer)
        # The event loop may be closed before the last answer comes.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._some.set)

    async def wait(self, seconds: float | None) -> None:
        """Waits until there is an answer, no longer than that."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._some.wait(), seconds)

    def take(self) -> list[Answer]:
        """The answers that are there."""
        self._some.clear()
        return [self._queue.popleft() for _ in range(len(self._queue))]


def aread_messages(run: Run, state: State | None) -> AsyncMessages:
    """A reader that gives out messages, opened with the first."""
    keeper = AsyncKeeper(run, state)
    return AsyncMessages(run, _messages(run, keeper), keeper)


def aread_batches(run: Run, state: State | None) -> AsyncBatches:
    """A reader that gives out batches, opened with the first."""
    keeper = AsyncKeeper(run, state)
    return AsyncBatches(run, _batches(run, keeper), keeper)


async def _messages(run: Run, keeper: AsyncKeeper) -> AsyncGenerator[Message, None]:
    try:
        async with contextlib.aclosing(_pages(run, keeper, Page)) as pages:
            async for page in pages:
                run.give_out(page)
                for run.index, message in enumerate(page):
                    yield message
                    if monotonic() >= run.save_due:
                        run.index += 1
                        await keeper.save()
                run.acknowledge(page)
                del page
    except GeneratorExit:
        await keeper.close()
        raise
    except BaseException:
        # What went wrong is told, and not what goes wrong because of it.
        with contextlib.suppress(Error):
            await keeper.close()
        raise
    await keeper.finish()


async def _batches(run: Run, keeper: AsyncKeeper) -> AsyncGenerator[AsyncBatch, None]:
    try:
        async with contextlib.aclosing(_pages(run, keeper, lambda run, taken: AsyncBatch(run, taken, keeper))) as pages:
            async for batch in pages:
                yield batch
    except GeneratorExit:
        # Those given out may still be acknowledged.
        await keeper.finish()
        raise
    except BaseException:
        with contextlib.suppress(Error):
            await keeper.finish()
        raise
    await keeper.finish()


async def _pages(run: Run, keeper: AsyncKeeper, kind: Callable[[Run, Any], P]) -> AsyncGenerator[P, None]:
    answers = await keeper.open()
    while True:
        for answer in answers.take():
            await asyncio.to_thread(run.told, answer)
        step = await asyncio.to_thread(run.step, kind)
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
            await keeper.save()
        await answers.wait(run.seconds_until(step))
        if step.until is not None and run.now() >= step.until:
            await asyncio.to_thread(run.timeout)


async def _call(function: Callable[..., Any], *arguments: Any) -> Any:
    if inspect.iscoroutinefunction(function):
        return await function(*arguments)
    return await asyncio.to_thread(function, *arguments)
