"""A span as OTLP: the content of a message ``Span``.

Written after https://protobuf.dev/programming-guides/encoding/ and
``opentelemetry/proto/trace/v1/trace.proto``. Everything in a span is plain by now (see
`values`), so nothing here can fail. Tests hold it against the stock encoder.
"""

from __future__ import annotations

import struct
from typing import Final, TypeVar

from opentelemetry.trace import SpanContext, TraceState

from spanrun.telemetry.span.plain import Plain, text_of
from spanrun.telemetry.span.wire import key_value, sized, text, varint

K = TypeVar("K")
V = TypeVar("V")

OF_SPAN: Final = 0x4A
OF_EVENT: Final = 0x1A
OF_LINK: Final = 0x22
"""The tags of the attributes of a span, of an event and of a link."""

_root: Final = struct.Struct(">2s16s2sQ").pack
_child: Final = struct.Struct(">2s16s2sQ2sQ").pack
_times: Final = struct.Struct("<BQBQ").pack
_fixed64: Final = struct.Struct("<Q").pack
_fixed32: Final = struct.Struct("<I").pack

_TRACE_ID: Final = b"\x0a\x10"
_SPAN_ID: Final = b"\x12\x08"
_PARENT_ID: Final = b"\x22\x08"
_START: Final = 0x39
_END: Final = 0x41
_HAS_IS_REMOTE: Final = 0x100
_IS_REMOTE: Final = 0x200
_KINDS: Final = tuple(
    # Of kinds the API counts from 0, and OTLP from 1. The last is that of no kind.
    bytes((0x30, kind)) + b"\x85\x01" + _fixed32(_HAS_IS_REMOTE)
    for kind in (1, 2, 3, 4, 5, 0)
)
_MOST: Final = 512
_MAX_KNOWN: Final = 4_096
_MAX_COUNT: Final = (1 << 32) - 1
_ID: Final = (1 << 64) - 1
_TRACE: Final = (1 << 128) - 1

_names: Final[dict[str, bytes]] = {}
_event_names: Final[dict[str, bytes]] = {}
"""Names of spans, and of events, encoded."""
_states: Final[dict[int, tuple[TraceState, bytes]]] = {}
"""Fields ``trace_state``, by the identity of the tracestates: traces share them."""


def head(
    trace_id: bytes,
    span_id: int,
    parent: int | SpanContext | None,
    start_ns: int,
    end_ns: int,
    kind: int,
    called: str,
) -> bytes:
    """Ids, times, kind, flags and name of a span.

    ``parent`` is a span id, where the parent is a span of this process.
    """
    rest = _times(_START, start_ns, _END, end_ns) + _KINDS[kind]
    named = _names.get(called) or name(called)
    if parent is None:
        return _root(_TRACE_ID, trace_id, _SPAN_ID, span_id) + rest + named
    if isinstance(parent, SpanContext):
        if parent.is_remote:
            rest = rest[:-4] + _fixed32(_HAS_IS_REMOTE | _IS_REMOTE)
        parent = parent.span_id & _ID
    ids = _child(_TRACE_ID, trace_id, _SPAN_ID, span_id, _PARENT_ID, parent)
    return ids + rest + named


def name(value: str, tag: bytes = b"\x2a", names: dict[str, bytes] = _names) -> bytes:
    """The name of a span."""
    known = names.get(value)
    if known is None:
        known = text(tag, value)
        if len(value) <= _MOST:
            remember(names, value, known)
    return known


def attribute(key: str, value: Plain) -> bytes:
    """An attribute of a span, to be appended to an encoded one."""
    return key_value(bytes((OF_SPAN,)), key, value)


def state(value: TraceState) -> bytes:
    """The tracestate of a span; nothing for an empty one."""
    known = _states.get(id(value))
    if known is None:
        # It holds the object, so that nothing else can have its id.
        known = value, text(b"\x1a", text_of(value.to_header()))
        remember(_states, id(value), known)
    return known[1]


def event(time: int, rest: bytes) -> bytes:
    """One event of a span, with what `event_rest` has encoded of it."""
    return sized(b"\x5a", b"\x09" + _fixed64(time) + rest)


def event_rest(called: str, attributes: bytes, dropped: int) -> bytes:
    """All of an event but its time; ``attributes`` are encoded, as `OF_EVENT`."""
    return name(called, b"\x12", _event_names) + attributes + _count(0x20, dropped)


def link(context: SpanContext, attributes: bytes, dropped: int) -> bytes:
    """One link of a span; without tracestate, as the stock encoder's."""
    flags = _HAS_IS_REMOTE | (_IS_REMOTE if context.is_remote else 0)
    parts = (
        sized(b"\x0a", (context.trace_id & _TRACE).to_bytes(16, "big")),
        sized(b"\x12", (context.span_id & _ID).to_bytes(8, "big")),
        attributes,
        _count(0x28, dropped),
        b"\x35" + _fixed32(flags),
    )
    return sized(b"\x6a", b"".join(parts))


def counts(attributes: int, events: int, links: int) -> bytes:
    """How many attributes, events and links of a span were dropped."""
    return _count(0x50, attributes) + _count(0x60, events) + _count(0x70, links)


NO_STATUS: Final = b"\x7a\x00"
"""The status of a span for which nobody has set one."""


def status(code: int, description: str | None) -> bytes:
    """The status of a span."""
    said = text(b"\x12", description or "")
    return sized(b"\x7a", said + bytes((0x18, code)))


def _count(tag: int, number: int) -> bytes:
    return bytes((tag,)) + varint(min(number, _MAX_COUNT)) if number else b""


def remember(known: dict[K, V], key: K, value: V) -> None:
    """Keep ``value`` in a memory, which is bounded."""
    if len(known) >= _MAX_KNOWN:
        known.clear()  # what comes often is soon back
    known[key] = value
