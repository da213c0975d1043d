"""`spans_of`: the spans of a `Batch`, for those that don't take them as bytes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import (
    Link,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
)

if TYPE_CHECKING:
    from spanrun._core import Batch


def spans_of(batch: Batch) -> list[ReadableSpan]:
    """Return the spans of ``batch`` as instances of the SDK's class, in order."""
    from opentelemetry.proto.trace.v1.trace_pb2 import (  # noqa: PLC0415 -- 10 ms
        ScopeSpans,
    )

    owner = batch.scope.owner
    return [_span(span, owner) for span in ScopeSpans.FromString(batch.data).spans]


def _span(span: Any, owner: Any) -> ReadableSpan:
    context = _context(span)
    parent = None
    if span.parent_span_id:
        parent = SpanContext(
            context.trace_id,
            int.from_bytes(span.parent_span_id),
            bool(span.flags & 0x200),
            context.trace_flags,
            context.trace_state,
        )
    return ReadableSpan(
        name=span.name,
        context=context,
        parent=parent,
        resource=owner.resource,
        attributes=_attributes(span.attributes),
        events=[
            Event(event.name, _attributes(event.attributes), event.time_unix_nano)
            for event in span.events
        ],
        links=[
            Link(_context(link), _attributes(link.attributes)) for link in span.links
        ],
        kind=SpanKind(max(0, span.kind - 1)),
        status=Status(StatusCode(span.status.code), span.status.message or None),
        start_time=span.start_time_unix_nano,
        end_time=span.end_time_unix_nano,
        instrumentation_scope=owner.instrumentation,
    )


def _context(span: Any) -> SpanContext:
    return SpanContext(
        int.from_bytes(span.trace_id),
        int.from_bytes(span.span_id),
        is_remote=False,
        trace_flags=TraceFlags(span.flags & 0xFF),
        trace_state=TraceState.from_header([span.trace_state]),
    )


def _attributes(pairs: Iterable[Any]) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return tuple(map(_value, value.array_value.values))
    if kind == "kvlist_value":
        return _attributes(value.kvlist_value.values)
    return None if kind is None else getattr(value, kind)
