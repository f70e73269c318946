"""Threads that send requests."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue

from ._component import Failure, Request, Response
from ._errors import Error
from ._printable import printable


@dataclass(frozen=True)
class Answer:
    """The result of a request: a response, a failure, or the exception that killed its thread."""

    request: int
    result: Response | Failure | BaseException
    at: int
    """The instant at which it arrived."""


class WorkerPool:
    """Daemon threads, as many as there are requests in flight, up to a maximum.

    A `ThreadPoolExecutor` would not do: the interpreter joins its threads on exit before `atexit` can save the
    checkpoint and close the connections, so a request in flight would delay the exit until its deadline.
    """

    def __init__(
        self, size: int, work: Callable[[Request], Answer], on_answer: Callable[[Answer], None], now: Callable[[], int]
    ) -> None:
        self._size = size
        self._work = work
        self._on_answer = on_answer
        self._now = now
        self._queue: SimpleQueue[Request | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._in_flight = 0
        self._stopped = False
        self._lock = threading.Lock()

    def send(self, request: Request) -> None:
        """Sends a request in a thread, which passes its answer to `on_answer`."""
        with self._lock:
            self._in_flight += 1
            # Threads may have died, for example in a forked process.
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            if len(self._threads) < min(self._in_flight, self._size):
                self._start()
        self._queue.put(request)

    def is_idle(self) -> bool:
        """Whether no request is in flight."""
        with self._lock:
            return self._in_flight == 0

    def stop(self) -> None:
        """Ends each thread once its request is answered, without waiting for it."""
        with self._lock:
            threads, self._threads, self._size, self._stopped = self._threads, [], 0, True
        for _ in threads:
            self._queue.put(None)

    def _start(self) -> None:
        thread = threading.Thread(target=self._serve, name="kinesis-reader", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            if not self._threads:
                hint = "raise the limit on threads, or read fewer streams at once"
                raise Error(f"cannot start a thread: {printable(error)}", hint) from error
            # The existing threads do the work, only more slowly.
        else:
            self._threads.append(thread)

    def _serve(self) -> None:
        while (request := self._queue.get()) is not None and not self._stopped:
            try:
                answer = self._work(request)
            except BaseException as error:
                # If we did not report it, the reader would wait for an answer that never comes.
                answer = Answer(request.id, error, self._now())
            with self._lock:
                self._in_flight -= 1
            self._on_answer(answer)
