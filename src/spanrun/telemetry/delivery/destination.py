"""`Destination`: where one signal goes over OTLP, by the ``OTEL_*`` variables."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, TypeAlias
from urllib.parse import unquote, urlsplit

from spanrun.errors import ConfigurationError
from spanrun.settings import SignalSettings
from spanrun.telemetry.delivery.frames import Signal
from spanrun.text import Confidential, excerpt

Compression: TypeAlias = Literal["none", "gzip"]

_PREFIX: Final = "OTEL_EXPORTER_OTLP_"
_HTTP: Final = "http://localhost:4318"
_GRPC: Final = "http://localhost:4317"
_SERVICES: Final[Mapping[Signal, str]] = {
    "traces": "opentelemetry.proto.collector.trace.v1.TraceService",
    "metrics": "opentelemetry.proto.collector.metrics.v1.MetricsService",
}
_SECONDS_BELOW: Final = 1000.0


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a signal goes, and how. Its text holds no secrets.

    Attributes:
        signal: What goes there.
        protocol: ``"http/protobuf"`` or ``"grpc"``.
        url: The whole URL over HTTP; over gRPC scheme, host and port count.
        headers: Sent with each request, names in lower case.
        timeout: Seconds for a request, from the connection to the last byte.
        compression: Of requests.
        certificate: PEM file of the authorities to trust; None for the system's.
        client_key: PEM file of the private key for mutual TLS.
        client_certificate: PEM file of the chain for mutual TLS.
        insecure: gRPC without TLS.
    """

    signal: Signal
    protocol: Literal["http/protobuf", "grpc"]
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    timeout: float = 10.0
    compression: Compression = "none"
    certificate: Path | None = None
    client_key: Path | None = None
    client_certificate: Path | None = None
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
            user, password = unquote(parts.username or ""), unquote(parts.password)
            pair = b64encode(f"{user}:{password}".encode()).decode()
            secrets += [parts.password, password, pair]
        return excerpt(Confidential(secrets).hide(text))


def destination(
    signal: Signal, settings: SignalSettings, environ: Mapping[str, str]
) -> Destination:
    """Where ``signal`` goes. Nothing is opened.

    An endpoint in ``settings`` (from an argument, ``SPANRUN_ENDPOINT`` or a file)
    is a base URL, as ``OTEL_EXPORTER_OTLP_ENDPOINT`` is: over HTTP ``/v1/traces``
    and the like are added. A signal's own ``OTEL_EXPORTER_OTLP_TRACES_ENDPOINT``
    is taken as it stands. Headers of a signal replace the general ones.

    A timeout below 1000 is seconds, as OpenTelemetry's Python SDK reads it; from
    1000 on it is milliseconds, as the specification has it.

    Source: https://opentelemetry.io/docs/specs/otel/protocol/exporter/

    Raises:
        ConfigurationError: With the variable and its value, but no secret.
    """
    look = _Look(signal, environ)
    url = _url(signal, settings, look)
    _check_url(url, signal)
    return Destination(
        signal=signal,
        protocol=settings.protocol,
        url=url,
        headers=look.headers(),
        timeout=look.timeout(),
        compression=look.compression(),
        certificate=look.path("CERTIFICATE"),
        client_key=look.path("CLIENT_KEY"),
        client_certificate=look.path("CLIENT_CERTIFICATE"),
        insecure=urlsplit(url).scheme == "http",
    )


def _url(signal: Signal, settings: SignalSettings, look: _Look) -> str:
    grpc = settings.protocol == "grpc"
    own = None if settings.endpoint else look.own("ENDPOINT")
    url = settings.endpoint or own or look.general("ENDPOINT")
    url = url or (_GRPC if grpc else _HTTP)
    if grpc and "://" not in url:
        insecure = look.get("INSECURE").lower() == "true"
        return f"{'http' if insecure else 'https'}://{url}"
    return url if grpc or own else f"{url.rstrip('/')}/v1/{signal}"


class _Look:
    """Reads ``OTEL_EXPORTER_OTLP_*``, a signal's own before the general ones."""

    def __init__(self, signal: Signal, environ: Mapping[str, str]) -> None:
        self._signal = signal
        self._environ = environ
        self.variable = ""

    def own(self, name: str) -> str:
        return self._read(f"{_PREFIX}{self._signal.upper()}_{name}")

    def general(self, name: str) -> str:
        return self._read(_PREFIX + name)

    def get(self, name: str) -> str:
        return self.own(name) or self.general(name)

    def _read(self, variable: str) -> str:
        value = self._environ.get(variable, "").strip()
        if value:
            self.variable = variable
        return value

    def headers(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        for pair in self.get("HEADERS").split(","):
            name, equals, value = pair.partition("=")
            name, value = unquote(name).strip().lower(), unquote(value).strip()
            if not pair.strip():
                continue
            named = name.replace("-", "").replace("_", "").isalnum() and name.isascii()
            if not (equals and named and value.isprintable()):
                # The value isn't said: it is a secret more often than not. And what
                # isn't called as a header may be a value whose name was forgotten.
                which = f" {name!r}" if equals and named else ""
                raise ConfigurationError(
                    f"{self.variable}: a header{which}: must be name=value, "
                    "separated by commas, values percent-encoded"
                )
            headers[name] = value
        return headers

    def timeout(self) -> float:
        text = self.get("TIMEOUT")
        if not text:
            return 10.0
        try:
            value = float(text)
        except ValueError:
            value = 0.0
        if not 0 < value < float("inf"):
            raise ConfigurationError(
                f"{self.variable}={text!r}: must be a number above 0"
            )
        return value if value < _SECONDS_BELOW else value / 1000

    def compression(self) -> Compression:
        text = self.get("COMPRESSION").lower()
        if text in ("", "none"):
            return "none"
        if text == "gzip":
            return "gzip"
        raise ConfigurationError(f"{self.variable}={text!r}: must be gzip or none")

    def path(self, name: str) -> Path | None:
        text = self.get(name)
        if not text:
            return None
        path = Path(text)
        if not path.is_file():
            raise ConfigurationError(f"{self.variable}={text!r}: no such file")
        return path


def _check_url(url: str, signal: Signal) -> None:
    parts = urlsplit(url)
    try:
        valid = parts.scheme in ("http", "https") and bool(parts.hostname)
        _ = parts.port
    except ValueError:
        valid = False
    if not valid:
        shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        raise ConfigurationError(
            f"endpoint of {signal} {shown!r}: must be like http://host:4318"
        )
