"""`Series`: all series of one metric, a bounded number, and their points."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, Final

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    ExponentialHistogram,
    Histogram,
    Sum,
)
from opentelemetry.sdk.metrics.export import Metric as SdkMetric

from spanrun import semconv
from spanrun.semconv import Metric
from spanrun.telemetry.log import Log
from spanrun.telemetry.metrics.cells import Cells
from spanrun.telemetry.metrics.fallback import Cell, Group
from spanrun.telemetry.metrics.points import (
    Labels,
    of_exponential,
    of_histogram,
    of_sum,
)

_log: Final = Log(__name__)

CARDINALITY_LIMIT: Final = 2_000
_OF_TELEMETRY: Final = (semconv.METRIC_SPANRUN_TELEMETRY_EXPORT_DURATION.name,)
_OVERFLOW: Final = {"otel.metric.overflow": True}


class Series:
    """All series of one metric.

    Args:
        metric: Which one.
        delta: Its points count from the last collection.
        exponential: Its buckets are exponential, if it is a histogram.
        cells: The classes of its cells.
    """

    def __init__(
        self, metric: Metric, *, delta: bool, exponential: bool, cells: Cells
    ) -> None:
        self.metric: Final = metric
        self.is_of_telemetry: Final = metric.name in _OF_TELEMETRY
        self.cells: Final[dict[tuple[tuple[str, Any], ...], Cell]] = {}
        self.overflow: Cell | None = None
        self._delta: Final = delta
        self._exponential: Final = exponential
        self._classes: Final = cells
        self._started = time.time_ns()
        self._begun: list[tuple[Labels, int]] = []

    def cell(self, labels: Labels, group: Group) -> Cell:
        """The cell of ``labels``; beyond 2,000 of them, the one that takes the rest."""
        key = tuple(sorted(labels.items()))
        cell = self.cells.get(key)
        if cell is not None:
            return cell
        if len(self.cells) < CARDINALITY_LIMIT - 1:
            return self._begin(key, dict(labels), group)
        if self.overflow is None:
            key = tuple(_OVERFLOW.items())
            self.overflow = self._begin(key, _OVERFLOW, group)
            _log.warning(
                "%s has %d series: more go into one with otel.metric.overflow",
                self.metric.name,
                CARDINALITY_LIMIT,
            )
        return self.overflow

    def _begin(
        self, key: tuple[tuple[str, Any], ...], labels: Labels, group: Group
    ) -> Cell:
        if not self._delta:  # whose points are complete without one before them
            self._begun.append((labels, time.time_ns()))
        cell = self.cells[key] = self._make(labels, group)
        return cell

    @property
    def has_begun(self) -> bool:
        """Whether there are series of which `zeros` hasn't told yet."""
        return bool(self._begun)

    def zeros(self) -> SdkMetric | None:
        """Each series that began since the last time, as it was at that moment."""
        begun, self._begun = self._begun, []
        zero = self._zero()
        points = [
            self._point(labels, (self._started, when), zero) for labels, when in begun
        ]
        return self._told(points, AggregationTemporality.CUMULATIVE) if begun else None

    def told(
        self, readings: Iterable[tuple[Labels, tuple[Any, ...]]], now: int
    ) -> SdkMetric:
        """What was read of the cells, as a metric of the SDK."""
        times = self._started, now
        temporality = AggregationTemporality.CUMULATIVE
        if self._delta:
            self._started = now
            temporality = AggregationTemporality.DELTA
        return self._told(
            [self._point(labels, times, reading) for labels, reading in readings],
            temporality,
        )

    def _told(
        self, points: list[Any], temporality: AggregationTemporality
    ) -> SdkMetric:
        metric = self.metric
        data: Any
        if metric.instrument != "histogram":
            data = Sum(points, temporality, metric.instrument == "counter")
        elif self._exponential:
            data = ExponentialHistogram(points, temporality)
        else:
            data = Histogram(points, temporality)
        return SdkMetric(metric.name, metric.description, metric.unit, data)

    def _zero(self) -> tuple[Any, ...]:
        """The reading of a cell in which nothing is."""
        if self.metric.instrument != "histogram":
            return (0,)
        if self._exponential:
            return (0, 0, 0), (), 0.0, 0.0, 0.0, []
        return (0,) * (len(self.metric.boundaries) + 1), 0.0, 0.0, 0.0, []

    def _make(self, labels: Labels, group: Group) -> Cell:
        classes = self._classes
        if self.metric.instrument != "histogram":
            return classes.Sum(labels, group, self._delta)
        if self._exponential:
            return classes.ExponentialHistogram(labels, group, self._delta)
        return classes.Histogram(labels, self.metric.boundaries, group, self._delta)

    def _point(
        self, labels: Labels, times: tuple[int, int], reading: tuple[Any, ...]
    ) -> Any:
        if self.metric.instrument != "histogram":
            return of_sum(labels, times, reading)
        if self._exponential:
            return of_exponential(labels, times, reading)
        return of_histogram(labels, times, self.metric.boundaries, reading)
