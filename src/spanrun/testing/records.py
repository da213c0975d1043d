"""Spans and metric points as `capture` shows them: plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from opentelemetry.sdk.metrics import Exemplar
from opentelemetry.sdk.metrics.export import (
    HistogramDataPoint,
    MetricsData,
    NumberDataPoint,
)
from opentelemetry.sdk.trace import ReadableSpan


@dataclass(frozen=True, slots=True)
class CapturedEvent:
    """Something that happened during a span."""

    name: str
    attributes: Mapping[str, Any]
    at_ns: int


@dataclass(frozen=True, slots=True)
class CapturedSpan:
    """A span that has ended. ``parent_id`` is 0 for a root.

    ``links`` are pairs of trace id and span id.
    """

    name: str
    kind: str
    trace_id: int
    span_id: int
    parent_id: int
    status: Literal["UNSET", "OK", "ERROR"]
    status_text: str
    started_ns: int
    ended_ns: int
    attributes: Mapping[str, Any] = field(hash=False)
    events: tuple[CapturedEvent, ...] = field(hash=False)
    links: tuple[tuple[int, int], ...]

    @property
    def duration(self) -> float:
        """Seconds from start to end."""
        return (self.ended_ns - self.started_ns) / 1e9

    def matches(self, name: str | None, attributes: Mapping[str, Any] | None) -> bool:
        """Whether it has that name, and at least those attributes."""
        return name in (None, self.name) and _has(self.attributes, attributes)

    def is_child_of(self, other: CapturedSpan) -> bool:
        """Whether ``other`` is directly above it."""
        return (self.trace_id, self.parent_id) == (other.trace_id, other.span_id)

    def __str__(self) -> str:
        ours = ", ".join(f"{key}={value!r}" for key, value in self.attributes.items())
        return f"{self.name} · {self.duration:.6g} s · {self.status} · {ours}"


@dataclass(frozen=True, slots=True)
class Point:
    """One series of a metric: its labels, and its value so far.

    For a histogram ``value`` is the sum of what was recorded, ``count`` how
    many values those were, and ``buckets`` how they are spread.
    """

    attributes: Mapping[str, Any]
    value: float
    count: int = 0
    buckets: tuple[int, ...] = ()
    bounds: tuple[float, ...] = ()
    exemplars: tuple[Exemplar, ...] = field(default=(), compare=False)

    def matches(self, attributes: Mapping[str, Any] | None) -> bool:
        """Whether it has at least those attributes."""
        return _has(self.attributes, attributes)


def span_of(span: ReadableSpan) -> CapturedSpan:
    """The plain value of an ended span."""
    context, status = span.get_span_context(), span.status
    assert context is not None  # noqa: S101 -- the SDK's spans have one
    return CapturedSpan(
        name=span.name,
        kind=span.kind.name,
        trace_id=context.trace_id,
        span_id=context.span_id,
        parent_id=span.parent.span_id if span.parent else 0,
        status=cast("Any", status.status_code.name),
        status_text=status.description or "",
        started_ns=span.start_time or 0,
        ended_ns=span.end_time or 0,
        attributes=dict(span.attributes or {}),
        events=tuple(
            CapturedEvent(event.name, dict(event.attributes or {}), event.timestamp)
            for event in span.events
        ),
        links=tuple(
            (link.context.trace_id, link.context.span_id) for link in span.links
        ),
    )


def points_of(metrics: MetricsData | None) -> dict[str, list[Point]]:
    """The series of each metric."""
    found: dict[str, list[Point]] = {}
    for resource in metrics.resource_metrics if metrics else ():
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                series = found.setdefault(metric.name, [])
                series += [_point(cast("Any", p)) for p in metric.data.data_points]
    return found


def _point(point: HistogramDataPoint | NumberDataPoint) -> Point:
    attributes = dict(point.attributes or {})
    exemplars = tuple(point.exemplars)
    if isinstance(point, NumberDataPoint):
        return Point(attributes, point.value, exemplars=exemplars)
    return Point(
        attributes,
        point.sum,
        point.count,
        tuple(point.bucket_counts),
        tuple(point.explicit_bounds),
        exemplars,
    )


def _has(attributes: Mapping[str, Any], wanted: Mapping[str, Any] | None) -> bool:
    return all(
        key in attributes and attributes[key] == value
        for key, value in (wanted or {}).items()
    )
