"""`HttpExporter`: OTLP over HTTP/1.1 with binary protobuf."""

from __future__ import annotations

import gzip
import ssl
import time
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import SplitResult, urljoin, urlsplit

from spanrun.errors import ConfigurationError
from spanrun.proxies import Proxy, proxy_for
from spanrun.telemetry.export.destination import Destination
from spanrun.telemetry.export.outcome import Outcome, Verdict, retry_after, verdict_of
from spanrun.telemetry.export.response import InvalidResponse, ProxyRefusal, Response
from spanrun.telemetry.export.tls import UnusableFile, client_context
from spanrun.telemetry.forks import no_fork
from spanrun.urls import ascii_host, login_of, shown

if TYPE_CHECKING:
    from spanrun.telemetry.export.connection import Connection

_GZIP_LEVEL: Final = 1  # 463 → 105 bytes a job for 0.4 µs a span
_PROTOBUF: Final = ("application/x-protobuf", "application/protobuf")
_REDIRECT: Final = range(300, 400)
_OWN_PATHS: Final = {"metrics": "/api/v1/otlp for Prometheus", "traces": "/otlp"}


class HttpExporter:
    """Posts export requests to one URL, over one connection that is kept open.

    Proxies are taken from ``HTTP_PROXY``, ``HTTPS_PROXY``, ``ALL_PROXY`` and
    ``NO_PROXY``; this machine is called directly. Redirects are not followed.

    Raises:
        ConfigurationError: If a certificate, a key or a proxy can't be used.
    """

    def __init__(self, destination: Destination) -> None:
        self._destination: Final = destination
        url = urlsplit(destination.url)
        self._proxy: Final = proxy_for(destination.url)
        self._path: Final = url.path or "/"
        self._url: Final[dict[str, Any]] = {
            "scheme": url.scheme,
            "host": _host(url),
            "port": url.port,
            "target": f"{self._path}?{url.query}" if url.query else self._path,
        }
        self._tls: Final = _tls(destination) if _is_tls(url) else None
        self._via: Final = None if self._proxy is None else _via(self._proxy, url)
        self._headers: Final = _headers(destination, url)
        self._connection: Connection | None = None
        self._aborts = 0

    @property
    def destination(self) -> Destination:
        """Where requests go."""
        return self._destination

    def send(self, payload: bytes) -> Outcome:
        """Post one request; see the table of `spanrun.telemetry.export.outcome`."""
        aborts = self._aborts
        body = payload
        if self._destination.compression == "gzip":
            body = gzip.compress(payload, _GZIP_LEVEL, mtime=0)
        with no_fork():  # the first time: 250 ms of httpcore, which `configure` has not
            from spanrun.telemetry.export.connection import Connection  # noqa: PLC0415

        deadline = time.monotonic() + self._destination.timeout
        kept = self._connection
        if kept is not None and kept.is_idle:
            try:
                return self._post(kept, body, deadline)
            except (OSError, InvalidResponse) as error:
                if kept.stream.answering or isinstance(error, TimeoutError):
                    return self._failure(error)
                # The server closed the idle connection just when it was used again.
        self.close()
        made = self._connection = Connection(
            self._headers, self._url, self._tls, self._via
        )
        if self._aborts != aborts:  # by who saw no connection, or the one before
            made.stream.shut()
        try:
            return self._post(made, body, deadline)
        except (OSError, InvalidResponse, ProxyRefusal) as error:
            return self._failure(error)

    def abort(self) -> None:
        """End a `send` that runs in another thread."""
        self._aborts += 1
        connection = self._connection
        if connection is not None:
            connection.stream.shut()

    def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.stream.close()

    def after_fork(self) -> None:
        """In the child: drop our copy of the socket; the parent's stays open."""
        self.close()

    def _post(self, connection: Connection, body: bytes, deadline: float) -> Outcome:
        response = connection.post(body, deadline)
        if not connection.is_idle:
            self.close()
        if response.is_success:
            return self._accepted(response)
        return self._declined(response)

    def _accepted(self, answer: Response) -> Outcome:
        """Take a success for one, if that is what the answer is."""
        code, kind = str(answer.status), answer.media_type
        if answer.too_large:
            fault = "answers with more than an export service would"
            return self._outcome("misconfigured", code, fault)
        if kind == "text/html" and answer.body.lstrip().startswith(b"<"):
            fault = f"answers {self._path} with a web page: is OTLP received there?"
            return self._outcome("misconfigured", code, fault)
        if not answer.body:
            return Outcome("delivered", code)
        with no_fork():
            from spanrun.telemetry.export import answers  # noqa: PLC0415 -- 30 ms

        signal = self._destination.signal
        if kind == "application/json":
            found = answers.partial_success_in_json(signal, answer.body)
        else:
            found = answers.partial_success(signal, answer.body)
        if found is not None:
            rejected, why = found
            return self._outcome("delivered", code, why, rejected=rejected)
        if kind in _PROTOBUF:
            return self._outcome("retry", code, "its answer can't be decoded")
        return Outcome("delivered", code)  # some proxies answer in words

    def _declined(self, answer: Response) -> Outcome:
        status, detail = answer.status, f"{answer.reason} for {self._path}"
        verdict = verdict_of(status)
        text = _message(answer)
        after = retry_after(answer.headers.get("retry-after"))
        if status in _REDIRECT:
            detail = f"{self._path} redirects to {self._new_place(answer)}"
        elif status == 400 and self._tls is None and "HTTPS" in text:  # noqa: PLR2004
            verdict = "misconfigured"  # what servers say on a port that is for TLS
        elif status == 404:  # noqa: PLR2004
            detail += (
                ": a receiver with a path of its own has it in the endpoint, as "
                f"{_OWN_PATHS[self._destination.signal]}"
            )
        if text and status not in _REDIRECT:
            detail = f"{detail}: {text}"
        return self._outcome(verdict, str(status), detail, after=after)

    def _new_place(self, answer: Response) -> str:
        location = answer.headers.get("location", "")
        try:
            return shown(urljoin(self._destination.url, location))
        except ValueError:
            return "what isn't a URL"

    def _failure(self, error: Exception) -> Outcome:
        self.close()
        name, text = type(error).__name__, str(error)
        if isinstance(error, ProxyRefusal):
            # Its 400 or 500 is about the connection that was asked for, not the data.
            again = verdict_of(error.status) == "retry" or error.status >= 500  # noqa: PLR2004
            verdict: Verdict = "retry" if again else "misconfigured"
            return self._outcome(verdict, str(error.status), text)
        if isinstance(error, ssl.SSLCertVerificationError):
            return self._outcome("misconfigured", name, text)
        return self._outcome("retry", name, text)

    def _outcome(
        self,
        verdict: Verdict,
        code: str,
        detail: str,
        *,
        rejected: int = 0,
        after: float | None = None,
    ) -> Outcome:
        if self._proxy is not None and verdict != "delivered":
            detail = f"via {self._proxy}: {detail}"
        return Outcome(verdict, code, self._destination.scrub(detail), rejected, after)


def _message(answer: Response) -> str:
    """What an error's body says: a ``google.rpc.Status`` or plain text."""
    kind = answer.media_type
    if kind == "text/html":
        return ""
    if kind in _PROTOBUF:
        with no_fork():
            from spanrun.telemetry.export.answers import message_of  # noqa: PLC0415 -- 30 ms

        return message_of(answer.body)
    return answer.body.decode("utf-8", "replace")  # whole: half a secret isn't known


def _tls(destination: Destination) -> ssl.SSLContext:
    try:
        return client_context(destination.tls)
    except UnusableFile as fault:
        raise ConfigurationError(
            f"certificates for {destination.label}: {fault.path}: {fault}"
        ) from fault


def _via(proxy: Proxy, url: SplitResult) -> dict[str, Any]:
    """The arguments of ``httpcore.Proxy``."""
    parts = proxy.parts
    if _is_tls(url) and _is_tls(parts):
        raise ConfigurationError(
            f"{proxy.origin}={shown(proxy.url)!r}: a proxy over TLS can't be used for "
            "an endpoint over TLS: name it by http://, or leave the endpoint's host "
            f"out: NO_PROXY={ascii_host(url)}"
        )
    return {
        "url": f"{parts.scheme}://{_authority(parts)}",
        "headers": [*_basic("proxy-authorization", parts).items()],
        "ssl_context": ssl.create_default_context() if _is_tls(parts) else None,
    }


def _headers(destination: Destination, url: SplitResult) -> dict[str, str]:
    """The headers of each request, but for its length."""
    headers = {
        "host": _authority(url),
        "accept-encoding": "identity",
        "user-agent": "spanrun",
        **_basic("authorization", url),
        **destination.headers,
        "content-type": "application/x-protobuf",
    }
    if destination.compression == "gzip":
        headers["content-encoding"] = "gzip"
    return headers


def _basic(name: str, url: SplitResult) -> dict[str, str]:
    value = login_of(url)
    return {} if value is None else {name: value}


def _authority(url: SplitResult) -> str:
    return _host(url) if url.port is None else f"{_host(url)}:{url.port}"


def _host(url: SplitResult) -> str:
    host = ascii_host(url)
    return f"[{host}]" if ":" in host else host


def _is_tls(url: SplitResult) -> bool:
    return url.scheme == "https"
