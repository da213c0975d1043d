"""`GrpcSender`: OTLP over gRPC, of bytes that are encoded already."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import grpc  # type: ignore[import-untyped]  # it has no stubs

from spanrun.errors import ConfigurationError
from spanrun.telemetry.delivery.answers import (
    partial_success,
    retry_delay,
    retry_delay_in,
)
from spanrun.telemetry.delivery.destination import Destination
from spanrun.telemetry.delivery.send import Outcome, Verdict, capped

_VERDICTS: Final[dict[str, Verdict]] = {
    "CANCELLED": "retry",
    "DEADLINE_EXCEEDED": "retry",
    "ABORTED": "retry",
    "OUT_OF_RANGE": "retry",
    "UNAVAILABLE": "retry",
    "DATA_LOSS": "retry",
    "UNAUTHENTICATED": "misconfigured",
    "PERMISSION_DENIED": "misconfigured",
    "UNIMPLEMENTED": "misconfigured",
}
_DETAILS: Final = "grpc-status-details-bin"  # a google.rpc.Status
_RETRY_INFO: Final = "google.rpc.retryinfo-bin"  # where some Python servers put it
# gRPC waits up to two minutes between two connections by itself; when to try
# again is decided here.
_OPTIONS: Final = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.enable_retries", 0),
    ("grpc.primary_user_agent", "spanrun"),
)


class GrpcSender:
    """Calls ``Export`` of one service, over one channel that is kept open.

    A channel doesn't survive a fork, so the child makes its own.

    Raises:
        ConfigurationError: If a certificate or a key can't be read.
    """

    def __init__(self, destination: Destination) -> None:
        self._destination: Final = destination
        self._credentials: Final = (
            None if destination.insecure else _credentials(destination)
        )
        self._metadata: Final = tuple(destination.headers.items())
        self._channel: Any = None
        self._export: Any = None
        self._call: Any = None

    @property
    def destination(self) -> Destination:
        """Where requests go."""
        return self._destination

    def send(self, payload: bytes) -> Outcome:
        """Export one request; see the table of `spanrun.telemetry.delivery.send`."""
        export = self._export or self._open()
        try:
            call = self._call = export.future(
                payload, timeout=self._destination.timeout, metadata=self._metadata
            )
            body: bytes = call.result()
        except grpc.RpcError as error:
            return self._failure(error)
        except (grpc.FutureCancelledError, ValueError) as error:
            # Aborted from aside; the channel was closed meanwhile.
            return Outcome("retry", type(error).__name__, "aborted")
        finally:
            self._call = None
        rejected, why = partial_success(self._destination.signal, body)
        return Outcome("delivered", "OK", self._destination.scrub(why), rejected)

    def abort(self) -> None:
        """End a `send` that runs in another thread."""
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
        # Host and port, or a name that gRPC's resolvers know.
        target = urlsplit(self._destination.url).netloc.rpartition("@")[2]
        compression = grpc.Compression.NoCompression
        if self._destination.compression == "gzip":
            compression = grpc.Compression.Gzip
        make: Any = grpc
        if self._credentials is None:
            self._channel = make.insecure_channel(target, _OPTIONS, compression)
        else:
            self._channel = make.secure_channel(
                target, self._credentials, _OPTIONS, compression
            )
        self._export = self._channel.unary_unary(f"/{self._destination.service}/Export")
        return self._export

    def _failure(self, error: Any) -> Outcome:
        code: str = error.code().name
        detail = self._destination.scrub(error.details() or "")
        after = _retry_info(error)
        verdict = _VERDICTS.get(code, "refused")
        if self._is_our_bound(detail):
            detail = f"the answer is too large: {detail}"
        elif code == "RESOURCE_EXHAUSTED":
            # Only with RetryInfo does the server say that it will recover;
            # without, it is a message over the server's limit.
            verdict = "split" if after is None else "retry"
        elif code == "UNAVAILABLE" and "certificate" in detail.lower():
            verdict = "misconfigured"
        return Outcome(verdict, code, detail, after=after)

    def _is_our_bound(self, detail: str) -> bool:
        """Whether gRPC gave up an answer, at its 4 MiB: a smaller request has the same.

        A server made of the same library says the second text of what we packed.
        """
        packs = self._destination.compression == "gzip"
        return "CLIENT: Received message larger than max" in detail or (
            "Decompressed message larger than max" in detail and not packs
        )


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


def _credentials(destination: Destination) -> Any:
    make: Any = grpc
    try:
        return make.ssl_channel_credentials(
            _bytes(destination.certificate),
            _bytes(destination.client_key),
            _bytes(destination.client_certificate),
        )
    except OSError as error:
        raise ConfigurationError(
            f"certificates for {destination.label}: {error}"
        ) from error


def _bytes(path: Path | None) -> bytes | None:
    return None if path is None else path.read_bytes()
