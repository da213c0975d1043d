"""`Connection`: one HTTP/1.1 connection, made directly or through a proxy.

On sockets and `http.client`'s reading of answers, as a request costs 140 µs of CPU so
against 460 µs with httpx (100 kB body, kept-alive loopback connection); and as another
thread can shut a socket, which bounds a request by its whole time.
"""

from __future__ import annotations

import contextlib
import encodings.idna  # noqa: F401  # pyright: ignore[reportUnusedImport] -- see `forks`
import errno
import http.client
import os
import select
import selectors
import socket
import ssl
import sys
import time
from dataclasses import dataclass
from typing import Any, Final

from spanrun.telemetry.export.deadlines import bound, left
from spanrun.telemetry.export.http_answer import (
    Answer,
    Incoming,
    read_answer,
    read_head,
)

_BUSY: Final = 0.1  # seconds after an answer in which no server gives a connection up


class Tunnel(Exception):  # noqa: N818 -- it says whose answer it is
    """A proxy doesn't connect us.

    Attributes:
        status: What it answered.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True, slots=True)
class Way:
    """How a server is reached.

    Attributes:
        server: Its host and port.
        tls: For a server over TLS.
        proxy: Host and port of the proxy on the way.
        proxy_tls: For a proxy over TLS.
        authorization: The header lines that the proxy wants to connect us.
    """

    server: tuple[str, int]
    tls: ssl.SSLContext | None = None
    proxy: tuple[str, int] | None = None
    proxy_tls: ssl.SSLContext | None = None
    authorization: str = ""


class Connection:
    """A connection that can be shut from another thread, also while it is made.

    Attributes:
        answering: Whether anything of an answer to the last request has come.
    """

    def __init__(self, way: Way) -> None:
        self._way: Final = way
        self._sock: socket.socket | None = None
        self._shut = False
        self._over = False  # no other request goes over this one
        self._answered = 0.0
        self.answering = False

    def exchange(self, head: bytes, body: bytes, deadline: float) -> Answer:
        """Send a request and read its answer, before ``deadline``.

        Raises:
            TimeoutError: If the server takes longer.
            OSError: If there is no connection, or none any more.
            http.client.HTTPException: If what comes isn't a whole answer.
            Tunnel: If the proxy refuses.
        """
        self.answering = False
        try:
            sock = self._sock or self._connect(deadline)
            bound(sock, left(deadline))
            try:
                _send(sock, head, body, deadline)
            except (BrokenPipeError, ConnectionResetError) as error:
                return self._early(sock, deadline, error)
            return self._read(sock, deadline)
        except BlockingIOError:  # what the system's own timeouts raise: see `bound`
            raise TimeoutError("timed out") from None

    @property
    def is_idle(self) -> bool:
        """Whether it is open, and nothing has arrived, not even a farewell."""
        sock = self._sock
        if sock is None or self._shut or self._over:
            return False
        if time.monotonic() - self._answered < _BUSY:
            return True
        try:
            poll = select.poll()
            poll.register(sock, select.POLLIN)
            return not poll.poll(0)
        except (OSError, ValueError):
            return False

    def shut(self) -> None:
        """End what another thread does with this connection."""
        self._shut = True
        sock = self._sock
        if sock is not None:
            with contextlib.suppress(OSError):
                # Not SSLSocket's own, which drops its state under a reader's feet.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def close(self) -> None:
        """Close it."""
        sock, self._sock = self._sock, None
        if sock is not None:
            sock.close()

    def _connect(self, deadline: float) -> socket.socket:
        """Resolve, connect, and shake hands."""
        way = self._way
        sock = self._dial(way.proxy or way.server, deadline)
        if way.proxy is not None and way.proxy_tls is not None:
            sock = self._encrypt(sock, way.proxy_tls, way.proxy[0], deadline)
        if way.tls is not None:
            if way.proxy is not None:
                self._tunnel(sock, deadline)
            sock = self._encrypt(sock, way.tls, way.server[0], deadline)
        return sock

    def _dial(self, address: tuple[str, int], deadline: float) -> socket.socket:
        failure: OSError = OSError("no address")
        found = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)
        for tried, (family, kind, protocol, _name, where) in enumerate(found):
            if self._shut:
                break
            sock = self._sock = socket.socket(family, kind, protocol)
            try:
                # One that doesn't answer leaves time for the next.
                self._reach(sock, where, left(deadline) / (len(found) - tried))
            except OSError as error:
                sock.close()
                failure = error
            else:
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return sock
        self._sock = None
        raise failure

    def _reach(self, sock: socket.socket, where: Any, seconds: float) -> None:
        """Connect ``sock``, within so many seconds.

        `shut` ends what has begun and nothing else. So it is begun without waiting, and
        then asked whether it was shut before.
        """
        sock.settimeout(0)
        begun = sock.connect_ex(where)
        if self._shut:
            raise OSError(errno.ECONNABORTED, "shut while it was made")
        if begun in (errno.EINPROGRESS, errno.EWOULDBLOCK):
            with selectors.DefaultSelector() as connected:
                connected.register(sock, selectors.EVENT_WRITE)
                if not connected.select(seconds):
                    raise TimeoutError("timed out")
            begun = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if begun:
            raise OSError(begun, os.strerror(begun))
        sock.settimeout(seconds)

    def _encrypt(
        self, sock: socket.socket, tls: ssl.SSLContext, name: str, deadline: float
    ) -> socket.socket:
        sock.settimeout(left(deadline))
        # An end without TLS's farewell may be anybody's doing: it isn't an end.
        self._sock = encrypted = tls.wrap_socket(
            sock,
            server_hostname=name,
            suppress_ragged_eofs=False,
            do_handshake_on_connect=False,  # not before `shut` can end it
        )
        encrypted.do_handshake()
        return encrypted

    def _tunnel(self, sock: socket.socket, deadline: float) -> None:
        """Have the proxy connect us.

        Raises:
            Tunnel: If it doesn't.
        """
        host, port = self._way.server
        name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        lines = f"CONNECT {name} HTTP/1.1\r\nhost: {name}\r\n{self._way.authorization}"
        bound(sock, left(deadline))
        sock.sendall(f"{lines}\r\n".encode())
        with read_head(Incoming(sock, deadline), "CONNECT") as answer:
            if not 200 <= answer.status < 300:  # noqa: PLR2004 -- any success
                raise Tunnel(answer.status, answer.reason)

    def _read(self, sock: socket.socket, deadline: float) -> Answer:
        incoming = Incoming(sock, deadline)
        self._over = True  # unless it is read to its end
        try:
            answer = read_answer(incoming)
        finally:
            self.answering = incoming.began
        self._over = not answer.keeps
        self._answered = time.monotonic()
        return answer

    def _early(self, sock: socket.socket, deadline: float, error: OSError) -> Answer:
        """What a server said before it closed, amid a request that it won't take."""
        try:
            answer = self._read(sock, deadline)
        except (OSError, http.client.HTTPException):
            raise error from None
        self._over = True
        if 200 <= answer.status < 300:  # noqa: PLR2004 -- it hasn't seen all of it
            raise error
        return answer


def _send(sock: Any, head: bytes, body: bytes, deadline: float) -> None:
    """Send a request, in one call to the system if it takes all: see `bound`."""
    if isinstance(sock, ssl.SSLSocket) or sys.platform == "win32":
        sent = sock.send(head + body)
    else:
        sent = sock.sendmsg([head, body])
    if sent == len(head) + len(body):
        return
    rest = memoryview(head + body)[sent:]
    while rest:
        bound(sock, left(deadline))
        rest = rest[sock.send(rest) :]
