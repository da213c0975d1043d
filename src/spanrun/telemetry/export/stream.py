"""`Stream`: a socket for httpcore that has a deadline, and that another thread can end.

httpcore's own sockets can't be had by another thread while they connect and shake
hands; they give each call of a request the same time, so that a server that drips is
waited for without end; and they let no address of a host have less than all of it.
"""

from __future__ import annotations

import contextlib
import encodings.idna  # noqa: F401  # pyright: ignore[reportUnusedImport] -- see `forks`
import errno
import os
import selectors
import socket
import ssl
import struct
import sys
import time
from collections.abc import Iterable
from typing import Any, Final

import httpcore

_BUSY: Final = 0.1  # seconds after an answer in which no server gives a connection up
_TIMEOUTS: Final[tuple[int, ...]] = (
    () if sys.platform == "win32" else (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO)
)


class Stream(httpcore.NetworkBackend, httpcore.NetworkStream):
    """One socket: httpcore's backend, which connects it, and the stream over it.

    The timeouts that httpcore gives are those of no request: `begin` sets the deadline.

    Attributes:
        answering: Whether anything of an answer to the last request has come.
        broken: Why the last request could not be sent to its end.
        is_shut: It was ended from another thread.
    """

    def __init__(self) -> None:
        self.answering = self.is_shut = False
        self.broken: OSError | None = None
        self._sock: socket.socket | None = None
        self._deadline = self._read_at = 0.0
        self._unsent: list[bytes] = []

    def begin(self, deadline: float) -> None:
        """Have all that comes now end by ``deadline``."""
        self.answering, self.broken, self._deadline = False, None, deadline
        self._unsent.clear()

    def shut(self) -> None:
        """End what another thread does with it."""
        self.is_shut = True
        sock = self._sock
        if sock is not None:
            with contextlib.suppress(OSError):
                # Not SSLSocket's own, which drops its state under a reader's feet.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    # --- what httpcore asks of its backend

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002
        local_address: str | None = None,  # noqa: ARG002
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        """Connect to the first address of ``host`` that answers.

        Raises:
            OSError: If none does.
        """
        failure = _aborted()
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
        for tried, (family, kind, protocol, _name, where) in enumerate(found):
            if self.is_shut:
                break
            sock = self._sock = socket.socket(family, kind, protocol)
            try:
                # One that doesn't answer leaves time for the next.
                self._connect(sock, where, self._left() / (len(found) - tried))
            except OSError as error:
                sock.close()
                failure = error
            else:
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return self
        self._sock = None
        raise failure

    def _connect(self, sock: socket.socket, where: Any, seconds: float) -> None:
        """Connect ``sock``, within so many seconds.

        `shut` ends what has begun and nothing else. So it is begun without waiting, and
        then asked whether it was shut before.
        """
        sock.settimeout(0)
        begun = sock.connect_ex(where)
        if self.is_shut:
            raise _aborted()
        if begun in (errno.EINPROGRESS, errno.EWOULDBLOCK):
            if not _is_ready(sock, selectors.EVENT_WRITE, seconds):
                raise TimeoutError("timed out")
            begun = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if begun:
            raise OSError(begun, os.strerror(begun))
        sock.settimeout(seconds)

    # --- what it asks of a stream

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        """Shake hands.

        Raises:
            OSError: If that fails.
        """
        sock = self._open()
        sock.settimeout(self._left())
        # An end without TLS's farewell may be anybody's doing: it isn't an end.
        self._sock = encrypted = ssl_context.wrap_socket(
            sock,
            server_hostname=(server_hostname or "").strip("[]"),
            suppress_ragged_eofs=False,
            do_handshake_on_connect=False,  # not before `shut` can end it
        )
        encrypted.do_handshake()
        return self

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        """Keep it until something is to be read: head and body leave in one call."""
        if buffer:
            self._unsent.append(buffer)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        """Wait for something to come; nothing where the other side has ended.

        What a server says amid a request that it won't take is read, too.

        Raises:
            OSError: If the connection breaks, or no time is left.
        """
        sock = self._open()
        try:
            bound(sock, self._left())
            try:
                self._flush(sock)
            except (BrokenPipeError, ConnectionResetError) as error:
                self.broken = error
            data = sock.recv(max_bytes)
        except BlockingIOError:  # what the system's own timeouts raise: see `bound`
            raise TimeoutError("timed out") from None
        self.answering = self.answering or bool(data)
        self._read_at = time.monotonic()
        return data

    def close(self) -> None:
        """Close it."""
        sock, self._sock = self._sock, None
        if sock is not None:
            sock.close()

    def get_extra_info(self, info: str) -> Any:
        """Tell whether something can be read, and which TLS is spoken."""
        if info == "is_readable":
            return self._is_readable()
        if info == "ssl_object" and isinstance(self._sock, ssl.SSLSocket):
            return self._sock
        return None

    def _is_readable(self) -> bool:
        """Whether something has arrived, if only a farewell."""
        if time.monotonic() - self._read_at < _BUSY:
            return False
        try:
            return _is_ready(self._open(), selectors.EVENT_READ, 0)
        except (OSError, ValueError):
            return True

    def _flush(self, sock: Any) -> None:
        """Send what is unsent, in one call to the system if it takes all."""
        unsent, self._unsent = self._unsent, []
        if not unsent:
            return
        if isinstance(sock, ssl.SSLSocket) or sys.platform == "win32":
            sent = 0
        else:
            sent = sock.sendmsg(unsent)
            if sent == sum(map(len, unsent)):
                return
        rest = memoryview(b"".join(unsent))[sent:]
        while rest:
            rest = rest[sock.send(rest) :]
            bound(sock, self._left())

    def _open(self) -> socket.socket:
        if self._sock is None:
            raise OSError(errno.ENOTCONN, "closed")
        return self._sock

    def _left(self) -> float:
        """Seconds until the deadline.

        Raises:
            TimeoutError: When there are none.
        """
        seconds = self._deadline - time.monotonic()
        if seconds <= 0:
            raise TimeoutError("timed out")
        return seconds


def _aborted() -> OSError:
    return OSError(errno.ECONNABORTED, "shut while it was made")


def _is_ready(sock: socket.socket, event: int, seconds: float) -> bool:
    """Wait for ``event``, without a descriptor of its own, as epoll would have."""
    poll = getattr(selectors, "PollSelector", selectors.SelectSelector)
    with poll() as selector:
        selector.register(sock, event)
        return bool(selector.select(seconds))


def bound(sock: socket.socket, seconds: float) -> None:
    """Let no call to the system take longer.

    By the system's own timeouts, where they can be had: with Python's a socket takes
    a large request in many small calls, and beside a busy event loop each of them
    waits 5 ms for the interpreter's lock.
    """
    if isinstance(sock, ssl.SSLSocket) or not _TIMEOUTS:
        sock.settimeout(seconds)
        return
    if sock.gettimeout() is not None:
        sock.settimeout(None)
    microseconds = max(1, int(seconds * 1e6))
    timeout = struct.pack("@ll", *divmod(microseconds, 1_000_000))
    for option in _TIMEOUTS:
        sock.setsockopt(socket.SOL_SOCKET, option, timeout)
