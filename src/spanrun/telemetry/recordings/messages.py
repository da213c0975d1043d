"""`span_of`: one of OTLP's messages as what a reader of recordings gives."""

from __future__ import annotations

from typing import Any, Final

from opentelemetry.trace import SpanKind, StatusCode

from spanrun.telemetry.recordings.records import Event, Link, Span
from spanrun.telemetry.span.decode import mapping

_KINDS: Final[dict[int, str]] = dict(
    enumerate(("INTERNAL", *(kind.name for kind in SpanKind)))
)
"""By their numbers in OTLP, where 0 says nothing."""
_CODES: Final[dict[int, str]] = {code.value: code.name for code in StatusCode}


def span_of(span: Any, scope: str) -> Span:
    """Of one of OTLP's messages, which have no types."""
    return Span(
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex() or None,
        span.name,
        _KINDS[span.kind],
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        _CODES[span.status.code],
        span.status.message,
        mapping(span.attributes),
        tuple(
            Event(event.name, event.time_unix_nano, mapping(event.attributes))
            for event in span.events
        ),
        tuple(
            Link(link.trace_id.hex(), link.span_id.hex(), mapping(link.attributes))
            for link in span.links
        ),
        scope,
    )
