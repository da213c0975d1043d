"""What ``OTEL_METRICS_*`` and their like prefer, in the SDK's terms and in ours.

Sources: OpenTelemetry specification, Metrics Exporters, OTLP, "Additional
Configuration"; Metrics SDK, "ExemplarFilter".
"""

from __future__ import annotations

from opentelemetry.sdk.metrics import (
    AlwaysOffExemplarFilter,
    AlwaysOnExemplarFilter,
    Counter,
    ExemplarFilter,
    Histogram,
    ObservableCounter,
    ObservableGauge,
    ObservableUpDownCounter,
    TraceBasedExemplarFilter,
    UpDownCounter,
)
from opentelemetry.sdk.metrics.export import AggregationTemporality
from opentelemetry.sdk.metrics.view import (
    Aggregation,
    ExplicitBucketHistogramAggregation,
    ExponentialBucketHistogramAggregation,
)

from spanrun.settings import Exemplars, Histograms, Temporality

_ALL = (
    *(Counter, UpDownCounter, Histogram),
    *(ObservableCounter, ObservableUpDownCounter, ObservableGauge),
)


def temporality(preferred: Temporality) -> dict[type, AggregationTemporality]:
    """What the points of each kind of instrument count from."""
    kinds: dict[type, AggregationTemporality] = dict.fromkeys(
        _ALL, AggregationTemporality.CUMULATIVE
    )
    if preferred != "cumulative":
        kinds[Counter] = kinds[Histogram] = AggregationTemporality.DELTA
    if preferred == "delta":
        kinds[ObservableCounter] = AggregationTemporality.DELTA
    return kinds


def delta(preferred: Temporality) -> frozenset[str]:
    """The instruments of the registry whose points count from the last export."""
    return frozenset(() if preferred == "cumulative" else ("counter", "histogram"))


def aggregation(preferred: Histograms) -> dict[type, Aggregation]:
    """What becomes of histograms."""
    if is_exponential(preferred):
        return {Histogram: ExponentialBucketHistogramAggregation()}
    return {Histogram: ExplicitBucketHistogramAggregation()}


def is_exponential(preferred: Histograms) -> bool:
    """Whether histograms have exponential buckets."""
    return preferred == "base2_exponential_bucket_histogram"


def exemplar_filter(preferred: Exemplars) -> ExemplarFilter:
    """Which measurements of the SDK's instruments may become exemplars."""
    if preferred == "always_off":
        return AlwaysOffExemplarFilter()
    if preferred == "always_on":
        return AlwaysOnExemplarFilter()
    return TraceBasedExemplarFilter()
