"""A server that sends arbitrary bytes."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

Script = Callable[[bytes], Iterator[bytes]]
"""Yields the answer to a request in pieces. An empty piece closes the connection."""

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.1\r\n"


class Raw:
    """Answers each request with the script."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self.requests: list[bytes] = []
        self.sent = 0
        """Bytes that were received by the other end, or are on their way."""
        self._closed = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._closed.set()
        with contextlib.suppress(OSError):
            # Wakes the accepting thread.
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def trickle(self, piece: bytes, begin: bytes = b"") -> Iterator[bytes]:
        """Yields the piece slowly, again and again."""
        if begin:
            yield begin
        while not self._closed.wait(0.01):
            if piece:
                yield piece

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while request := _request(connection):
                self.requests.append(request)
                for piece in self._script(request):
                    if not piece:
                        return
                    connection.sendall(piece)
                    self.sent += len(piece)


def answer(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    """Returns a complete answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def _request(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        some = connection.recv(1 << 16)
        if not some:
            return b""
        data += some
    head, _, body = data.partition(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    while len(body) < length:
        body += connection.recv(1 << 16)
    return head + b"\r\n\r\n" + body
