"""The telemetry of a traced job, by OpenTelemetry's own SDK and exporters."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

from opentelemetry import metrics, trace
from opentelemetry.trace import Span, SpanKind

PHASES = ("queue", "limit", "rate_limit", "backoff", "busy", "loop_lag", "service")


class Stock:
    """The spans and metrics that spanrun makes of a job, through the API.

    `set_up` must have been called.
    """

    def __init__(self) -> None:
        self._tracer = trace.get_tracer("bench")
        meter = metrics.get_meter("bench")
        self._jobs = meter.create_counter("spanrun.jobs")
        self._duration = meter.create_histogram("spanrun.job.duration", "s")
        self._phases = meter.create_counter("spanrun.job.phase.time", "s")
        self._calls = meter.create_histogram("http.client.request.duration", "s")

    @contextmanager
    def job(self, index: int, submitted: float) -> Generator[None]:
        started = time.perf_counter()
        with self._tracer.start_as_current_span("job bench") as span:
            yield
            ended = time.perf_counter()
            parts = dict.fromkeys(PHASES, 0.0)
            parts["limit"], parts["service"] = started - submitted, ended - started
            span.set_attributes(
                {
                    "spanrun.runner.name": "bench",
                    "spanrun.job.index": index,
                    "spanrun.job.outcome": "ok",
                    "spanrun.job.attempts": 1,
                    **{f"spanrun.job.time.{key}": part for key, part in parts.items()},
                }
            )
            labels = {"spanrun.runner.name": "bench", "spanrun.job.outcome": "ok"}
            self._jobs.add(1, labels)
            self._duration.record(ended - submitted, labels)
            for key, part in parts.items():
                if part:
                    self._phases.add(
                        part, {"spanrun.runner.name": "bench", "spanrun.job.phase": key}
                    )

    @contextmanager
    def attempt(self) -> Generator[None]:
        with self._tracer.start_as_current_span(
            "attempt bench",
            attributes={"spanrun.runner.name": "bench", "spanrun.attempt.number": 1},
        ):
            yield

    @contextmanager
    def call(self, attributes: Mapping[str, Any]) -> Generator[Span]:
        started = time.perf_counter()
        with self._tracer.start_as_current_span(
            "POST", kind=SpanKind.CLIENT, attributes=attributes
        ) as span:
            yield span
        self._calls.record(time.perf_counter() - started, attributes)


def set_up(endpoint: str) -> None:
    """The SDK's providers, with a queue that no span overflows."""
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import (  # noqa: PLC0415
        OTLPMetricExporter,
    )
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
        OTLPSpanExporter,
    )
    from opentelemetry.sdk.metrics import MeterProvider  # noqa: PLC0415
    from opentelemetry.sdk.metrics.export import (  # noqa: PLC0415
        PeriodicExportingMetricReader,
    )
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    tracers = TracerProvider()
    tracers.add_span_processor(
        BatchSpanProcessor(
            OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces"),
            max_queue_size=1 << 20,
        )
    )
    trace.set_tracer_provider(tracers)
    exporter = OTLPMetricExporter(endpoint=f"{endpoint}/v1/metrics")
    metrics.set_meter_provider(MeterProvider([PeriodicExportingMetricReader(exporter)]))


def flush() -> None:
    """Send what there is by now."""
    for provider in (trace.get_tracer_provider(), metrics.get_meter_provider()):
        provider.force_flush()  # type: ignore[attr-defined] -- the SDK's have it


def shut_down() -> None:
    """Send what is left."""
    for provider in (trace.get_tracer_provider(), metrics.get_meter_provider()):
        provider.shutdown()  # type: ignore[attr-defined] -- the SDK's have it
