"""The parts of OTLP that few spans have, or that there is one of in a request.

Written after ``opentelemetry/proto/trace/v1/trace.proto``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import Any, Final

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status

from spanrun.telemetry.span.plain import Plain, cleaned, text_of
from spanrun.telemetry.span.wire import key_values, sized, text, varint
from spanrun.telemetry.spans.origin import Limits, Origin
from spanrun.telemetry.spans.recorded import (
    NOTHING_RARE,
    Happened,
    Recorded,
    event_attributes,
    link_attributes,
)

_fixed64: Final = struct.Struct("<Q").pack
_fixed32: Final = struct.Struct("<I").pack

_HAS_IS_REMOTE: Final = 0x100  # SpanFlags
_IS_REMOTE: Final = 0x200
_LOCAL: Final = _fixed32(_HAS_IS_REMOTE)
_REMOTE: Final = _fixed32(_HAS_IS_REMOTE | _IS_REMOTE)
_MAX_TIME: Final = (1 << 64) - 1
_MAX_COUNT: Final = (1 << 32) - 1


def any_span(span: Recorded, attributes: Mapping[str, Plain], dropped: int) -> bytes:
    """The content of a ``Span``, whatever is in it."""
    above = span.above
    parent = id_bytes(above.span_id, 8) if isinstance(above, SpanContext) else above
    parts = (
        sized(b"\x0a", span.trace),
        sized(b"\x12", span.own),
        b"" if parent is None else sized(b"\x22", parent),
        text(b"\x2a", text_of(span.span_name)),
        b"\x39" + _fixed64(_nanoseconds(span.start_ns)),
        b"\x41" + _fixed64(_nanoseconds(span.end_ns)),
        *key_values(b"\x4a", attributes),
        *(link(each, span.origin.limits) for each in span.kept_links()[0]),
        kind(span.span_kind),
        rest(span, dropped),
    )
    return b"".join(parts)


def kind(value: Any) -> bytes:
    """``Span.kind``, where the API counts from 0 and OTLP from 1."""
    return bytes((0x30, value.value + 1)) if isinstance(value, SpanKind) else b""


def link(to: Link, limits: Limits) -> bytes:
    """An element of ``Span.links``; without tracestate, as the stock encoder's."""
    context = to.context
    attributes, dropped = link_attributes(to, limits)
    body = (
        sized(b"\x0a", id_bytes(context.trace_id, 16)),
        sized(b"\x12", id_bytes(context.span_id, 8)),
        *key_values(b"\x22", attributes),
        _count(0x28, dropped),
        b"\x35" + (_REMOTE if context.is_remote else _LOCAL),
    )
    return sized(b"\x6a", b"".join(body))


def rest(span: Recorded, dropped: int) -> bytes:
    """Flags and status of a span, and what few spans have."""
    rare, limits, above = span.rare or NOTHING_RARE, span.origin.limits, span.above
    remote = isinstance(above, SpanContext) and above.is_remote
    state = span.inherited[1]
    parts = (
        text(b"\x1a", text_of(state.to_header())) if state else b"",
        b"\x85\x01" + (_REMOTE if remote else _LOCAL),
        *(_event(happened, limits) for happened in tuple(rare.events)),
        _count(0x50, dropped),
        _count(0x60, rare.dropped_events),
        _count(0x70, span.kept_links()[1]),
        _status(rare.status),
    )
    return b"".join(parts)


def _event(happened: Happened, limits: Limits) -> bytes:
    attributes, dropped = event_attributes(happened, limits)
    body = (
        b"\x09" + _fixed64(_nanoseconds(happened.timestamp)),
        text(b"\x12", text_of(happened.name)),
        *key_values(b"\x1a", attributes),
        _count(0x20, dropped),
    )
    return sized(b"\x5a", b"".join(body))


def _status(given: Status) -> bytes:
    """``Span.status``, which is there even when nobody has set it."""
    code = given.status_code.value
    said = text(b"\x12", text_of(given.description or ""))
    return sized(b"\x7a", said + (bytes((0x18, code)) if code else b""))


def _count(tag: int, number: int) -> bytes:
    return bytes((tag,)) + varint(min(number, _MAX_COUNT)) if number else b""


def id_bytes(number: Any, size: int) -> bytes:
    """A trace or span id; zeros when it is none."""
    whole = number if isinstance(number, int) else 0
    return (whole & ((1 << 8 * size) - 1)).to_bytes(size, "big")


def _nanoseconds(time: Any) -> int:
    """A time that fits into 64 bits; 0 when it is none. Libraries pass floats."""
    try:
        return max(0, min(int(time), _MAX_TIME))
    except (TypeError, ValueError, OverflowError):
        return 0


def request(groups: Iterable[tuple[ReadableSpan, list[bytes]]]) -> bytes:
    """An ``ExportTraceServiceRequest``: by resource, by scope, in order.

    Args:
        groups: Encoded spans, behind one that tells their resource and scope.
    """
    resources: dict[Resource, dict[InstrumentationScope | None, list[bytes]]] = {}
    for one, spans in groups:
        scopes = resources.setdefault(one.resource, {})
        scopes.setdefault(one.instrumentation_scope, []).extend(spans)
    return b"".join(
        sized(b"\x0a", _resource_spans(resource, scopes))
        for resource, scopes in resources.items()
    )


def request_of(origin: Origin, fields: bytes) -> bytes:
    """The same of encoded spans from one origin: they are many, and copied once."""
    ahead, behind = _around_spans(origin.scope)
    first, last = _around_scopes(origin.resource)
    inner = len(ahead) + len(fields) + len(behind)
    scope = b"\x12" + varint(inner)
    outer = len(first) + len(scope) + inner + len(last)
    return b"".join((b"\x0a", varint(outer), first, scope, ahead, fields, behind, last))


def _resource_spans(
    resource: Resource, scopes: Mapping[InstrumentationScope | None, list[bytes]]
) -> bytes:
    ahead, behind = _around_scopes(resource)
    told = (
        sized(b"\x12", _scope_spans(scope, spans)) for scope, spans in scopes.items()
    )
    return b"".join((ahead, *told, behind))


def _scope_spans(scope: InstrumentationScope | None, spans: list[bytes]) -> bytes:
    ahead, behind = _around_spans(scope)
    return b"".join((ahead, *spans, behind))


def _around_scopes(resource: Resource) -> tuple[bytes, bytes]:
    """What stands in ``ResourceSpans`` ahead of the scopes, and behind them."""
    attributes, _ = cleaned(resource.attributes)
    about = b"".join(key_values(b"\x0a", attributes))
    return sized(b"\x0a", about), text(b"\x1a", text_of(resource.schema_url or ""))


def _around_spans(scope: InstrumentationScope | None) -> tuple[bytes, bytes]:
    """What stands in ``ScopeSpans`` ahead of the spans, and behind them."""
    if scope is None:
        return b"\x0a\x00", b""
    attributes, _ = cleaned(scope.attributes or {})
    about = (
        text(b"\x0a", text_of(scope.name)),
        text(b"\x12", text_of(scope.version or "")),
        *key_values(b"\x1a", attributes),
    )
    schema = text(b"\x1a", text_of(scope.schema_url or ""))
    return sized(b"\x0a", b"".join(about)), schema
