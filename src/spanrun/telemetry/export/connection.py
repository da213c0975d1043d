"""`Connection`: one HTTP/1.1 connection over httpcore, made directly or by a proxy."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import httpcore

from spanrun.telemetry.export.response import (
    InvalidResponse,
    ProxyRefusal,
    Response,
    read_body,
)
from spanrun.telemetry.export.stream import Stream

_SWITCHING: Final = 101


@dataclass(frozen=True, slots=True)
class Target:
    """What requests go to, and how.

    Attributes:
        scheme: ``"http"`` or ``"https"``.
        host: In brackets if it is an address of IPv6.
        port: None for the scheme's own.
        path: With the query.
        tls: For a server over TLS.
        proxy: The URL of the proxy on the way, without user and password.
        proxy_tls: For a proxy over TLS.
        proxy_headers: That are for the proxy.
    """

    scheme: str
    host: str
    port: int | None
    path: str
    tls: ssl.SSLContext | None = None
    proxy: str = ""
    proxy_tls: ssl.SSLContext | None = None
    proxy_headers: Mapping[str, str] = field(default_factory=dict[str, str])


class Connection:
    """A connection that can be ended from another thread, also while it is made."""

    def __init__(self, target: Target) -> None:
        self._url: Final = httpcore.URL(
            scheme=target.scheme,
            host=target.host,
            port=target.port,
            target=target.path,
        )
        self._stream: Final = Stream()
        proxy = target.proxy and httpcore.Proxy(
            target.proxy,
            headers=[*target.proxy_headers.items()],
            ssl_context=target.proxy_tls,
        )
        self._http: Final = httpcore.ConnectionPool(
            ssl_context=target.tls, proxy=proxy or None, network_backend=self._stream
        ).create_connection(self._url.origin)

    def post(
        self, headers: Mapping[str, str], body: bytes, deadline: float
    ) -> Response:
        """Send a request and read its answer, before ``deadline``.

        Raises:
            TimeoutError: If the server takes longer.
            OSError: If there is no connection, or none any more.
            InvalidResponse: If what comes isn't a whole answer.
            ProxyRefusal: If the proxy refuses.
        """
        self._stream.begin(deadline)
        fields = [*headers.items(), ("content-length", str(len(body)))]
        request = httpcore.Request("POST", self._url, headers=fields, content=body)
        try:
            response = self._receive(request)
        except httpcore.ProxyError as refusal:
            status, _, reason = str(refusal).partition(" ")
            raise ProxyRefusal(int(status), reason) from refusal
        except OSError:  # one of TLS's is a `ValueError`, too
            raise
        except (httpcore.ProtocolError, ValueError) as error:
            raise self._stream.broken or InvalidResponse(str(error)) from error
        if self._stream.broken and response.is_success:
            raise self._stream.broken  # the server hasn't seen all of it
        return response

    @property
    def answering(self) -> bool:
        """Whether anything of an answer to the last request has come."""
        return self._stream.answering

    @property
    def is_idle(self) -> bool:
        """Whether another request can go over it."""
        usable = self._http.is_available() and not self._stream.is_shut
        return usable and not self._http.has_expired()

    def shut(self) -> None:
        """End what another thread does with this connection."""
        self._stream.shut()

    def close(self) -> None:
        """Close it."""
        self._stream.close()

    def _receive(self, request: httpcore.Request) -> Response:
        found = self._http.handle_request(request)
        try:
            if found.status == _SWITCHING:
                raise InvalidResponse("101, which wasn't asked for")
            headers = {
                name.decode("latin-1").lower(): value.decode("latin-1")
                for name, value in reversed(found.headers)
            }
            coding = headers.get("content-encoding", "")
            body, too_large = read_body(found.iter_stream(), coding)
        finally:
            found.close()
        extensions: Any = found.extensions
        reason: bytes = extensions["reason_phrase"]
        return Response(
            found.status, reason.decode("latin-1"), headers, body, too_large
        )
