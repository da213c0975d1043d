"""The providers that the application has set, or named in OpenTelemetry's variables.

Those of ``OTEL_PYTHON_TRACER_PROVIDER`` and ``OTEL_PYTHON_METER_PROVIDER`` are made
when they are first asked for, and that may fail.
"""

from __future__ import annotations

from typing import Final

from opentelemetry import metrics as otel_metrics
from opentelemetry import trace as otel_trace
from opentelemetry.metrics import MeterProvider, NoOpMeterProvider
from opentelemetry.trace import ProxyTracerProvider, TracerProvider

from spanrun.telemetry.log import Log
from spanrun.telemetry.redact import text_of

_log: Final = Log(__name__)
_failed: Final[set[str]] = set()
"""What isn't asked for again: it takes milliseconds, and OpenTelemetry logs it."""


def tracers() -> TracerProvider:
    """That of the traces; a proxy where there is none."""
    if _has_failed("traces", getattr(otel_trace, "_TRACER_PROVIDER", None)):
        return ProxyTracerProvider()
    try:
        return otel_trace.get_tracer_provider()
    except Exception as error:  # noqa: BLE001 -- it is said: telemetry ends no program
        _complain("traces", error)
        return ProxyTracerProvider()


def meters() -> MeterProvider:
    """That of the metrics; one that does nothing where there is none."""
    found = getattr(getattr(otel_metrics, "_internal", None), "_METER_PROVIDER", None)
    if _has_failed("metrics", found):
        return NoOpMeterProvider()
    try:
        return otel_metrics.get_meter_provider()
    except Exception as error:  # noqa: BLE001 -- the same
        _complain("metrics", error)
        return NoOpMeterProvider()


def _has_failed(signal: str, found: object) -> bool:
    """Whether it failed before, and nobody has set one since."""
    return found is None and signal in _failed


def _complain(signal: str, error: Exception) -> None:
    _failed.add(signal)
    _log.warning(
        "spanrun: the provider of %s that a variable names can't be made, %s: %s; the "
        "program goes on without it",
        signal,
        type(error).__name__,
        text_of(error),
    )
