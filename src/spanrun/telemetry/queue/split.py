"""Cut an encoded request in two, for a receiver that finds it too large."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from operator import attrgetter
from typing import Any, Final

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

from spanrun.telemetry.queue.frame import Frame
from spanrun.telemetry.signals import Signal

_REQUESTS: Final[dict[Signal, Any]] = {
    "traces": ExportTraceServiceRequest,
    "metrics": ExportMetricsServiceRequest,
    "logs": ExportLogsServiceRequest,
}
_DELTA: Final = 1  # AGGREGATION_TEMPORALITY_DELTA


def halve(frame: Frame) -> tuple[Frame, Frame] | None:
    """The first half of the items in it, and the rest, each a request.

    Returns:
        None when there is one at most, or when the payload can't be read.
    """
    try:
        whole = _REQUESTS[frame.signal].FromString(frame.payload)
    except DecodeError:
        return None
    count = sum(map(len, _leaves(whole)))
    middle = count // 2
    if not middle:
        return None
    items = frame.items * middle // count
    first = _cut(frame, 0, middle)
    rest = _cut(frame, middle, count)
    return (
        replace(frame, payload=first, items=items),
        replace(frame, payload=rest, items=frame.items - items),
    )


def is_delta(frame: Frame) -> bool:
    """Whether there are metrics of delta temporality in it."""
    if frame.signal != "metrics":
        return False
    try:
        request = ExportMetricsServiceRequest.FromString(frame.payload)
    except DecodeError:
        return False
    return any(
        getattr(_data(metric), "aggregation_temporality", 0) == _DELTA
        for resource in request.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    )


def _cut(frame: Frame, start: int, end: int) -> bytes:
    """The leaves ``start`` to ``end`` with all that stands above them."""
    request = _REQUESTS[frame.signal].FromString(frame.payload)
    at = 0
    for leaves in _leaves(request):
        size = len(leaves)
        del leaves[max(0, min(size, end - at)) :]
        del leaves[: max(0, min(len(leaves), start - at))]
        at += size
    _prune(request, frame.signal)
    encoded: bytes = request.SerializeToString()
    return encoded


def _leaves(request: Any) -> Iterator[Any]:
    """The lists of spans, of log records or of data points, in order."""
    if isinstance(request, ExportTraceServiceRequest):
        for spans in request.resource_spans:
            for scope in spans.scope_spans:
                yield scope.spans
        return
    if isinstance(request, ExportLogsServiceRequest):
        for logs in request.resource_logs:
            for scope in logs.scope_logs:
                yield scope.log_records
        return
    for metrics in request.resource_metrics:
        for scope in metrics.scope_metrics:
            for metric in scope.metrics:
                yield _points(metric)


def _data(metric: Any) -> Any:
    kind = metric.WhichOneof("data")
    return None if kind is None else getattr(metric, kind)


def _points(metric: Any) -> Any:
    return getattr(_data(metric), "data_points", [])


def _prune(request: Any, signal: Signal) -> None:
    """Take off what has become empty."""
    if signal == "traces":
        resources, scopes = request.resource_spans, "scope_spans"
        for resource in resources:
            _keep(resource.scope_spans, attrgetter("spans"))
    elif signal == "logs":
        resources, scopes = request.resource_logs, "scope_logs"
        for resource in resources:
            _keep(resource.scope_logs, attrgetter("log_records"))
    else:
        resources, scopes = request.resource_metrics, "scope_metrics"
        for resource in resources:
            for scope in resource.scope_metrics:
                _keep(scope.metrics, _points)
            _keep(resource.scope_metrics, attrgetter("metrics"))
    _keep(resources, attrgetter(scopes))


def _keep(messages: Any, full: Callable[[Any], Any]) -> None:
    for place in range(len(messages) - 1, -1, -1):
        if not full(messages[place]):
            del messages[place]
