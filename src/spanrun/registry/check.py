"""Hold OTLP requests against the registry, and gather what was found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
)

from spanrun import semconv
from spanrun.registry.read import (
    SCOPE,
    Problem,
    attribute_problems,
    event_problems,
    metric_problems,
    point_problems,
    span_problems,
)
from spanrun.telemetry.otlp_file import Placed

_KINDS: Final = ("", "internal", "server", "client", "producer", "consumer")
_MAX_FINDINGS: Final = 1_000


class Where(NamedTuple):
    """Where something is.

    Attributes:
        place: In the file, as ``line 3``; empty where there is one request in it.
        service: The resource's ``service.name``.
        scope: The instrumentation scope.
        item: As ``span 'job embed'``.
        ids: Of the span: trace id and span id in hexadecimal digits.
    """

    place: str
    service: str
    scope: str
    item: str
    ids: str = ""

    def __str__(self) -> str:
        service = f"service {self.service}" if self.service else ""
        return ", ".join(part for part in (self.place, service, self.ids) if part)


@dataclass(slots=True)
class Finding:
    """A problem, which is the same in ``count`` places. The first one is shown."""

    problem: Problem
    where: Where
    count: int = 1


class Findings:
    """What was found in any number of requests.

    Memory is bounded: beyond a thousand different findings, more are counted only.

    Attributes:
        spans: That were looked at.
        points: Of metrics, that were looked at.
        left_out: How often something was found for which there was no room.
    """

    def __init__(self) -> None:
        self.spans = 0
        self.points = 0
        self.left_out = 0
        self._found: dict[tuple[Problem, str, str], Finding] = {}

    def __iter__(self) -> Iterator[Finding]:
        return iter(self._found.values())

    def __len__(self) -> int:
        return len(self._found)

    def check(self, placed: Iterable[Placed]) -> None:
        """Look at all of ``placed``."""
        for place, request in placed:
            if isinstance(request, ExportTraceServiceRequest):
                self._traces(place, request)
            else:
                self._metrics(place, request)

    def _traces(self, place: str, request: ExportTraceServiceRequest) -> None:
        for resource_spans in request.resource_spans:
            service = self._resource(place, resource_spans.resource)
            for scope_spans in resource_spans.scope_spans:
                scope = scope_spans.scope.name
                for span in scope_spans.spans:
                    self.spans += 1
                    ids = f"trace {span.trace_id.hex()}, span {span.span_id.hex()}"
                    where = Where(place, service, scope, f"span {span.name!r}", ids)
                    self._add(where, _in_span(span, ours=scope == SCOPE))

    def _metrics(self, place: str, request: ExportMetricsServiceRequest) -> None:
        for resource_metrics in request.resource_metrics:
            service = self._resource(place, resource_metrics.resource)
            for scope_metrics in resource_metrics.scope_metrics:
                scope = scope_metrics.scope.name
                ours = scope == SCOPE
                for metric in scope_metrics.metrics:
                    where = Where(place, service, scope, f"metric {metric.name!r}")
                    kind, points = _kind_and_points(metric)
                    about = metric.name, kind, metric.unit
                    self._add(where, metric_problems(*about, ours=ours))
                    for point in points:
                        self.points += 1
                        labels = attributes_of(point)
                        found = point_problems(metric.name, labels, ours=ours)
                        self._add(where, found)

    def _resource(self, place: str, resource: Any) -> str:
        """Look at a resource, and return the name of its service."""
        attributes = attributes_of(resource)
        service = str(attributes.get(semconv.SERVICE_NAME, ""))
        where = Where(place, service, "", "resource")
        self._add(where, attribute_problems(attributes, ours=False))
        return service

    def _add(self, where: Where, problems: Iterable[Problem]) -> None:
        for problem in problems:
            key = problem, where.scope, where.item
            known = self._found.get(key)
            if known is not None:
                known.count += 1
            elif len(self._found) < _MAX_FINDINGS:
                self._found[key] = Finding(problem, where)
            else:
                self.left_out += 1


def attributes_of(message: Any) -> Mapping[str, Any]:
    """The attributes of a message of OTLP, as values of Python."""
    return {pair.key: _value(pair.value) for pair in message.attributes}


def _in_span(span: Any, *, ours: bool) -> Iterator[Problem]:
    number: int = span.kind
    kind = _KINDS[number] if 0 <= number < len(_KINDS) else ""
    yield from span_problems(span.name, kind, attributes_of(span), ours=ours)
    for event in span.events:
        yield from event_problems(event.name, attributes_of(event), ours=ours)


def _kind_and_points(metric: Any) -> tuple[str, Any]:
    form = metric.WhichOneof("data") or "metric without data"
    data = getattr(metric, form, None)
    points = data.data_points if data is not None else ()
    if form == "sum":
        return "counter" if metric.sum.is_monotonic else "updowncounter", points
    return "histogram" if form == "exponential_histogram" else form, points


def _value(value: Any) -> Any:
    form = value.WhichOneof("value")
    if form == "array_value":
        return [_value(each) for each in value.array_value.values]
    if form == "kvlist_value":
        return {pair.key: _value(pair.value) for pair in value.kvlist_value.values}
    return None if form is None else getattr(value, form)
