"""A server on loopback that says exactly the bytes it is told, and what it heard."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Raw:
    """Hears one request on each connection, and says the next of ``sayings``.

    Attributes:
        url: Where it is.
        heard: The requests.
    """

    def __init__(self, sayings: tuple[bytes, ...], ending: str) -> None:
        self.heard: list[bytes] = []
        self._sayings = list(sayings)
        self._ending = ending
        self._server = socket.create_server(("127.0.0.1", 0))
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join()

    def _serve(self) -> None:
        while self._sayings:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            with connection, suppress(OSError):
                self._converse(connection)

    def _converse(self, connection: socket.socket) -> None:
        while self._sayings:
            request = hear(connection)
            if not request:
                return
            self.heard.append(request)
            connection.sendall(self._sayings.pop(0))
            if self._ending == "close":
                return
            if self._ending == "reset":
                on = struct.pack("ii", 1, 0)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, on)
                return
            if self._ending == "wait" and not self._sayings:
                self._over.wait()


def hear(connection: socket.socket) -> bytes:
    """A whole request; nothing when the client closes."""
    heard = b""
    while b"\r\n\r\n" not in heard:
        part = connection.recv(65536)
        if not part:
            return b""
        heard += part
    head, _, body = heard.partition(b"\r\n\r\n")
    size = 0
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            size = int(line.partition(b":")[2])
    while len(body) < size:
        part = connection.recv(65536)
        if not part:
            return b""
        body += part
    return head + b"\r\n\r\n" + body


@contextmanager
def saying(*sayings: bytes, ending: str = "close") -> Iterator[Raw]:
    """Answer with ``sayings``, one a request, and then close, reset, keep or wait."""
    server = Raw(sayings, ending)
    server.start()
    try:
        yield server
    finally:
        server.stop()
