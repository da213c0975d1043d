"""The readings of cells as the SDK's data points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from opentelemetry.sdk.metrics import Exemplar
from opentelemetry.sdk.metrics.export import (
    Buckets,
    ExponentialHistogramDataPoint,
    HistogramDataPoint,
    NumberDataPoint,
)

Labels: TypeAlias = Mapping[str, Any]
Times: TypeAlias = tuple[int, int]
"""When a series began, and when it was read, in nanoseconds since the Unix epoch."""


def of_sum(labels: Labels, times: Times, reading: tuple[Any, ...]) -> NumberDataPoint:
    """The total so far."""
    return NumberDataPoint(labels, *times, *reading)


def of_histogram(
    labels: Labels, times: Times, bounds: Sequence[float], reading: tuple[Any, ...]
) -> HistogramDataPoint:
    """The buckets so far. Also of an empty cell: that is a zero point."""
    counts, total, least, greatest, exemplars = reading
    count = sum(counts)
    return HistogramDataPoint(
        *(labels, *times, count, total, counts, bounds),
        least if count else 0.0,
        greatest if count else 0.0,
        _exemplars(exemplars),
    )


def of_exponential(
    labels: Labels, times: Times, reading: tuple[Any, ...]
) -> ExponentialHistogramDataPoint:
    """The same of exponential buckets."""
    (scale, zeros, offset), counts, total, least, greatest, exemplars = reading
    count = sum(counts) + zeros
    return ExponentialHistogramDataPoint(
        *(labels, *times, count, total, scale, zeros),
        *(Buckets(offset, counts), Buckets(0, []), 0),
        least if count else 0.0,
        greatest if count else 0.0,
        _exemplars(exemplars),
    )


def _exemplars(kept: list[tuple[float, int, int, int]]) -> list[Exemplar]:
    return [
        Exemplar({}, value, when, span_id, trace_id)
        for value, when, trace_id, span_id in kept
    ]
