"""`OtlpVariables`: what ``OTEL_EXPORTER_OTLP_*`` say of one signal, checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal, TypeAlias
from urllib.parse import unquote

from spanrun.errors import ConfigurationError
from spanrun.telemetry.export.tls import TlsFiles, UnusableFile, client_context
from spanrun.telemetry.signals import Signal

Compression: TypeAlias = Literal["none", "gzip"]

_PREFIX: Final = "OTEL_EXPORTER_OTLP_"
_SECONDS_BELOW: Final = 1000.0
_MAX_TIMEOUT: Final = 86_400.0  # a day: what sockets can wait for ends somewhere
_HEADER: Final = re.compile("[0-9a-z_.-]+")
_PROTOBUF: Final = ("application/x-protobuf", "application/grpc")
# They say how a request is framed; another value than the exporter's breaks it.
_OUR_OWN: Final = frozenset(
    (
        *("connection", "content-encoding", "content-length", "content-type"),
        *("expect", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"),
    )
)


class OtlpVariables:
    """Reads ``OTEL_EXPORTER_OTLP_*``, a signal's own before the general ones.

    Raises:
        ConfigurationError: (each method) With the variable, but no secret.

    Attributes:
        variable: The last one that was found to have a value.
    """

    def __init__(self, signal: Signal, environ: Mapping[str, str]) -> None:
        self._signal = signal
        self._environ = environ
        self.variable = ""

    def own(self, name: str) -> str:
        """The value for this signal alone."""
        return self._read(f"{_PREFIX}{self._signal.upper()}_{name}")

    def general(self, name: str) -> str:
        """The value for all signals."""
        return self._read(_PREFIX + name)

    def get(self, name: str) -> str:
        """The value for this signal."""
        return self.own(name) or self.general(name)

    def _read(self, variable: str) -> str:
        value = self._environ.get(variable, "").strip()
        if value:
            self.variable = variable
        return value

    def headers(self, protocol: Literal["http/protobuf", "grpc"]) -> dict[str, str]:
        """The headers, names in lower case."""
        headers: dict[str, str] = {}
        for number, pair in enumerate(self.get("HEADERS").split(","), start=1):
            if not pair.strip():
                continue
            name, equals, value = pair.partition("=")
            name, value = unquote(name).strip().lower(), unquote(value).strip()
            fault = _header_fault(name, value, protocol)
            if not equals or not _HEADER.fullmatch(name):
                fault = "must be name=value, separated by commas, and percent-encoded"
                name = f"number {number}"  # what stands there may be the secret
            if fault:
                raise ConfigurationError(f"{self.variable}: the header {name}: {fault}")
            if name != "content-type":
                headers[name] = value
        return headers

    def timeout(self) -> float:
        """Seconds for a request."""
        text = self.get("TIMEOUT")
        if not text:
            return 10.0
        try:
            value = float(text)
        except ValueError:
            value = 0.0
        seconds = value if value < _SECONDS_BELOW else value / 1000
        if not 0 < seconds <= _MAX_TIMEOUT:
            raise ConfigurationError(
                f"{self.variable}={text!r}: must be a number above 0, and a day at most"
            )
        return seconds

    def compression(self) -> Compression:
        """Of requests."""
        text = self.get("COMPRESSION").lower()
        if text in ("", "none"):
            return "none"
        if text == "gzip":
            return "gzip"
        raise ConfigurationError(f"{self.variable}={text!r}: must be gzip or none")

    def tls_files(self) -> TlsFiles:
        """The files for TLS: they are there, and can be used."""
        certificate = self._path("CERTIFICATE")
        trusts = self.variable
        key = self._path("CLIENT_KEY")
        unlocks = self.variable
        chain = self._path("CLIENT_CERTIFICATE")
        shows = self.variable
        files = TlsFiles(certificate, key, chain)
        if key is not None and chain is None:
            raise ConfigurationError(
                f"{unlocks}={str(key)!r}: is a key without its certificate: set "
                f"{unlocks.replace('CLIENT_KEY', 'CLIENT_CERTIFICATE')} as well"
            )
        if files == TlsFiles():
            return files
        try:
            client_context(files)
        except UnusableFile as fault:
            variables = {certificate: trusts, chain: shows, key: unlocks}
            variable = variables.get(fault.path, shows)
            raise ConfigurationError(
                f"{variable}={str(fault.path)!r}: {fault}"
            ) from fault
        return files

    def _path(self, name: str) -> Path | None:
        text = self.get(name)
        if not text:
            return None
        path = Path(text)
        if not path.is_file():
            raise ConfigurationError(f"{self.variable}={text!r}: no such file")
        return path


def _header_fault(name: str, value: str, protocol: str) -> str:
    if not (value.isascii() and value.isprintable()):
        return "its value must be printable ASCII"
    if name == "content-type" and value in _PROTOBUF:
        return ""  # it is what is sent anyway
    if name == "content-encoding":
        return "set OTEL_EXPORTER_OTLP_COMPRESSION=gzip instead"
    if name in _OUR_OWN:
        return "spanrun sets it itself: leave it out"
    if protocol == "grpc" and (name.startswith("grpc-") or name.endswith("-bin")):
        return "is one of gRPC's own, or binary: leave it out"
    return ""
