"""Build our own providers and exporters from the settings."""

from __future__ import annotations

import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from opentelemetry import metrics as otel_metrics
from opentelemetry import trace as otel_trace
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, MetricExporter
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

from spanrun import semconv
from spanrun.settings import Settings
from spanrun.telemetry.account import Account
from spanrun.telemetry.aggregate import Aggregator
from spanrun.telemetry.export import (
    MetricPipe,
    Pipe,
    SpanPipe,
    metric_exporter,
    span_exporter,
)
from spanrun.telemetry.local import LocalStore
from spanrun.telemetry.recorder import OtelRecorder


@dataclass(frozen=True, slots=True)
class Pipeline:
    """What `build` made. The pipes are to be closed in their order."""

    recorder: OtelRecorder
    pipes: tuple[Pipe, ...]
    store: LocalStore | None


def build(settings: Settings, account: Account) -> Pipeline:
    """Make providers and exporters, and set them as OTel's if there are none.

    Providers that the application has set are used and never replaced; spans
    and metrics then leave by its pipeline.
    """
    store = LocalStore(settings.store) if settings.store is not None else None
    pipes: list[Pipe] = [] if store is None else [store]
    foreign = otel_trace.get_tracer_provider()
    if not isinstance(foreign, otel_trace.ProxyTracerProvider | OurTracerProvider):
        made = OtelRecorder(foreign, otel_metrics.get_meter_provider(), account=account)
        return Pipeline(made, tuple(pipes), store)

    resource = _resource(settings.service_name)
    tracers = OurTracerProvider(resource=resource, shutdown_on_exit=False)
    if store is not None:
        tracers.add_span_processor(store)
    if settings.traces.exporter != "none":
        spans = SpanPipe(span_exporter(settings.traces), account)
        tracers.add_span_processor(spans)
        pipes.append(spans)
    readers: list[MetricPipe] = []
    if settings.metrics.exporter != "none":
        exporter = metric_exporter(settings.metrics)
        aggregator = _aggregator(resource, exporter)
        interval = settings.metric_interval
        readers.append(MetricPipe(exporter, account, interval, aggregator))
    else:
        aggregator = Aggregator(resource)
    meters = MeterProvider(readers, resource=resource, shutdown_on_exit=False)
    if isinstance(foreign, otel_trace.ProxyTracerProvider):
        otel_trace.set_tracer_provider(tracers)
        otel_metrics.set_meter_provider(meters)

    def snapshot() -> None:
        for reader in readers:
            reader.snapshot()

    made = OtelRecorder(
        tracers, meters, account=account, snapshot=snapshot, aggregator=aggregator
    )
    # The metrics come last, as they count what became of the spans.
    return Pipeline(made, (*pipes, *readers), store)


class OurTracerProvider(TracerProvider):
    """The SDK's, known as made here: see `setup.recorder`."""

    of_spanrun = True


def _aggregator(resource: Resource, exporter: MetricExporter) -> Aggregator:
    """As the exporter prefers it, which has read ``OTEL_EXPORTER_OTLP_METRICS_*``."""
    preferred = cast("Any", exporter)
    delta = AggregationTemporality.DELTA
    kinds = {"counter": Counter, "histogram": Histogram}
    temporality: dict[Any, Any] = preferred._preferred_temporality or {}  # noqa: SLF001
    aggregation: dict[Any, Any] = preferred._preferred_aggregation or {}  # noqa: SLF001
    return Aggregator(
        resource,
        delta=frozenset(
            name for name, kind in kinds.items() if temporality.get(kind) is delta
        ),
        exponential=isinstance(
            aggregation.get(Histogram), ExponentialBucketHistogramAggregation
        ),
    )


def _resource(service_name: str) -> Resource:
    given = Resource.create()
    attributes = {semconv.SERVICE_INSTANCE_ID: str(uuid.uuid4()), **given.attributes}
    name = str(given.attributes.get(semconv.SERVICE_NAME, ""))
    if service_name:
        attributes[semconv.SERVICE_NAME] = service_name
    elif not name or name.startswith("unknown_service"):
        attributes[semconv.SERVICE_NAME] = Path(sys.argv[0]).stem or "python"
    return Resource(attributes, given.schema_url)
