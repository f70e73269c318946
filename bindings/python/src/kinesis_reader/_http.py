"""botocore's HTTP client, with a bound on the time and size of every exchange.

The timeout of a socket starts anew with each byte, so a response that trickles in, or an endless series of `100
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

LOOK_INTERVAL = 0.25
"""Seconds between two checks for overdue exchanges."""

PIECE_SIZE = 1 << 20
"""Bytes of a body that are read at a time."""


class OutOfTime(Exception):
    """The exchange did not end by its deadline."""


class TooLarge(Exception):
    """The response is larger than allowed."""

    def __init__(self, most: int) -> None:
        super().__init__(most)
        self.most = most


class EndedEarly(Exception):
    """The response is shorter than announced."""


class Http(URLLib3Session):
    """Connections to one endpoint. May be used by many threads at once."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._watch = Watch()
        self._pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}
        self._manager.pool_classes_by_scheme = self._pool_classes_by_scheme

    def exchange(self, request: Any, due: float, most: int, error_most: int) -> tuple[int, Any, bytearray]:
        """Sends a request and reads the response: status, headers and body.

        The exchange is given up at `due`, by `time.monotonic`. A response of more than `most` bytes is an error; of one
        whose status is an error, the first `error_most` bytes are read.
        """
        with self._watch.over(due) as exchange:
            try:
                answer = self.send(request)
                is_error = not 200 <= answer.status_code < 300
                body = _body(answer, error_most if is_error else most, is_error)
            except Exception:
                if exchange.is_over:
                    raise OutOfTime from None
                raise
            if exchange.is_over:
                # Without a length, a response looks complete once its connection is shut down.
                raise OutOfTime
            return answer.status_code, answer.headers, body

    def close(self) -> None:
        """Closes idle connections and shuts down the others."""
        self._watch.end_all()
        super().close()


def _body(answer: Any, most: int, is_error: bool) -> bytearray:
    raw = answer.raw
    length = answer.headers.get("content-length")
    announced = int(length) if length is not None and length.isascii() and length.isdigit() and len(length) < 19 else 0
    body = bytearray()
    is_whole = False
    try:
        if announced > most and not is_error:
            raise TooLarge(most)
        # One more byte shows that the body is too large.
        while len(body) <= most:
            piece = raw.read(min(PIECE_SIZE, most + 1 - len(body)))
            if not piece:
                is_whole = True
                break
            body += piece
        if not is_whole and not is_error:
            raise TooLarge(most)
        if is_whole and len(body) < announced:
            is_whole = False
            raise EndedEarly
    finally:
        if is_whole:
            raw.release_conn()
        else:
            raw.close()
    del body[most:]
    return body


class Watch:
    """Ends overdue exchanges."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way: set[Exchange] = set()
        self._thread: threading.Thread | None = None

    @contextlib.contextmanager
    def over(self, due: float) -> Iterator[Exchange]:
        """Watches the exchange that this thread makes meanwhile."""
        exchange = Exchange(due)
        if due <= time.monotonic():
            raise OutOfTime
        with self._lock:
            self._under_way.add(exchange)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._look, name="kinesis-reader-watch", daemon=True)
                self._thread.start()
        _current.exchange = exchange
        try:
            yield exchange
        finally:
            _current.exchange = None
            with self._lock:
                self._under_way.discard(exchange)

    def end_all(self) -> None:
        """Ends all exchanges."""
        with self._lock:
            for exchange in self._under_way:
                exchange.end()

    def _look(self) -> None:
        while True:
            time.sleep(LOOK_INTERVAL)
            with self._lock:
                if not self._under_way:
                    self._thread = None
                    return
                now = time.monotonic()
                for exchange in self._under_way:
                    if exchange.due <= now:
                        exchange.end()


class Exchange:
    """A request that is out, and its connection."""

    def __init__(self, due: float) -> None:
        self.due = due
        self.is_over = False
        self._connection: Any = None
        self._socket: Any = None

    def uses(self, connection: Any) -> None:
        """Notes the connection. Its socket is noted too, as a response may take it over."""
        self._connection = connection
        self._socket = connection.sock or self._socket

    def end(self) -> None:
        """Shuts down the connection, which wakes the thread that waits for it."""
        self.is_over = True
        for used in (getattr(self._connection, "sock", None), self._socket):
            # TLS in TLS wraps the socket. The plain socket is shut down, without TLS's closing handshake.
            plain = used if isinstance(used, socket.socket) else getattr(used, "socket", None)
            if plain is not None:
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(plain, socket.SHUT_RDWR)


_current = threading.local()


def _note(connection: Any) -> None:
    exchange = getattr(_current, "exchange", None)
    if exchange is not None:
        exchange.uses(connection)


class _HTTPConnection(AWSHTTPConnection):
    def connect(self) -> None:
        _note(self)
        super().connect()
        _note(self)

    def request(self, *arguments: Any, **options: Any) -> Any:
        _note(self)
        return super().request(*arguments, **options)


class _HTTPSConnection(AWSHTTPSConnection):
    def connect(self) -> None:
        _note(self)
        super().connect()
        _note(self)

    def request(self, *arguments: Any, **options: Any) -> Any:
        _note(self)
        return super().request(*arguments, **options)


class _HTTPPool(AWSHTTPConnectionPool):
    ConnectionCls = _HTTPConnection


class _HTTPSPool(AWSHTTPSConnectionPool):
    ConnectionCls = _HTTPSConnection
