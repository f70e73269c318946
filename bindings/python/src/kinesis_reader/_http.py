"""botocore's HTTP client, with limits on the time and size of each exchange.

A socket's timeout starts again with each byte, so a response that arrives byte by byte, or an endless series of `100
Continue`, would never end. A thread watches the exchanges and shuts down the connections of those that are overdue.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

from botocore.awsrequest import (
    AWSHTTPConnection,
    AWSHTTPConnectionPool,
    AWSHTTPSConnection,
    AWSHTTPSConnectionPool,
)
from botocore.httpsession import URLLib3Session

CHECK_INTERVAL = 0.25
"""Seconds between two checks for overdue exchanges."""

PIECE_SIZE = 1 << 20
"""Bytes of a body to read at a time."""


class DeadlineExceeded(Exception):
    """The exchange did not end by its deadline."""


class TooLarge(Exception):
    """The response is larger than allowed."""

    def __init__(self, size_max: int) -> None:
        super().__init__(size_max)
        self.size_max = size_max


class Incomplete(Exception):
    """The response is shorter than announced."""


class Http(URLLib3Session):
    """Connections to one endpoint, for use by several threads at once."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._watchdog = Watchdog()
        self._pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}
        self._manager.pool_classes_by_scheme = self._pool_classes_by_scheme

    def exchange(self, request: Any, deadline: float, size_max: int, error_size_max: int) -> tuple[int, Any, bytearray]:
        """Sends a request and reads the response: its status, headers and body.

        The exchange ends at the deadline, which is a time of `time.monotonic`. A successful response of more than
        `size_max` bytes raises `TooLarge`; any other response is cut after `error_size_max` bytes.
        """
        with self._watchdog.watch(deadline) as exchange:
            try:
                answer = self.send(request)
                is_error = not 200 <= answer.status_code < 300
                body = _read_body(answer, error_size_max if is_error else size_max, is_error)
            except Exception:
                if exchange.is_ended:
                    raise DeadlineExceeded from None
                raise
            if exchange.is_ended:
                # A response without a length looks complete once its connection is shut down.
                raise DeadlineExceeded
            return answer.status_code, answer.headers, body

    def close(self) -> None:
        """Closes idle connections and shuts down the others."""
        self._watchdog.end_all()
        super().close()


def _read_body(answer: Any, size_max: int, is_error: bool) -> bytearray:
    raw = answer.raw
    length = answer.headers.get("content-length")
    announced = int(length) if length is not None and length.isascii() and length.isdigit() and len(length) < 19 else 0
    body = bytearray()
    is_complete = False
    try:
        if announced > size_max and not is_error:
            raise TooLarge(size_max)
        # One more byte shows that the body is too large.
        while len(body) <= size_max:
            piece = raw.read(min(PIECE_SIZE, size_max + 1 - len(body)))
            if not piece:
                is_complete = True
                break
            body += piece
        if not is_complete and not is_error:
            raise TooLarge(size_max)
        if is_complete and len(body) < announced:
            is_complete = False
            raise Incomplete
    finally:
        if is_complete:
            raw.release_conn()
        else:
            raw.close()
    del body[size_max:]
    return body


class Watchdog:
    """Ends overdue exchanges. Its thread runs only while there are exchanges."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._exchanges: set[Exchange] = set()
        self._thread: threading.Thread | None = None

    @contextlib.contextmanager
    def watch(self, deadline: float) -> Iterator[Exchange]:
        """Watches the exchange that this thread makes inside the context."""
        exchange = Exchange(deadline)
        if deadline <= time.monotonic():
            raise DeadlineExceeded
        with self._lock:
            self._exchanges.add(exchange)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="kinesis-reader-watchdog", daemon=True)
                self._thread.start()
        _current.exchange = exchange
        try:
            yield exchange
        finally:
            _current.exchange = None
            with self._lock:
                self._exchanges.discard(exchange)

    def end_all(self) -> None:
        with self._lock:
            for exchange in self._exchanges:
                exchange.end()

    def _run(self) -> None:
        while True:
            time.sleep(CHECK_INTERVAL)
            with self._lock:
                if not self._exchanges:
                    self._thread = None
                    return
                now = time.monotonic()
                for exchange in self._exchanges:
                    if exchange.deadline <= now:
                        exchange.end()


class Exchange:
    """A request in flight, and its connection."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.is_ended = False
        self._connection: Any = None
        self._socket: Any = None

    def use(self, connection: Any) -> None:
        """Remembers the connection, and its socket, because a response may take that over."""
        self._connection = connection
        self._socket = connection.sock or self._socket

    def end(self) -> None:
        """Shuts down the connection, which wakes the thread that waits for it."""
        self.is_ended = True
        for used in (getattr(self._connection, "sock", None), self._socket):
            # TLS in TLS wraps the socket. We shut down the plain socket, without TLS's closing handshake.
            plain = used if isinstance(used, socket.socket) else getattr(used, "socket", None)
            if plain is not None:
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(plain, socket.SHUT_RDWR)


_current = threading.local()


def _use(connection: Any) -> None:
    exchange = getattr(_current, "exchange", None)
    if exchange is not None:
        exchange.use(connection)


class _HTTPConnection(AWSHTTPConnection):
    def connect(self) -> None:
        _use(self)
        super().connect()
        _use(self)

    def request(self, *arguments: Any, **options: Any) -> Any:
        _use(self)
        return super().request(*arguments, **options)


class _HTTPSConnection(AWSHTTPSConnection):
    def connect(self) -> None:
        _use(self)
        super().connect()
        _use(self)

    def request(self, *arguments: Any, **options: Any) -> Any:
        _use(self)
        return super().request(*arguments, **options)


class _HTTPPool(AWSHTTPConnectionPool):
    ConnectionCls = _HTTPConnection


class _HTTPSPool(AWSHTTPSConnectionPool):
    ConnectionCls = _HTTPSConnection
