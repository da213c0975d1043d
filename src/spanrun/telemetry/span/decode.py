"""`spans_of`: the spans of a `Batch`, for those that don't take them as bytes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import (
    Link,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceState,
)

from spanrun.telemetry.span.view import bounded, bounded_list

if TYPE_CHECKING:
    from spanrun._core import Batch

_IS_REMOTE: Final = 0x200  # of ``SpanFlags`` in OTLP


def spans_of(batch: Batch) -> list[ReadableSpan]:
    """Return the spans of ``batch`` as instances of the SDK's class, in order.

    The trace flags of their contexts are 0: OTLP as the SDK writes it has none.
    """
    from opentelemetry.proto.trace.v1.trace_pb2 import (  # noqa: PLC0415 -- 10 ms
        ScopeSpans,
    )

    owner = batch.scope.owner
    return [_span(span, owner) for span in ScopeSpans.FromString(batch.data).spans]


def _span(span: Any, owner: Any) -> ReadableSpan:
    context = _context(span, is_remote=False)
    parent = None
    if span.parent_span_id:
        parent = SpanContext(
            context.trace_id,
            int.from_bytes(span.parent_span_id),
            is_remote=bool(span.flags & _IS_REMOTE),
            trace_state=context.trace_state,
        )
    return ReadableSpan(
        name=span.name,
        context=context,
        parent=parent,
        resource=owner.resource,
        attributes=_bounded(span),
        events=bounded_list(
            [
                Event(event.name, _bounded(event), event.time_unix_nano)
                for event in span.events
            ],
            span.dropped_events_count,
        ),
        links=bounded_list(
            [
                Link(
                    _context(link, is_remote=bool(link.flags & _IS_REMOTE)),
                    _bounded(link),
                )
                for link in span.links
            ],
            span.dropped_links_count,
        ),
        kind=SpanKind(max(0, span.kind - 1)),
        status=Status(StatusCode(span.status.code), span.status.message or None),
        start_time=span.start_time_unix_nano,
        end_time=span.end_time_unix_nano,
        instrumentation_scope=owner.instrumentation,
    )


def _context(has_ids: Any, *, is_remote: bool) -> SpanContext:
    return SpanContext(
        int.from_bytes(has_ids.trace_id),
        int.from_bytes(has_ids.span_id),
        is_remote=is_remote,
        trace_state=TraceState.from_header([has_ids.trace_state]),
    )


def _bounded(has_attributes: Any) -> Any:
    plain = _plain(has_attributes.attributes)
    return bounded(plain, has_attributes.dropped_attributes_count)


def _plain(pairs: Iterable[Any]) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return tuple(map(_value, value.array_value.values))
    if kind == "kvlist_value":
        return _plain(value.kvlist_value.values)
    return None if kind is None else getattr(value, kind)
