"""A span as OTLP: the content of a message ``Span``.

Written after https://protobuf.dev/programming-guides/encoding/ and
``opentelemetry/proto/trace/v1/trace.proto``. Everything in a span is plain by now (see
`values`), so nothing here can fail. Tests hold it against the stock encoder.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final, TypeVar

from opentelemetry.trace import SpanContext, TraceState

from spanrun.telemetry.spans.values import Plain, text_of
from spanrun.telemetry.spans.wire import any_value, double, sized, text, varint

K = TypeVar("K")
V = TypeVar("V")

_root: Final = struct.Struct("<2s16s2s8sBQBQ2B2sI").pack
_child: Final = struct.Struct("<2s16s2s8s2s8sBQBQ2B2sI").pack
_fixed64: Final = struct.Struct("<Q").pack
_fixed32: Final = struct.Struct("<I").pack

_TRACE_ID: Final = b"\x0a\x10"
_SPAN_ID: Final = b"\x12\x08"
_PARENT_ID: Final = b"\x22\x08"
_KIND: Final = 0x30
_START: Final = 0x39
_END: Final = 0x41
_FLAGS: Final = b"\x85\x01"
_HAS_IS_REMOTE: Final = 0x100
_IS_REMOTE: Final = 0x200

_DOUBLE: Final = b"\x09\x21"  # the length of an AnyValue, and its field
_INTEGER: Final = tuple(bytes((size + 1, 0x18)) for size in range(11))
_SHORT: Final = 126  # bytes: the length of a text, and of its AnyValue, is one byte
_TEXT: Final = tuple(bytes((size + 2, 0x0A, size)) for size in range(_SHORT))
_MOST: Final = 512

_MAX_KNOWN: Final = 4_096
_MAX_COUNT: Final = (1 << 32) - 1
_ID: Final = (1 << 64) - 1
_TRACE: Final = (1 << 128) - 1


def _opening(tag: int) -> tuple[bytes, ...]:
    """The tag and the length of a ``KeyValue``, for each length below `_MOST`."""
    return tuple(bytes((tag,)) + varint(size) for size in range(_MOST))


OF_SPAN: Final = _opening(0x4A)
_OF_EVENT: Final = _opening(0x1A)
_OF_LINK: Final = _opening(0x22)

_keys: Final[dict[str, bytes]] = {}
"""The field ``key`` of a ``KeyValue``, and the tag of the value that follows it."""
_links: Final[dict[int, tuple[SpanContext, bytes]]] = {}
"""Links without attributes, by the identity of their contexts: runs have one each."""
_states: Final[dict[int, tuple[TraceState, bytes]]] = {}
"""Fields ``trace_state``, by the identity of the tracestates: traces share them."""


def trace_bytes(trace_id: int) -> bytes:
    """A trace id of 16 bytes."""
    return (trace_id & _TRACE).to_bytes(16, "big")


def head(
    ids: tuple[int, int],
    parent: int | SpanContext | None,
    times: tuple[int, int],
    kind: int,
    name: str,
) -> bytes:
    """Ids, times, kind, flags and name of a span.

    Args:
        ids: Its trace id and its span id.
        parent: A span id, where the parent is a span of this process.
        times: When it began and ended.
        kind: ``SpanKind.value``, which counts from 0, and OTLP from 1.
        name: Its name.
    """
    trace, own = trace_bytes(ids[0]), (ids[1] & _ID).to_bytes(8, "big")
    rest = _START, times[0], _END, times[1], _KIND, kind + 1, _FLAGS
    if parent is None:
        whole = _root(_TRACE_ID, trace, _SPAN_ID, own, *rest, _HAS_IS_REMOTE)
        return whole + text(b"\x2a", name)
    flags = _HAS_IS_REMOTE
    if isinstance(parent, SpanContext):
        flags |= _IS_REMOTE if parent.is_remote else 0
        parent = parent.span_id
    above = (parent & _ID).to_bytes(8, "big")
    whole = _child(_TRACE_ID, trace, _SPAN_ID, own, _PARENT_ID, above, *rest, flags)
    return whole + text(b"\x2a", name)


def attributes(
    parts: list[bytes],
    given: Mapping[str, Plain],
    opening: tuple[bytes, ...] = OF_SPAN,
) -> None:
    """Append a field for each attribute to ``parts``. This is most of the work."""
    for key, value in given.items():
        named = _keys.get(key) or _learn(key)
        kind = type(value)
        if kind is str:
            data = value.encode()  # type: ignore[union-attr] # mypy can't tell
            size = len(data)
            if size < _SHORT:
                about = _TEXT[size]
            else:
                data = sized(b"\x0a", data)
                about = varint(len(data))
        elif kind is float:
            data, about = double(value), _DOUBLE
        elif kind is int:
            data = varint(value)  # type: ignore[arg-type] # mypy can't tell
            about = _INTEGER[len(data)]
        else:
            data = any_value(value)
            about = varint(len(data))
        whole = len(named) + len(about) + len(data)
        start = opening[whole] if whole < _MOST else opening[0][:1] + varint(whole)
        parts += (start, named, about, data)


def state(value: TraceState) -> bytes:
    """The tracestate of a span."""
    known = _states.get(id(value))
    if known is None:
        # It holds the object, so that nothing else can have its id.
        known = value, text(b"\x1a", text_of(value.to_header()))
        _remember(_states, id(value), known)
    return known[1]


def event(name: str, time: int, given: Mapping[str, Plain], dropped: int) -> bytes:
    """One event of a span."""
    parts = [b"\x09" + _fixed64(time), text(b"\x12", name)]
    attributes(parts, given, _OF_EVENT)
    parts.append(_count(0x20, dropped))
    return sized(b"\x5a", b"".join(parts))


def link(context: SpanContext, given: Mapping[str, Plain], dropped: int) -> bytes:
    """One link of a span; without tracestate, as the stock encoder's."""
    plain = not (given or dropped)
    if plain and (known := _links.get(id(context))) is not None:
        return known[1]
    ids = trace_bytes(context.trace_id), (context.span_id & _ID).to_bytes(8, "big")
    parts = [sized(b"\x0a", ids[0]), sized(b"\x12", ids[1])]
    attributes(parts, given, _OF_LINK)
    parts.append(_count(0x28, dropped))
    flags = _HAS_IS_REMOTE | (_IS_REMOTE if context.is_remote else 0)
    parts.append(b"\x35" + _fixed32(flags))
    encoded = sized(b"\x6a", b"".join(parts))
    if plain:
        _remember(_links, id(context), (context, encoded))
    return encoded


def counts(attributes: int, events: int, links: int) -> bytes:
    """How many attributes, events and links of a span were dropped."""
    return _count(0x50, attributes) + _count(0x60, events) + _count(0x70, links)


def status(code: int, description: str | None) -> bytes:
    """The status of a span, which is there even when nobody has set it."""
    said = text(b"\x12", description or "")
    return sized(b"\x7a", said + (bytes((0x18, code)) if code else b""))


def field(span: bytes) -> bytes:
    """An encoded span as a field ``spans`` of ``ScopeSpans``."""
    return b"\x12" + varint(len(span)) + span


def _count(tag: int, number: int) -> bytes:
    return bytes((tag,)) + varint(min(number, _MAX_COUNT)) if number else b""


def _learn(key: str) -> bytes:
    """The field ``key`` of a ``KeyValue``, and the tag of the value that follows."""
    encoded = text(b"\x0a", key) + b"\x12"
    if len(key) <= _MOST:
        _remember(_keys, key, encoded)
    return encoded


def _remember(known: dict[K, V], key: K, value: V) -> None:
    if len(known) >= _MAX_KNOWN:
        known.clear()  # what comes often is soon back
    known[key] = value
