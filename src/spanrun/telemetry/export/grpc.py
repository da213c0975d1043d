"""`GrpcExporter`: OTLP over gRPC, of bytes that are encoded already."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import grpc  # type: ignore[import-untyped]  # it has no stubs

from spanrun.endpoints import is_grpc_target
from spanrun.errors import ConfigurationError
from spanrun.proxies import Proxy, proxy_for
from spanrun.telemetry.export.answers import (
    partial_success,
    retry_delay,
    retry_delay_in,
)
from spanrun.telemetry.export.destination import Destination
from spanrun.telemetry.export.outcome import Outcome, Verdict, capped, verdict_of

_RETRY: Final = ("CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "OUT_OF_RANGE")
_VERDICTS: Final[dict[str, Verdict]] = {
    **dict.fromkeys((*_RETRY, "UNAVAILABLE", "DATA_LOSS"), "retry"),
    "UNAUTHENTICATED": "misconfigured",
    "PERMISSION_DENIED": "misconfigured",
    "UNIMPLEMENTED": "misconfigured",
}
_DETAILS: Final = "grpc-status-details-bin"  # a google.rpc.Status
_UNPACKED: Final = "Decompressed message larger than max"
_RETRY_INFO: Final = "google.rpc.retryinfo-bin"  # where some Python servers put it
_HTTP_STATUS: Final = re.compile(r"http2 header with status: (\d{3})")
# What gRPC says by itself: of an answer without its end; of headers or of an answer
# over its limits.
_CUT: Final = ("No status received", "Stream removed")
_TOO_LONG: Final = ("metadata size exceeds", "CLIENT: Received message larger")
_KINDS: Final = ("grpc", "https", "http", "all")  # gRPC's own order, then that of HTTP
# gRPC waits up to two minutes between two connections by itself; when to try
# again is decided here.
_OPTIONS: Final = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.enable_retries", 0),
    ("grpc.primary_user_agent", "spanrun"),
)


class GrpcExporter:
    """Calls ``Export`` of one service, over one channel that is kept open.

    A channel doesn't survive a fork, so the child makes its own.

    Proxies are taken from ``grpc_proxy``, ``HTTPS_PROXY``, ``HTTP_PROXY``,
    ``ALL_PROXY`` and ``NO_PROXY``; this machine is called directly.

    Raises:
        ConfigurationError: If a certificate, a key or a proxy can't be used.
    """

    def __init__(self, destination: Destination) -> None:
        self._destination: Final = destination
        self._signal: Final = destination.signal
        self._credentials: Final = (
            None if destination.insecure else _credentials(destination)
        )
        self._target: Final = _target(destination.url)
        self._proxy: Final = _proxy(self._target)
        self._metadata: Final = tuple(destination.headers.items())
        self._channel: Any = None
        self._export: Any = None
        self._call: Any = None
        self._aborts = 0

    @property
    def destination(self) -> Destination:
        """Where requests go."""
        return self._destination

    def send(self, payload: bytes) -> Outcome:
        """Export one request; see the table of `spanrun.telemetry.export.outcome`."""
        aborts = self._aborts
        export = self._export or self._open()
        try:
            call = self._call = export.future(
                payload, timeout=self._destination.timeout, metadata=self._metadata
            )
            if self._aborts != aborts:  # by who didn't see the call yet
                call.cancel()
            body: bytes | None = call.result()
        except grpc.RpcError as error:
            return self._failure(error)
        except (grpc.FutureCancelledError, ValueError) as error:
            # Aborted from aside; the channel was closed meanwhile.
            return Outcome("retry", type(error).__name__, "aborted")
        finally:
            self._call = None
        # None where there was no message, or only a part of one.
        found = None if body is None else partial_success(self._signal, body)
        if found is None:
            return Outcome("retry", "OK", "its answer can't be decoded")
        rejected, why = found
        return Outcome("delivered", "OK", self._destination.scrub(why), rejected)

    def abort(self) -> None:
        """End a `send` that runs in another thread."""
        self._aborts += 1
        call = self._call
        if call is not None:
            call.cancel()

    def close(self) -> None:
        """Close the channel."""
        channel, self._channel, self._export = self._channel, None, None
        if channel is not None:
            channel.close()

    def after_fork(self) -> None:
        """In the child: leave the channel to the parent."""
        self._channel = self._export = self._call = None

    def _open(self) -> Any:
        # By our own rules, not gRPC's, which has loopback called by proxy, too.
        proxy = (
            ("grpc.enable_http_proxy", 0)
            if self._proxy is None
            else ("grpc.http_proxy", self._proxy.url)
        )
        options = (*_OPTIONS, proxy)
        compression = grpc.Compression.NoCompression
        if self._destination.compression == "gzip":
            compression = grpc.Compression.Gzip
        make: Any = grpc
        if self._credentials is None:
            self._channel = make.insecure_channel(self._target, options, compression)
        else:
            self._channel = make.secure_channel(
                self._target, self._credentials, options, compression
            )
        self._export = self._channel.unary_unary(f"/{self._destination.service}/Export")
        return self._export

    def _failure(self, error: Any) -> Outcome:
        code: str = error.code().name
        detail: str = error.details() or ""
        after = _retry_info(error)
        verdict = _verdict(code, detail, after)
        if _UNPACKED in detail and self._destination.compression != "gzip":
            verdict = (
                "misconfigured"  # the answer: of what we pack a server says it too
            )
        if self._proxy is not None:
            detail = f"via {self._proxy}: {detail}"
        return Outcome(verdict, code, self._destination.scrub(detail), after=after)


def _verdict(code: str, detail: str, after: float | None) -> Verdict:
    """What an error means: by its code, unless gRPC made it up on our side."""
    if any(text in detail for text in _TOO_LONG):
        return "misconfigured"
    if detail.startswith(_CUT):
        return "retry"
    if status := _HTTP_STATUS.search(detail):
        # From a proxy, or no gRPC at all: it isn't about the data.
        verdict = verdict_of(int(status[1]))
        return "misconfigured" if verdict in ("refused", "delivered") else verdict
    if code == "RESOURCE_EXHAUSTED":
        # Only with RetryInfo does the server say that it will recover;
        # without, it is a message over the server's limit.
        return "split" if after is None else "retry"
    if code == "UNAVAILABLE" and "certificate" in detail.lower():
        return "misconfigured"
    return _VERDICTS.get(code, "refused")


def _retry_info(error: Any) -> float | None:
    """The seconds of a ``google.rpc.RetryInfo`` in the trailers."""
    found: dict[str, bytes] = dict(error.trailing_metadata() or ())
    if _DETAILS in found:
        after = retry_delay_in(found[_DETAILS])
    elif _RETRY_INFO in found:
        after = retry_delay(found[_RETRY_INFO])
    else:
        return None
    return None if after is None else capped(after)


def _target(url: str) -> str:
    """Host and port, or a name that gRPC's resolvers know."""
    if is_grpc_target(url):
        return url
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2].rstrip(":")
    if parts.port is not None:
        return host
    return f"{host}:{443 if parts.scheme == 'https' else 80}"


def _proxy(target: str) -> Proxy | None:
    scheme = target.partition(":")[0].lower()
    if is_grpc_target(target) and scheme != "dns":
        return None  # an address, or a socket on this machine
    where = target.rpartition("/")[2].removeprefix("dns:")
    return proxy_for(f"http://{where}", kinds=_KINDS, schemes=("http",))


def _credentials(destination: Destination) -> Any:
    make: Any = grpc
    certificate, key, chain = destination.tls
    try:
        return make.ssl_channel_credentials(
            _bytes(certificate),
            _bytes(key or chain),  # both may be in one file
            _bytes(chain),
        )
    except OSError as error:
        raise ConfigurationError(
            f"certificates for {destination.label}: {error}"
        ) from error


def _bytes(path: Path | None) -> bytes | None:
    return None if path is None else path.read_bytes()
