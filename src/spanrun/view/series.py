"""Received points of metrics as series: what each adds in which stretch of time.

A cumulative counter becomes its increases, and a histogram those of its buckets, each
over the time from the point before. So a counter that begins anew, a point that is
missing, and programs that send differences are all the same afterwards.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import inf
from typing import Any, Final, NamedTuple, TypeAlias

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality

from spanrun.telemetry.recordings.signals import points_of
from spanrun.telemetry.span.decode import mapping

_DELTA: Final = AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA
_NAMES: Final = {"gauge": "gauge", "sum": "counter"}
_HIGHEST: Final = 1024
Bounds: TypeAlias = tuple[float, float]


@dataclass(slots=True)
class Amount:
    """What a series has, or adds in a stretch of time.

    Attributes:
        value: Of a counter or a gauge; the sum of a histogram's observations.
        count: Of a histogram's observations.
        buckets: How many of these are above a bound and not above another one.
    """

    value: float = 0.0
    count: float = 0.0
    buckets: dict[Bounds, float] = field(default_factory=dict[Bounds, float])

    def add(self, other: Amount, part: float = 1.0) -> None:
        """Add a part of ``other``."""
        self.value += other.value * part
        self.count += other.count * part
        for bounds, count in other.buckets.items():
            self.buckets[bounds] = self.buckets.get(bounds, 0.0) + count * part

    def less(self, other: Amount) -> Amount:
        """What has come since ``other``, whose buckets may be finer."""
        buckets = dict(self.buckets)
        for bounds, count in other.buckets.items():
            into = bounds if bounds in buckets else _around(bounds, buckets)
            if into is not None:
                buckets[into] = max(0.0, buckets[into] - count)
        return Amount(self.value - other.value, self.count - other.count, buckets)


def _around(bounds: Bounds, buckets: Iterable[Bounds]) -> Bounds | None:
    low, high = bounds
    return next((each for each in buckets if each[0] <= low and high <= each[1]), None)


class Step(NamedTuple):
    """An increase from one moment to another; a value that is so at the second."""

    start: int
    end: int
    amount: Amount


@dataclass(slots=True)
class Series:
    """The points of one metric with one set of attributes."""

    name: str
    kind: str  # counter, gauge or histogram
    unit: str
    description: str
    attributes: dict[str, str]
    resource: dict[str, str]
    steps: list[Step] = field(default_factory=list[Step])
    _began: int = 0
    _last: int = 0
    _before: Amount = field(default_factory=Amount)

    def add(self, began: int, at: int, amount: Amount, *, is_delta: bool) -> None:
        """Add a point; one that isn't newer than the last one tells nothing."""
        if at <= self._last:
            return
        if self.kind == "gauge":
            if is_delta:
                amount.add(self._before)
            self.steps.append(Step(at, at, amount))
        elif is_delta:
            self.steps.append(Step(began or self._last or at, at, amount))
        elif self._last:
            same = began == self._began and not _fell(amount, self._before)
            since = amount.less(self._before) if same else amount
            self.steps.append(Step(max(began, self._last), at, since))
        elif began:  # else nobody knows in which time it came
            self.steps.append(Step(began, at, amount))
        self._began, self._last, self._before = began, at, amount


class Metrics:
    """All series of a session."""

    def __init__(self) -> None:
        self.series: Final[dict[tuple[Any, ...], Series]] = {}
        self.points = 0

    def fill(self, body: bytes) -> None:
        """Add the points of a request."""
        for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
            its = _texts(resource.resource.attributes)
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    self._add(metric, scope.scope.name, its)

    def _add(self, metric: Any, scope: str, resource: dict[str, str]) -> None:
        data = metric.WhichOneof("data")
        if data is None or data == "summary":  # no SDK makes one
            return
        its = getattr(metric, data)
        is_delta = getattr(its, "aggregation_temporality", 0) == _DELTA
        kind = _NAMES.get(data, "histogram")
        if data == "sum" and not its.is_monotonic:
            kind = "gauge"
        for point in points_of(metric):
            if point.flags & 1:  # there is no value
                continue
            attributes = _texts(point.attributes)
            # Several processes may be in a session, and count each for itself.
            whose = tuple(sorted(resource.items()))
            key = (scope, metric.name, kind, whose, *sorted(attributes.items()))
            found = self.series.get(key)
            if found is None:
                about = metric.unit, metric.description
                found = Series(metric.name, kind, *about, attributes, resource)
                self.series[key] = found
            times = point.start_time_unix_nano, point.time_unix_nano
            found.add(*times, _amount(data, point), is_delta=is_delta)
            self.points += 1


def _texts(attributes: Any) -> dict[str, str]:
    return {name: str(value) for name, value in mapping(attributes).items()}


def _fell(now: Amount, before: Amount) -> bool:
    return now.count < before.count or (not now.count and now.value < before.value)


def _amount(data: str, point: Any) -> Amount:
    if data in _NAMES:
        return Amount(float(getattr(point, point.WhichOneof("value") or "as_double")))
    if data == "histogram":
        edges = (-inf, *point.explicit_bounds, inf)
        buckets = dict(zip(pairwise(edges), point.bucket_counts, strict=False))
    else:
        buckets = dict(_exponential(point))
    filled = {bounds: float(count) for bounds, count in buckets.items() if count}
    return Amount(point.sum, float(point.count), filled)


def _exponential(point: Any) -> Iterator[tuple[Bounds, int]]:
    """The buckets of an exponential histogram, whose bounds are powers of one base."""
    for place, count in enumerate(point.positive.bucket_counts, point.positive.offset):
        yield (_bound(point, place), _bound(point, place + 1)), count
    for place, count in enumerate(point.negative.bucket_counts, point.negative.offset):
        yield (-_bound(point, place + 1), -_bound(point, place)), count
    if point.zero_count:
        yield (-point.zero_threshold, point.zero_threshold), point.zero_count


def _bound(point: Any, place: int) -> float:
    """The same number for the same bound, whatever the scale is."""
    power = place * 2.0 ** -max(-1000, point.scale)
    return 2.0**power if power < _HIGHEST else inf


class Bins:
    """Stretches of one width, into which steps are laid.

    Args:
        start: Where the first begins.
        end: Where the last ends.
        count: How many there are.
    """

    def __init__(self, start: int, end: int, count: int) -> None:
        self.start: Final = start
        self.count: Final = count
        self.width: Final = max(1, end - start) / count

    @property
    def seconds(self) -> float:
        """The width of one."""
        return self.width / 1e9

    def increases(self, steps: Sequence[Step]) -> list[Amount | None]:
        """What is added in each bin; None where nothing is known.

        A step is spread evenly over its time, so that the sum over all bins is that of
        the steps.
        """
        out: list[Amount | None] = [None] * self.count
        for start, end, amount in steps:
            low = max(0.0, (start - self.start) / self.width)
            high = min(float(self.count), (end - self.start) / self.width)
            first, last = int(low), min(self.count - 1, int(high))
            if high < 0 or first >= self.count:
                continue
            length = (end - start) / self.width
            for place in range(first, last + 1):
                part = min(place + 1, high) - max(place, low)
                share = part / length if length else 1.0
                if share > 0:
                    found = out[place] = out[place] or Amount()
                    found.add(amount, share)
        return out

    def values(self, steps: Sequence[Step]) -> list[Amount | None]:
        """The last value in each bin, or before it; None outside the steps' time."""
        out: list[Amount | None] = [None] * self.count
        # From the start on: a float has a moment of this century to 256 ns.
        ends = [step.end - self.start for step in steps]
        until = ends[-1] if ends else 0
        for place in range(self.count):
            found = bisect_right(ends, round((place + 1) * self.width))
            if found and place * self.width <= until:
                out[place] = steps[found - 1].amount
        return out


def quantile(share: float, buckets: dict[Bounds, float]) -> float | None:
    """The value that this share of observations is below, as Prometheus estimates it.

    Inside its bucket it lies where it would if all in there were evenly spread. Above
    the highest bound it is that bound; there is none without observations.
    """
    ordered = sorted(buckets.items(), key=lambda each: each[0][1])
    wanted = share * sum(count for _, count in ordered)
    if wanted <= 0:
        return None
    below = 0.0
    for (low, high), count in ordered:
        if below + count >= wanted * (1 - 1e-12):
            if high == inf:
                return low if low > -inf else None
            floor = (0.0 if high > 0 else high) if low == -inf else low
            return floor + (high - floor) * max(0.0, wanted - below) / count
        below += count
    return None
