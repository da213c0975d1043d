"""`Connection`: one HTTP/1.1 connection over httpcore, made directly or by a proxy."""

from __future__ import annotations

import logging
import ssl
import threading
from collections.abc import Mapping
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
_posting: Final = threading.local()


class Connection:
    """A connection that can be ended from another thread, also while it is made.

    Args:
        headers: Of all requests, but for the length.
        url: The arguments of ``httpcore.URL``, for all requests. An IPv6 address is in
            brackets.
        tls: For a server over TLS.
        proxy: The arguments of ``httpcore.Proxy``, where one is on the way.
    """

    def __init__(
        self,
        headers: Mapping[str, str],
        url: Mapping[str, Any],
        tls: ssl.SSLContext | None,
        proxy: Mapping[str, Any] | None,
    ) -> None:
        _keep_quiet()
        self.stream: Final = Stream()
        self._headers: Final = [
            (name.encode("ascii"), value.encode("ascii"))
            for name, value in headers.items()
        ]
        self._url: Final = httpcore.URL(**url)
        self._http: Final = httpcore.ConnectionPool(
            ssl_context=tls,
            proxy=None if proxy is None else httpcore.Proxy(**proxy),
            network_backend=self.stream,
        ).create_connection(self._url.origin)

    def post(self, body: bytes, deadline: float) -> Response:
        """Send a request and read its answer, before ``deadline``.

        Raises:
            TimeoutError: If the server takes longer.
            OSError: If there is no connection, or none any more.
            InvalidResponse: If what comes isn't a whole answer.
            ProxyRefusal: If the proxy refuses.
        """
        self.stream.begin(deadline)
        request = httpcore.Request("POST", self._url, content=body)
        request.headers = [*self._headers, (b"content-length", b"%d" % len(body))]
        _posting.now = True
        try:
            response = self._receive(request)
        except httpcore.ProxyError as refusal:
            status, _, reason = str(refusal).partition(" ")
            raise ProxyRefusal(int(status), reason) from refusal
        except OSError:  # one of TLS's is a `ValueError`, too
            raise
        except (httpcore.ProtocolError, ValueError) as error:
            raise self.stream.broken or InvalidResponse(str(error)) from error
        finally:
            _posting.now = False
        if self.stream.broken and response.is_success:
            raise self.stream.broken  # the server hasn't seen all of it
        return response

    @property
    def is_idle(self) -> bool:
        """Whether another request can go over it."""
        usable = self._http.is_available() and not self.stream.is_shut
        return usable and not self._http.has_expired()

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
        untyped: Any = found
        reason: bytes = untyped.extensions["reason_phrase"]
        return Response(
            found.status, reason.decode("latin-1"), headers, body, too_large
        )


def _keep_quiet() -> None:
    """Have httpcore log nothing of our requests: what is answered may be secret.

    It tells all that it does to whoever has a logger at DEBUG, headers and all.
    """
    for name in ("connection", "http11", "proxy"):
        logging.getLogger(f"httpcore.{name}").addFilter(_is_anothers)


def _is_anothers(_: logging.LogRecord) -> bool:
    return not getattr(_posting, "now", False)
