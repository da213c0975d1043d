"""`request_of`: encoded spans of one scope as an OTLP request.

Written after ``opentelemetry/proto/trace/v1/trace.proto``. Several requests put
together are a request again.
"""

from __future__ import annotations

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from spanrun.telemetry.span.plain import cleaned, text_of
from spanrun.telemetry.span.wire import key_values, sized, text, varint


def request_of(
    resource: Resource, scope: InstrumentationScope | None, spans: bytes
) -> bytes:
    """Return an ``ExportTraceServiceRequest``. The spans are many, and copied once.

    With log records in place of spans it is an ``ExportLogsServiceRequest``: all around
    them has the same numbers.

    Args:
        resource: The process that they come from.
        scope: The library that they come from.
        spans: Each as a field ``spans`` of ``ScopeSpans``.
    """
    ahead, behind = _around_spans(scope)
    first, last = _around_scopes(resource)
    inner = len(ahead) + len(spans) + len(behind)
    head = b"\x12" + varint(inner)
    outer = len(first) + len(head) + inner + len(last)
    return b"".join((b"\x0a", varint(outer), first, head, ahead, spans, behind, last))


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
