"""`HttpSender`: OTLP over HTTP/1.1 with binary protobuf.

On `http.client`, as a request costs 140 µs of CPU with it against 460 µs with
httpx (100 kB body, kept-alive loopback connection), and as its socket can be
shut from another thread, which is what bounds a request by its whole time.
"""

from __future__ import annotations

import contextlib
import encodings.idna  # noqa: F401  # pyright: ignore[reportUnusedImport] -- see `forks`
import gzip
import http.client
import select
import socket
import ssl
import struct
import sys
import time
from base64 import b64encode
from typing import Any, Final
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies_environment, proxy_bypass

from spanrun.errors import ConfigurationError
from spanrun.telemetry.delivery.destination import Destination
from spanrun.telemetry.delivery.frames import Signal
from spanrun.telemetry.delivery.send import Outcome, retry_after, verdict_of
from spanrun.telemetry.forks import no_fork

_MAX_ANSWER: Final = 64 * 1024
_BUSY: Final = 0.1  # seconds after an answer in which no server gives a connection up
_EARLY: Final = -0.01  # seconds: the system may wake us so much before the deadline
_TIMEOUTS: Final[tuple[int, ...]] = (
    () if sys.platform == "win32" else (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO)
)
_GZIP_LEVEL: Final = 1  # 463 → 105 bytes a job for 0.4 µs a span


class HttpSender:
    """Posts export requests to one URL, over one connection that is kept open.

    Proxies are taken from ``HTTP_PROXY``, ``HTTPS_PROXY`` and ``NO_PROXY``.
    Redirects are not followed.

    Raises:
        ConfigurationError: If a certificate or a key can't be used.
    """

    def __init__(self, destination: Destination) -> None:
        self._destination: Final = destination
        self._url: Final = urlsplit(destination.url)
        self._tls: Final = _context(destination) if _is_tls(self._url) else None
        self._proxy: Final = _proxy(self._url)
        self._target: Final = _target(self._url, self._proxy)
        self._headers: Final = _headers(destination, self._url, self._proxy)
        self._connection: _Connection | None = None

    @property
    def destination(self) -> Destination:
        """Where requests go."""
        return self._destination

    def send(self, payload: bytes) -> Outcome:
        """Post one request; see the table of `spanrun.telemetry.delivery.send`."""
        body = payload
        if self._destination.compression == "gzip":
            body = gzip.compress(payload, _GZIP_LEVEL, mtime=0)
        deadline = time.monotonic() + self._destination.timeout
        kept = self._reusable()
        try:
            return self._exchange(body, deadline)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            if not kept or isinstance(error, TimeoutError):
                return self._failure(error)
        # The server closed the idle connection just when it was used again.
        try:
            return self._exchange(body, deadline)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            return self._failure(error)

    def abort(self) -> None:
        """End a `send` that runs in another thread."""
        connection = self._connection
        if connection is not None:
            connection.shut()

    def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def after_fork(self) -> None:
        """In the child: drop our copy of the socket; the parent's stays open."""
        self.close()

    def _exchange(self, body: bytes, deadline: float) -> Outcome:
        connection = self._open(deadline)
        connection.give_until(deadline)
        try:
            connection.post(self._target, body, self._headers)
            with connection.getresponse() as answer:
                text = _read(connection, answer, deadline)
                read = answer.isclosed() or answer.length == 0
        except (OSError, http.client.HTTPException):
            _left(deadline + _EARLY)  # the system's own timeouts have other names
            raise
        connection.answered = time.monotonic()
        if not read or answer.will_close:
            self.close()
        return self._outcome(answer, text)

    def _outcome(self, answer: http.client.HTTPResponse, text: bytes) -> Outcome:
        status = answer.status
        verdict = verdict_of(status)
        scrub = self._destination.scrub
        if verdict == "delivered":
            rejected, why = _rejected(self._destination.signal, text)
            return Outcome(verdict, str(status), scrub(why), rejected)
        detail = answer.reason
        if 300 <= status < 400:  # noqa: PLR2004 -- redirects
            where = urlsplit(answer.getheader("location", ""))
            detail = f"redirects to {where.scheme}://{where.hostname}{where.path}"
        elif (kind := answer.headers.get_content_type()) != "text/html":
            detail = f"{detail}: {_message(text, kind)}".removesuffix(": ")
        after = retry_after(answer.getheader("retry-after"))
        return Outcome(verdict, str(status), scrub(detail), after=after)

    def _failure(self, error: Exception) -> Outcome:
        name, text = type(error).__name__, self._destination.scrub(str(error))
        if isinstance(error, ssl.SSLCertVerificationError):
            return Outcome("misconfigured", name, text)
        return Outcome("retry", name, text)

    def _open(self, deadline: float) -> _Connection:
        if self._connection is None:
            self._connection = _Connection(self._url, self._proxy, self._tls, deadline)
        return self._connection

    def _reusable(self) -> bool:
        """Whether the open connection is still one. Closes it when it isn't."""
        connection = self._connection
        if connection is None:
            return False
        if connection.is_idle():
            return True
        self.close()
        return False


class _Connection(http.client.HTTPConnection):
    """A connection that can be shut from another thread, also while it is made.

    Attributes:
        answered: When the last answer was read, on `time.monotonic`.
    """

    def __init__(
        self,
        url: SplitResult,
        proxy: SplitResult | None,
        tls: ssl.SSLContext | None,
        deadline: float,
    ) -> None:
        dialled = proxy or url
        super().__init__(dialled.hostname or "", _port(dialled))
        self._tls = tls
        self._name = url.hostname or ""
        self._deadline = deadline
        self._shut = False
        self._body: bytes | None = None
        self.answered = 0.0
        self._proxy_tls = proxy is not None and _is_tls(proxy)
        if proxy is not None and tls is not None:
            self.set_tunnel(self._name, _port(url), _proxy_headers(proxy))

    def connect(self) -> None:
        """Resolve, connect, and shake hands, all before the deadline."""
        self._create_connection = self._dial  # http.client's own hook
        super().connect()
        sock: socket.socket = self.sock
        if self._tls is not None:
            sock.settimeout(_left(self._deadline))
            self.sock = self._tls.wrap_socket(sock, server_hostname=self._name)
        self.give_until(self._deadline)

    def _dial(self, address: tuple[str, int], *_: object) -> socket.socket:
        failure: OSError = OSError("no address")
        for family, kind, protocol, _name, where in socket.getaddrinfo(
            *address, type=socket.SOCK_STREAM
        ):
            sock = self.sock = socket.socket(family, kind, protocol)
            try:
                sock.settimeout(_left(self._deadline))
                sock.connect(where)
            except OSError as error:
                sock.close()
                failure = error
            else:
                if self._proxy_tls:
                    context = ssl.create_default_context()
                    return context.wrap_socket(sock, server_hostname=address[0])
                return sock
            if self._shut:
                break
        raise failure

    def post(self, target: str, body: bytes, headers: dict[str, str]) -> None:
        """Send a request, in one call to the system: see `_bound`."""
        self._body = body
        self.request(
            "POST", target, headers={**headers, "content-length": f"{len(body)}"}
        )

    def send(self, data: Any) -> None:
        """Send ``data``: the head of a request, with its body behind it."""
        body, self._body = self._body, None
        if body is None:  # to a proxy, while it connects
            super().send(data)
            return
        if self.sock is None:
            self.connect()
        sock: Any = self.sock
        if isinstance(sock, ssl.SSLSocket) or sys.platform == "win32":
            sock.sendall(data + body)
            return
        sent = sock.sendmsg([data, body])
        if sent < len(data) + len(body):
            sock.sendall((data + body)[sent:])

    def give_until(self, deadline: float) -> None:
        """What is done next must be done by then."""
        self._deadline = deadline
        if self.sock is not None:
            _bound(self.sock, _left(deadline))

    def is_idle(self) -> bool:
        """Whether nothing has arrived, the other side's farewell included."""
        sock: socket.socket | None = self.sock
        if sock is None or self._shut:
            return False
        if time.monotonic() - self.answered < _BUSY:
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
        sock: socket.socket | None = self.sock
        if sock is not None:
            with contextlib.suppress(OSError):
                # Not SSLSocket's own, which drops its state under a reader's feet.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)


def _read(
    connection: _Connection, answer: http.client.HTTPResponse, deadline: float
) -> bytes:
    """The body, as far as it is of interest."""
    parts: list[bytes] = []
    size = 0
    while size < _MAX_ANSWER:
        connection.give_until(deadline)
        part = answer.read1(_MAX_ANSWER - size)
        if not part:
            break
        parts.append(part)
        size += len(part)
    _left(deadline + _EARLY)
    return b"".join(parts)


def _bound(sock: socket.socket, seconds: float) -> None:
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


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left


def _rejected(signal: Signal, body: bytes) -> tuple[int, str]:
    if not body:
        return 0, ""
    with no_fork():
        from spanrun.telemetry.delivery.answers import partial_success  # noqa: PLC0415 -- 30 ms

    return partial_success(signal, body)


def _message(body: bytes, kind: str) -> str:
    """What an error's body says: a ``google.rpc.Status`` or plain text."""
    if kind == "application/x-protobuf":
        with no_fork():
            from spanrun.telemetry.delivery.answers import message_of  # noqa: PLC0415 -- 30 ms

        return message_of(body)
    return body.decode("utf-8", "replace")  # whole: half a secret is no known one


def _context(destination: Destination) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=destination.certificate)
        if destination.client_certificate is not None:
            context.load_cert_chain(
                destination.client_certificate, destination.client_key
            )
    except OSError as error:
        raise ConfigurationError(
            f"certificates for {destination.label}: {error}"
        ) from error
    context.set_alpn_protocols(["http/1.1"])
    return context


def _proxy(url: SplitResult) -> SplitResult | None:
    proxies = getproxies_environment()
    found = proxies.get(url.scheme) or proxies.get("all")
    if not found or proxy_bypass(url.netloc.rpartition("@")[2]):
        return None
    parts = urlsplit(found if "://" in found else f"http://{found}")
    return parts if parts.scheme in ("http", "https") else None


def _target(url: SplitResult, proxy: SplitResult | None) -> str:
    path = url.path or "/"
    target = f"{path}?{url.query}" if url.query else path
    if proxy is not None and not _is_tls(url):
        return f"{url.scheme}://{url.netloc.rpartition('@')[2]}{target}"
    return target


def _headers(
    destination: Destination, url: SplitResult, proxy: SplitResult | None
) -> dict[str, str]:
    headers = {"user-agent": "spanrun", **_basic("authorization", url)}
    if proxy is not None and not _is_tls(url):
        headers.update(_proxy_headers(proxy))
        headers["host"] = url.netloc.rpartition("@")[2]
    headers.update(destination.headers)
    headers["content-type"] = "application/x-protobuf"
    if destination.compression == "gzip":
        headers["content-encoding"] = "gzip"
    return headers


def _proxy_headers(proxy: SplitResult) -> dict[str, str]:
    return _basic("proxy-authorization", proxy)


def _basic(name: str, url: SplitResult) -> dict[str, str]:
    if url.username is None:
        return {}
    pair = f"{unquote(url.username)}:{unquote(url.password or '')}"
    return {name: f"Basic {b64encode(pair.encode()).decode()}"}


def _is_tls(url: SplitResult) -> bool:
    return url.scheme == "https"


def _port(url: SplitResult) -> int:
    return url.port or (443 if _is_tls(url) else 80)
