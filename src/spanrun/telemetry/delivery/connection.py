"""`Connection`: one HTTP/1.1 connection, and answers that are whole or an error.

On `http.client`'s reading of answers, as a request costs 140 µs of CPU with it
against 460 µs with httpx (100 kB body, kept-alive loopback connection); and on a
socket that another thread can shut, which bounds a request by its whole time.

An answer counts when all of it is there: a head up to its empty line, and a body as
long as it says, with its last chunk, unpacked to its end. `http.client` takes a head
that ends amid a line, and a body that is too short, for answers. Interim answers
(1xx) are passed over.
"""

from __future__ import annotations

import contextlib
import encodings.idna  # noqa: F401  # pyright: ignore[reportUnusedImport] -- see `forks`
import http.client
import io
import select
import socket
import ssl
import struct
import sys
import time
import zlib
from dataclasses import dataclass
from email.message import Message
from types import SimpleNamespace
from typing import Any, Final

MAX_ANSWER: Final = 4 * 1024 * 1024
"""Bytes of a body, packed and unpacked: what gRPC takes as well."""

_BUSY: Final = 0.1  # seconds after an answer in which no server gives a connection up
_EARLY: Final = -0.01  # seconds: the system may wake us so much before the deadline
_TIMEOUTS: Final[tuple[int, ...]] = (
    () if sys.platform == "win32" else (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO)
)
_INTERIM: Final = range(100, 200)
_SWITCHING: Final = 101
_GZIP: Final = 16 + zlib.MAX_WBITS


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


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer.

    Attributes:
        status: Its code, 200 or more.
        reason: Its words.
        headers: As they came.
        body: Unpacked; cut at `MAX_ANSWER`.
        too_large: It was cut.
    """

    status: int
    reason: str
    headers: Message
    body: bytes
    too_large: bool


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
        except (OSError, http.client.HTTPException):
            left(deadline + _EARLY)  # the system's own timeouts have other names
            raise

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
                sock.settimeout(left(deadline) / (len(found) - tried))
                sock.connect(where)
            except OSError as error:
                sock.close()
                failure = error
            else:
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return sock
        self._sock = None
        raise failure

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
        with _head(_Incoming(sock, deadline), "CONNECT") as answer:
            if not 200 <= answer.status < 300:  # noqa: PLR2004 -- any success
                raise Tunnel(answer.status, answer.reason)

    def _read(self, sock: socket.socket, deadline: float) -> Answer:
        incoming = _Incoming(sock, deadline)
        try:
            with _head(incoming, "POST") as found:
                self._over = True  # unless it is read to its end
                body, too_large = _body(found, incoming)
                self._over = found.will_close or too_large
        finally:
            self.answering = incoming.began
        self._answered = time.monotonic()
        return Answer(found.status, found.reason, found.headers, body, too_large)

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


class _Incoming(io.RawIOBase):
    """What comes from a socket, until a deadline.

    Attributes:
        began: Something has come.
        ended: The other side has said that nothing more comes.
    """

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock: Final = sock
        self._deadline: Final = deadline
        self.began = self.ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        bound(self._sock, left(self._deadline))
        size = self._sock.recv_into(buffer)
        if size:
            self.began = True
        else:
            self.ended = True
        return size


def _head(incoming: _Incoming, method: str) -> http.client.HTTPResponse:
    """The final answer up to its body."""
    buffered = io.BufferedReader(incoming)
    source: Any = SimpleNamespace(makefile={"rb": buffered}.get)
    while True:
        found = http.client.HTTPResponse(source, method=method)
        found.begin()
        if incoming.ended:  # no line was asked for behind the empty one
            raise http.client.IncompleteRead(b"")
        if found.status not in _INTERIM:
            break
        if found.status == _SWITCHING:
            raise http.client.BadStatusLine("101, which wasn't asked for")
        unowned: Any = found
        unowned.fp = None  # or it closes what the next one comes from
    _check_framing(found)
    return found


def _check_framing(answer: http.client.HTTPResponse) -> None:
    """Refuse what leaves open where the answer ends: see RFC 9112, 6.3."""
    coding = answer.headers.get("transfer-encoding")
    if coding is not None:
        if not answer.chunked:
            raise http.client.UnknownTransferEncoding(str(coding))
        return
    sizes = {str(size).strip() for size in answer.headers.get_all("content-length", ())}
    size = next(iter(sizes), "0")
    if len(sizes) > 1 or not size.isdecimal() or (sizes and answer.length is None):
        raise http.client.HTTPException("a content-length that isn't one")


def _body(answer: http.client.HTTPResponse, incoming: _Incoming) -> tuple[bytes, bool]:
    """The body unpacked, and whether it had to be cut."""
    parts: list[bytes] = []
    size = 0
    while size < MAX_ANSWER and (part := answer.read1(MAX_ANSWER - size)):
        parts.append(part)
        size += len(part)
    body = b"".join(parts)
    if size >= MAX_ANSWER:
        return body, True
    if answer.chunked and incoming.ended:
        raise http.client.IncompleteRead(body)  # within its last line
    if not answer.chunked and answer.length:
        raise http.client.IncompleteRead(body, answer.length)
    return _unpacked(answer, body)


def _unpacked(answer: http.client.HTTPResponse, body: bytes) -> tuple[bytes, bool]:
    coding = str(answer.headers.get("content-encoding", "identity")).strip().lower()
    if not body or coding in ("", "identity"):
        return body, False
    if coding not in ("gzip", "x-gzip"):
        raise http.client.HTTPException(f"a body in {coding}, which wasn't asked for")
    unpacker = zlib.decompressobj(_GZIP)
    try:
        plain = unpacker.decompress(body, MAX_ANSWER)
    except zlib.error as error:
        raise http.client.HTTPException(f"a body that isn't gzip: {error}") from error
    if unpacker.unconsumed_tail:
        return plain, True
    if not unpacker.eof:
        raise http.client.IncompleteRead(plain)
    return plain, False


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


def left(deadline: float) -> float:
    """Seconds until ``deadline``.

    Raises:
        TimeoutError: When there are none.
    """
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError("timed out")
    return seconds
