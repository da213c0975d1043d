"""`exporters`: what sends each signal over OTLP, as the settings want it."""

from __future__ import annotations

from collections.abc import Mapping

from spanrun.settings import Settings
from spanrun.telemetry.export.destination import Destination, destination
from spanrun.telemetry.export.outcome import Exporter
from spanrun.telemetry.signals import SIGNALS, Signal


def exporter(where: Destination) -> Exporter:
    """An exporter for ``where``. Nothing is connected yet.

    Raises:
        ConfigurationError: If a certificate, a key or a proxy can't be used.
    """
    if where.protocol == "grpc":
        from spanrun.telemetry.export.grpc import GrpcExporter  # noqa: PLC0415 -- 50 ms

        return GrpcExporter(where)
    from spanrun.telemetry.export.http import HttpExporter  # noqa: PLC0415 -- 20 ms, of TLS

    return HttpExporter(where)


def exporters(settings: Settings, environ: Mapping[str, str]) -> dict[Signal, Exporter]:
    """An exporter for each signal that ``settings`` want to leave over OTLP.

    Raises:
        ConfigurationError: With the variable and its value, but no secret.
    """
    return {
        signal: exporter(destination(signal, settings.signal(signal), environ))
        for signal in SIGNALS
        if settings.signal(signal).exporter == "otlp"
    }
