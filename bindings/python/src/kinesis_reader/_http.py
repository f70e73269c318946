"""botocore's HTTP, with a bound on the time and on the size of every exchange.

A timeout of a socket counts from one byte to the next: an answer that trickles in, or a server that says over and over
that it is at work, would never end. So a thread looks at what is under way, and shuts the connections of what is over
its time.
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
"""Seconds between two looks at what is under way."""

PIECE_SIZE = 1 << 20
"""Bytes of a body that are read at a time."""


class OutOfTime(Exception):
    """The exchange did not end by its time."""


class TooLarge(Exception):
    """The answer is larger than it may be."""

    def __init__(self, most: int) -> None:
        super().__init__(most)
        self.most = most


class EndedEarly(Exception):
    """The answer is shorter than it said."""


class Http(URLLib3Session):
    """Connections to one endpoint. May be used by many threads at once."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._watch = Watch()
        self._pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}
        self._manager.pool_classes_by_scheme = self._pool_classes_by_scheme

    def exchange(self, request: Any, due: float, most: int, error_most: int) -> tuple[int, Any, bytearray]:
        """Sends a request, and takes in status, headers and body of the answer.

        `due` is the time, by `time.monotonic`, at which it is given up. An answer larger than `most` bytes is an error;
        of one that is an error itself, the first `error_most` bytes are taken.
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
                # Without its length, an answer whose connection is shut looks whole.
                raise OutOfTime
            return answer.status_code, answer.headers, body

    def close(self) -> None:
        """Closes connections that are idle, and shuts those that are not."""
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
        # One byte more tells that there are more.
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
    """Ends exchanges that are over their time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way: set[Exchange] = set()
        self._thread: threading.Thread | None = None

    @contextlib.contextmanager
    def over(self, due: float) -> Iterator[Exchange]:
        """Watches over what this thread exchanges meanwhile."""
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
        """Ends all that are under way."""
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
    """A request under way, and the connection that it uses."""

    def __init__(self, due: float) -> None:
        self.due = due
        self.is_over = False
        self._connection: Any = None
        self._socket: Any = None

    def uses(self, connection: Any) -> None:
        """Called as the connection is made and when it stands: an answer may keep its socket for itself."""
        self._connection = connection
        self._socket = connection.sock or self._socket

    def end(self) -> None:
        """Shuts the connection, which wakes the thread that waits for it. Called again until that thread is done."""
        self.is_over = True
        for used in (getattr(self._connection, "sock", None), self._socket):
            # TLS within TLS is an object around the socket; and TLS says good-bye, for which nobody waits here.
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
