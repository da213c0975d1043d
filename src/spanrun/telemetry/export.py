"""The pipeline of our own providers: span processor, metric reader, exporters."""

from __future__ import annotations

import threading
import time
from typing import Any, Final, Protocol

from opentelemetry.sdk.metrics.export import (
    ConsoleMetricExporter,
    MetricExporter,
    MetricExportResult,
    MetricReader,
    MetricsData,
)
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import (
    ConsoleSpanExporter,
    SpanExporter,
    SpanExportResult,
)

from spanrun.errors import SpanrunError
from spanrun.semconv import SpanrunTelemetryReason, SpanrunTelemetrySignal
from spanrun.settings import SignalSettings
from spanrun.telemetry.account import Account
from spanrun.telemetry.aggregate import Aggregator
from spanrun.telemetry.outbox import Outbox, remaining

_MAX_SNAPSHOTS: Final = 256


class UndeliveredError(SpanrunError):
    """The exporter gave up on a batch. It has logged why."""


class Pipe(Protocol):
    """A part of the pipeline that can be emptied and closed in bounded time."""

    def flush(self, timeout: float) -> bool:
        """Send all that is queued; whether that took less than ``timeout``."""
        ...

    def close(self, timeout: float) -> bool:
        """Send what is left and end; whether all of it was sent in time."""
        ...


class SpanPipe(SpanProcessor):
    """Sends ended spans through an exporter, in batches, on a thread of its own."""

    def __init__(self, exporter: SpanExporter, account: Account) -> None:
        self._exporter: Final = exporter
        self._account: Final = account
        self._outbox: Final = Outbox[ReadableSpan]("spans", self._send, self._lost)

    def on_end(self, span: ReadableSpan) -> None:
        """Queue an ended span, if it was sampled."""
        if span.context is not None and span.context.trace_flags.sampled:
            self._account.produce("traces")
            self._outbox.put(span)

    def flush(self, timeout: float) -> bool:
        """Send all that is queued; whether that took less than ``timeout``."""
        return self._outbox.flush(timeout)

    def close(self, timeout: float) -> bool:
        """Send what is left and end; whether all of it was sent in time."""
        return _close(self._outbox, self._exporter, timeout)

    def _send(self, spans: list[ReadableSpan]) -> None:
        if self._exporter.export(spans) is not SpanExportResult.SUCCESS:
            raise UndeliveredError
        self._account.deliver("traces", len(spans))

    def _lost(self, spans: list[ReadableSpan], reason: SpanrunTelemetryReason) -> None:
        self._account.drop("traces", reason, len(spans))


class MetricPipe(MetricReader):
    """Collects the metrics on a timer and when asked, and sends each snapshot.

    The snapshot is taken on the caller's thread, in memory, and sent from
    another. So the zero point of a runner that opens is in the past of its
    first job, though nobody waited for the network.
    """

    def __init__(
        self,
        exporter: MetricExporter,
        account: Account,
        interval: float,
        aggregator: Aggregator,
    ) -> None:
        super().__init__(
            # The exporter read its preferences from OTEL_*; the SDK's own
            # periodic reader takes them from there in the same way.
            preferred_temporality=getattr(exporter, "_preferred_temporality", None),
            preferred_aggregation=getattr(exporter, "_preferred_aggregation", None),
        )
        self._exporter: Final[Any] = exporter
        self._account: Final = account
        self._outbox: Final = Outbox[MetricsData](
            "metrics",
            self._send,
            self._lost,
            capacity=_MAX_SNAPSHOTS,
            batch=1,
            delay=0.0,
        )
        self._aggregator: Final = aggregator
        self._collecting: Final = threading.Lock()
        self._collected: MetricsData | None = None
        self._closed: Final = threading.Event()
        self._ticker: Final = threading.Thread(
            target=self._tick, args=(interval,), name="spanrun-ticker", daemon=True
        )
        self._ticker.start()

    def snapshot(self) -> None:
        """Collect now, and queue what was collected."""
        with self._collecting:
            self._collected = None
            self.collect()
            data = self._aggregator.add_to(self._collected)
        if data is not None:
            self._account.produce("metrics")
            self._outbox.put(data)

    def flush(self, timeout: float) -> bool:
        """Collect once more and send; whether that took less than ``timeout``."""
        self.snapshot()
        return self._outbox.flush(timeout)

    def close(self, timeout: float) -> bool:
        """Send what is left and end; whether all of it was sent in time."""
        deadline = time.monotonic() + timeout
        self._closed.set()
        self._ticker.join(timeout)
        self.snapshot()  # what was recorded since the last one
        return _close(self._outbox, self._exporter, remaining(deadline))

    def shutdown(self, timeout_millis: float = 30_000, **_: Any) -> None:
        """Nothing: `close` is called by who made this."""

    def _receive_metrics(
        self,
        metrics_data: MetricsData,
        timeout_millis: float = 10_000,  # noqa: ARG002 -- the SDK's signature
        **_: Any,
    ) -> None:
        self._collected = metrics_data

    def _tick(self, interval: float) -> None:
        while not self._closed.wait(interval):
            self.snapshot()

    def _send(self, snapshots: list[MetricsData]) -> None:
        for snapshot in snapshots:
            if self._exporter.export(snapshot) is not MetricExportResult.SUCCESS:
                raise UndeliveredError
            self._account.deliver("metrics", 1)

    def _lost(
        self, snapshots: list[MetricsData], reason: SpanrunTelemetryReason
    ) -> None:
        self._account.drop("metrics", reason, len(snapshots))


def _close(outbox: Outbox[Any], exporter: Any, timeout: float) -> bool:
    done = outbox.close(timeout)
    if done:
        exporter.shutdown()
    else:
        # It is inside a request to a dead collector: end that from aside, so
        # that nobody waits for it.
        threading.Thread(target=exporter.shutdown, daemon=True).start()
    return done


def span_exporter(settings: SignalSettings) -> SpanExporter:
    """The exporter of spans that ``settings`` ask for. Reads ``OTEL_*`` itself."""
    if settings.exporter == "console":
        return ConsoleSpanExporter()
    if settings.protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (  # noqa: PLC0415
            OTLPSpanExporter as GrpcSpanExporter,
        )

        return GrpcSpanExporter(endpoint=settings.endpoint)
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
        OTLPSpanExporter,
    )

    return OTLPSpanExporter(endpoint=_path(settings.endpoint, "traces"))


def metric_exporter(settings: SignalSettings) -> MetricExporter:
    """The exporter of metrics that ``settings`` ask for. Reads ``OTEL_*`` itself."""
    if settings.exporter == "console":
        return ConsoleMetricExporter()
    if settings.protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import (  # noqa: PLC0415
            OTLPMetricExporter as GrpcMetricExporter,
        )

        return GrpcMetricExporter(endpoint=settings.endpoint)
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import (  # noqa: PLC0415
        OTLPMetricExporter,
    )

    return OTLPMetricExporter(endpoint=_path(settings.endpoint, "metrics"))


def _path(endpoint: str | None, signal: SpanrunTelemetrySignal) -> str | None:
    return None if endpoint is None else f"{endpoint.rstrip('/')}/v1/{signal}"
