"""`contents`: what is in a spool's frame, for people to look at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

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


def contents(frame: Frame) -> Iterator[Item]:
    """What is in ``frame``, in order; nothing where it can't be read as OTLP."""
    try:
        if frame.signal == "traces":
            yield from _spans(ExportTraceServiceRequest.FromString(frame.payload))
        elif frame.signal == "logs":
            yield from _logs(ExportLogsServiceRequest.FromString(frame.payload))
        else:
            yield from _metrics(ExportMetricsServiceRequest.FromString(frame.payload))
    except DecodeError:
        return


def waiting_since(frame: Frame) -> float:
    """When the oldest item in ``frame`` was made, seconds since the epoch.

    0 where nothing in it says so.
    """
    ends = (item.start + item.seconds for item in contents(frame) if item.start > 0)
    return min(ends, default=0.0)


def _spans(request: Any) -> Iterator[Item]:
    for resource in request.resource_spans:
        service = _service(resource.resource)
        for scope in resource.scope_spans:
            for span in scope.spans:
                start, end = span.start_time_unix_nano, span.end_time_unix_nano
                code: int = span.status.code
                yield Item(
                    signal="traces",
                    service=service,
                    name=span.name,
                    start=start * _NS,
                    seconds=(end - start) * _NS,
                    trace_id=span.trace_id.hex(),
                    status=_STATUSES[code] if 0 <= code < len(_STATUSES) else "unset",
                )


def _metrics(request: Any) -> Iterator[Item]:
    for resource in request.resource_metrics:
        service = _service(resource.resource)
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                kind = metric.WhichOneof("data")
                points = getattr(metric, kind).data_points if kind else ()
                newest = max((point.time_unix_nano for point in points), default=0)
                yield Item(
                    signal="metrics",
                    service=service,
                    name=metric.name,
                    start=newest * _NS,
                    points=len(points),
                )


def _logs(request: Any) -> Iterator[Item]:
    for resource in request.resource_logs:
        service = _service(resource.resource)
        for scope in resource.scope_logs:
            for record in scope.log_records:
                yield Item(
                    signal="logs",
                    service=service,
                    name=record.body.string_value,
                    start=record.time_unix_nano * _NS,
                    trace_id=record.trace_id.hex(),
                )


def _service(resource: Any) -> str:
    for attribute in resource.attributes:
        if attribute.key == semconv.SERVICE_NAME:
            name: str = attribute.value.string_value
            return name
    return ""
