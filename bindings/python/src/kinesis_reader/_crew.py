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
    """The result of a request, and when it came: a response, a failure, or what killed the thread."""

    request: int
    result: Response | Failure | BaseException
    at: int


class WorkerPool:
    """As many threads as there are requests out at a time, within a bound."""

    def __init__(
        self, size: int, work: Callable[[Request], Answer], landed: Callable[[Answer], None], now: Callable[[], int]
    ) -> None:
        self._size = size
        self._work = work
        self._landed = landed
        self._now = now
        self._queue: SimpleQueue[Request | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._busy = 0
        self._stopped = False
        self._lock = threading.Lock()

    def put(self, request: Request) -> None:
        """Has a request sent."""
        with self._lock:
            self._busy += 1
            # Threads may have died, for one in a forked process.
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            start = len(self._threads) < min(self._busy, self._size)
            if start:
                self._start()
        self._queue.put(request)

    def is_idle(self) -> bool:
        """Whether no request is out."""
        with self._lock:
            return self._busy == 0

    def stop(self) -> None:
        """Ends the threads, each once its request is answered. Answers that come later are of no use to anybody."""
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
                hint = "raise the bound on threads, or read fewer streams at a time"
                raise Error(f"no thread can be started: {printable(error)}", hint) from error
            # The threads that exist do the work more slowly.
        else:
            self._threads.append(thread)

    def _serve(self) -> None:
        while (request := self._queue.get()) is not None and not self._stopped:
            try:
                answer = self._work(request)
            except BaseException as error:
                # Unreported, the reader would wait for an answer that never comes.
                answer = Answer(request.id, error, self._now())
            with self._lock:
                self._busy -= 1
            self._landed(answer)
