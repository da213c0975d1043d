"""`Health`: telemetry of the telemetry, by spanrun's names and OpenTelemetry's.

All of it is read when metrics are collected, or recorded once a request: nothing
here is on the way of a span. So ``otel.sdk.span.started`` and ``.live``, which would
be, are not emitted. Nor is ``otel.sdk.exporter.operation.duration``: that counts an
export with all its retries as one, and the spool may retry for days.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from spanrun import semconv
from spanrun.semconv import Metric
from spanrun.telemetry import threads
from spanrun.telemetry.account import Account
from spanrun.telemetry.export.outcome import Outcome
from spanrun.telemetry.metrics.aggregate import Aggregator
from spanrun.telemetry.queue.queued_exporter import QueuedExporter
from spanrun.telemetry.signals import Signal
from spanrun.telemetry.span_pipe import SpanPipe

Read: TypeAlias = Callable[[], Iterable[Observation]]
Labels: TypeAlias = dict[str, str | int]

_EXPORTED: Final[dict[Signal, Metric]] = {
    "traces": semconv.METRIC_OTEL_SDK_EXPORTER_SPAN_EXPORTED,
    "metrics": semconv.METRIC_OTEL_SDK_EXPORTER_METRIC_DATA_POINT_EXPORTED,
    "logs": semconv.METRIC_OTEL_SDK_EXPORTER_LOG_EXPORTED,
}
_INFLIGHT: Final[dict[Signal, Metric]] = {
    "traces": semconv.METRIC_OTEL_SDK_EXPORTER_SPAN_INFLIGHT,
    "metrics": semconv.METRIC_OTEL_SDK_EXPORTER_METRIC_DATA_POINT_INFLIGHT,
    "logs": semconv.METRIC_OTEL_SDK_EXPORTER_LOG_INFLIGHT,
}
_ITEM: Final[dict[Signal, str]] = {
    "traces": "span",
    "metrics": "metric",
    "logs": "log",
}


class Health:
    """How delivery does, as metrics.

    Args:
        account: Has counted what became of the telemetry.
    """

    def __init__(self, account: Account) -> None:
        self._account: Final = account
        self._aggregator: Aggregator | None = None

    def requested(self, signal: Signal, seconds: float, outcome: Outcome) -> None:  # noqa: ARG002 -- a `Watch`
        """A request took so long."""
        if self._aggregator is not None:
            metric = semconv.METRIC_SPANRUN_TELEMETRY_EXPORT_DURATION
            self._aggregator.record(metric, seconds, {})

    def after_fork(self) -> None:
        """In the child: no thread of its own has failed yet."""
        threads.restarts.clear()

    def begin(
        self,
        meter: Meter,
        aggregator: Aggregator,
        spans: SpanPipe | None,
        spooled: QueuedExporter | None,
    ) -> None:
        """Report from now on.

        Args:
            meter: Makes the instruments that are read at each collection.
            aggregator: Takes the times of requests.
            spans: The queue of spans, if they leave.
            spooled: Delivers, if anything leaves over OTLP.
        """
        self._aggregator = aggregator
        observable(meter, semconv.METRIC_SPANRUN_TELEMETRY_THREAD_RESTARTS, _restarts)
        if spans is not None:
            self._observe_queue(meter, spans)
        if spooled is not None:
            self._observe_spool(meter, spooled)

    def _observe_queue(self, meter: Meter, spans: SpanPipe) -> None:
        labels = _component("batching_span_processor")
        observable(
            meter,
            semconv.METRIC_OTEL_SDK_PROCESSOR_SPAN_QUEUE_SIZE,
            lambda: [Observation(spans.waiting, labels)],
        )
        observable(
            meter,
            semconv.METRIC_OTEL_SDK_PROCESSOR_SPAN_PROCESSED,
            lambda: [
                Observation(count, _failed(labels, reason))
                for reason, count in self._account.processed.copy().items()
            ],
        )

    def _observe_spool(self, meter: Meter, spooled: QueuedExporter) -> None:
        observable(
            meter,
            semconv.METRIC_SPANRUN_TELEMETRY_SPOOL_SIZE,
            lambda: [Observation(spooled.status().bytes_on_disk)],
        )
        for signal, label in spooled.destinations().items():
            labels = _exporter(signal, label.protocol, label.url)
            observable(meter, _EXPORTED[signal], self._exported(signal, labels))
            observable(meter, _INFLIGHT[signal], _inflight(spooled, signal, labels))

    def _exported(self, signal: Signal, labels: Labels) -> Read:
        def read() -> Iterator[Observation]:
            for whose, result, reason, count in self._account.results():
                if whose == signal and result in ("delivered", "dropped"):
                    failed = "" if result == "delivered" else reason
                    yield Observation(count, _failed(labels, failed))

        return read


def _restarts() -> Iterator[Observation]:
    for name, count in threads.restarts.copy().items():
        yield Observation(count, {semconv.THREAD_NAME: name})


def _inflight(spooled: QueuedExporter, signal: Signal, labels: Labels) -> Read:
    def read() -> Iterator[Observation]:
        known = spooled.status().signals[signal]
        yield Observation(known.in_memory + known.on_disk, labels)

    return read


def observable(meter: Meter, metric: Metric, read: Read) -> None:
    """Have ``metric`` read by ``read`` when metrics are collected."""

    def observe(_: CallbackOptions) -> Iterable[Observation]:
        return read()

    make: Any = meter.create_observable_up_down_counter
    if metric.instrument == "counter":
        make = meter.create_observable_counter
    make(metric.name, [observe], metric.unit, metric.description)


def _component(kind: str) -> Labels:
    return {
        semconv.OTEL_COMPONENT_NAME: f"{kind}/0",
        semconv.OTEL_COMPONENT_TYPE: kind,
    }


def _exporter(signal: Signal, protocol: str, url: str) -> Labels:
    spoken = "grpc" if protocol == "grpc" else "http"
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return {
        **_component(f"otlp_{spoken}_{_ITEM[signal]}_exporter"),
        semconv.SERVER_ADDRESS: parts.hostname or "",
        semconv.SERVER_PORT: port,
    }


def _failed(labels: Labels, reason: str) -> Labels:
    return {**labels, semconv.ERROR_TYPE: reason} if reason else labels
