"""`contents`: what is in a spool's frame, for people to look at, and `scopes` of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from google.protobuf.message import (  # type: ignore[import-untyped]  # no stubs
    DecodeError,
)
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
)

from spanrun import semconv
from spanrun.telemetry.queue.frame import Frame
from spanrun.telemetry.signals import Signal

Status: TypeAlias = Literal["unset", "ok", "error"]


class Shape(NamedTuple):
    """The message of a signal's requests, and its lists, the outermost first."""

    message: Any
    resources: str
    scopes: str
    items: str


SHAPES: Final[Mapping[Signal, Shape]] = {
    "traces": Shape(
        ExportTraceServiceRequest, "resource_spans", "scope_spans", "spans"
    ),
    "metrics": Shape(
        ExportMetricsServiceRequest, "resource_metrics", "scope_metrics", "metrics"
    ),
    "logs": Shape(
        ExportLogsServiceRequest, "resource_logs", "scope_logs", "log_records"
    ),
}
_STATUSES: Final[tuple[Status, ...]] = ("unset", "ok", "error")
_NS: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Item:
    """A span, the data points of a metric, or a log record.

    Attributes:
        signal: Which of these.
        service: Whose it is: ``service.name``.
        name: Of the span or metric; of a log record its text.
        start: When the span began, the points were taken or the record was made,
            seconds since the epoch; 0 where nothing says so.
        seconds: That the span took; 0 for others.
        trace_id: Of the span or record, in hexadecimal digits; empty for a metric.
        status: Of the span.
        points: Of the metric; 0 for others.
    """

    signal: Signal
    service: str
    name: str
    start: float
    seconds: float = 0.0
    trace_id: str = ""
    status: Status = "unset"
    points: int = 0

    @property
    def items(self) -> int:
        """How many items of telemetry that is."""
        return self.points or 1


def decoded(frame: Frame) -> Any:
    """The request in ``frame``; None where it can't be read as OTLP."""
    try:
        return SHAPES[frame.signal].message.FromString(frame.payload)
    except DecodeError:
        return None


def scopes(signal: Signal, request: Any) -> Iterator[tuple[Any, Any]]:
    """Each resource in ``request`` with the spans, metrics or records of a scope."""
    _, resources, inside, items = SHAPES[signal]
    for each in getattr(request, resources, ()):
        for scope in getattr(each, inside):
            yield each.resource, getattr(scope, items)


def contents(frame: Frame) -> Iterator[Item]:
    """What is in ``frame``, in order; nothing where it can't be read as OTLP."""
    signal = frame.signal
    for resource, found in scopes(signal, decoded(frame)):
        service = _service(resource)
        for one in found:
            yield _ITEMS[signal](service, one)


def waiting_since(frame: Frame) -> float:
    """When the oldest item in ``frame`` was made, seconds since the epoch.

    0 where nothing in it says so.
    """
    ends = (item.start + item.seconds for item in contents(frame) if item.start > 0)
    return min(ends, default=0.0)


def data_of(metric: Any) -> Any:
    """The gauge, sum or histogram of a metric; None where it has none."""
    kind = metric.WhichOneof("data")
    return None if kind is None else getattr(metric, kind)


def points_of(metric: Any) -> Any:
    """The data points of a metric."""
    return getattr(data_of(metric), "data_points", [])


def _span(service: str, span: Any) -> Item:
    start, end = span.start_time_unix_nano, span.end_time_unix_nano
    code: int = span.status.code
    return Item(
        signal="traces",
        service=service,
        name=span.name,
        start=start * _NS,
        seconds=(end - start) * _NS,
        trace_id=span.trace_id.hex(),
        status=_STATUSES[code] if 0 <= code < len(_STATUSES) else "unset",
    )


def _metric(service: str, metric: Any) -> Item:
    points = points_of(metric)
    newest = max((point.time_unix_nano for point in points), default=0)
    return Item("metrics", service, metric.name, newest * _NS, points=len(points))


def _record(service: str, record: Any) -> Item:
    made, trace_id = record.time_unix_nano * _NS, record.trace_id.hex()
    return Item("logs", service, record.body.string_value, made, trace_id=trace_id)


_ITEMS: Final[Mapping[Signal, Callable[[str, Any], Item]]] = {
    "traces": _span,
    "metrics": _metric,
    "logs": _record,
}


def _service(resource: Any) -> str:
    for attribute in resource.attributes:
        if attribute.key == semconv.SERVICE_NAME:
            name: str = attribute.value.string_value
            return name
    return ""
