"""`Destination`: where one signal goes over OTLP, and how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import unquote, urlsplit

from spanrun.endpoints import endpoint_fault, is_grpc_target, url_of
from spanrun.errors import ConfigurationError
from spanrun.settings import SignalSettings
from spanrun.telemetry.export.tls import TlsFiles
from spanrun.telemetry.export.variables import Compression, OtlpVariables
from spanrun.telemetry.signals import Signal
from spanrun.text import Confidential, excerpt
from spanrun.urls import login_of, shown

_HTTP: Final = "http://localhost:4318"
_GRPC: Final = "http://localhost:4317"
_SERVICES: Final[Mapping[Signal, str]] = {
    "traces": "opentelemetry.proto.collector.trace.v1.TraceService",
    "metrics": "opentelemetry.proto.collector.metrics.v1.MetricsService",
    "logs": "opentelemetry.proto.collector.logs.v1.LogsService",
}


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a signal goes, and how. Its text holds no secrets.

    Attributes:
        signal: What goes there.
        protocol: ``"http/protobuf"`` or ``"grpc"``.
        url: The whole URL over HTTP; over gRPC scheme, host and port count, or it is
            a target of gRPC's own, as ``dns:///host:4317``.
        headers: Sent with each request, names in lower case.
        timeout: Seconds for a request, from the connection to the last byte.
        compression: Of requests.
        tls: What is trusted and shown.
        insecure: gRPC without TLS.
    """

    signal: Signal
    protocol: Literal["http/protobuf", "grpc"]
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    timeout: float = 10.0
    compression: Compression = "none"
    tls: TlsFiles = field(default_factory=TlsFiles)
    insecure: bool = False

    @property
    def label(self) -> str:
        """The URL without what may be secret in it: user, password, query."""
        parts = urlsplit(self.url)
        host = parts.netloc.rpartition("@")[2]
        return f"{parts.scheme}://{host}{parts.path}"

    @property
    def service(self) -> str:
        """The name of the gRPC service."""
        return _SERVICES[self.signal]

    def scrub(self, text: str) -> str:
        """What a receiver says, for a log: without secrets, inert, one short line."""
        secrets = [*self.headers.values()]
        parts = urlsplit(self.url)
        if parts.password:
            pair = (login_of(parts) or "").removeprefix("Basic ")
            secrets += [parts.password, unquote(parts.password), pair]
        return excerpt(Confidential(secrets).hide(text))


def destination(
    signal: Signal, settings: SignalSettings, environ: Mapping[str, str]
) -> Destination:
    """Where ``signal`` goes. Nothing is opened.

    An endpoint in ``settings`` (from an argument, ``SPANRUN_ENDPOINT`` or a file)
    is a base URL, as ``OTEL_EXPORTER_OTLP_ENDPOINT`` is: over HTTP ``/v1/traces``
    and the like are added to its path. A signal's own
    ``OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`` is taken as it stands. Headers of a signal
    replace the general ones.

    A timeout below 1000 is seconds, as OpenTelemetry's Python SDK reads it; from
    1000 on it is milliseconds, as the specification has it.

    Source: https://opentelemetry.io/docs/specs/otel/protocol/exporter/

    Raises:
        ConfigurationError: With the variable and its value, but no secret.
    """
    look = OtlpVariables(signal, environ)
    url, insecure = _url(signal, settings, look)
    tls = look.tls_files()
    return Destination(
        signal=signal,
        protocol=settings.protocol,
        url=url,
        headers=look.headers(settings.protocol),
        timeout=look.timeout(),
        compression=look.compression(),
        tls=tls,
        insecure=insecure,
    )


def _url(
    signal: Signal, settings: SignalSettings, look: OtlpVariables
) -> tuple[str, bool]:
    """The URL, and whether it is gRPC without TLS."""
    grpc = settings.protocol == "grpc"
    own = None if settings.endpoint else look.own("ENDPOINT")
    endpoint = settings.endpoint or own or look.general("ENDPOINT")
    origin = "endpoint" if settings.endpoint or not endpoint else look.variable
    endpoint = endpoint or (_GRPC if grpc else _HTTP)
    whole = bool(own)
    fault = endpoint_fault(endpoint, signal, protocol=settings.protocol, whole=whole)
    if fault:
        raise ConfigurationError(f"{origin}={shown(endpoint)!r}: {fault}")
    if not grpc:
        return url_of(endpoint, signal, whole=whole), False
    asked = look.get("INSECURE").lower()
    if is_grpc_target(endpoint):
        # What goes to a Unix socket doesn't leave the machine.
        local = endpoint.lower().startswith("unix") and asked != "false"
        return endpoint, local or asked == "true"
    if "://" not in endpoint:
        endpoint = f"{'http' if asked == 'true' else 'https'}://{endpoint}"
    return endpoint, endpoint.lower().startswith("http://")
