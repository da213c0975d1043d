"""A span as OTLP: the content of a message ``Span``.

Written after https://protobuf.dev/programming-guides/encoding/ and
``opentelemetry/proto/trace/v1/trace.proto``. Everything in a span is plain by now (see
`values`), so nothing here can fail. Tests hold it against the stock encoder.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final, TypeAlias, TypeVar

from opentelemetry.trace import SpanContext, TraceState

from spanrun.telemetry.span.plain import Plain, text_of
from spanrun.telemetry.span.wire import (
    IS_SMALL,
    SMALL,
    double,
    double_prefix,
    int_prefixes,
    key_value,
    sized,
    text,
    varint,
)

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

_SHORT: Final = 126  # bytes: the length of a text, and of its AnyValue, is one byte
_TEXT: Final = tuple(bytes((size + 2, 0x0A, size)) for size in range(_SHORT))
_SHORT_KEY: Final = 64  # characters, of up to 4 bytes
_MOST: Final = 512

_MAX_KNOWN: Final = 4_096
_MAX_COUNT: Final = (1 << 32) - 1
_ID: Final = (1 << 64) - 1
_TRACE: Final = (1 << 128) - 1


_BOOLEANS: Final = False, True
_Known: TypeAlias = tuple[
    dict[str, tuple[int, bytes]],
    dict[str, bytes],
    dict[str, tuple[bytes, ...]],
    dict[str, tuple[bytes, ...]],
]


class Fields:
    """Encodes attributes as fields ``KeyValue`` of one tag.

    For each key it remembers what stands ahead of a value of each type: of a text the
    key and the tag of the value, of an integer all but its bytes, by their number. Of a
    boolean it remembers both fields.
    """

    def __init__(self, tag: int) -> None:
        self._tag: Final = bytes((tag,))
        self._opening: Final = tuple(self._tag + varint(size) for size in range(_MOST))
        self._known: _Known = {}, {}, {}, {}

    def add(self, parts: list[bytes], attributes: Mapping[str, Plain]) -> None:
        """Append a field for each attribute to ``parts``. This is most of the work."""
        texts, doubles, integers, booleans = self._known
        opening = self._opening
        for key, value in attributes.items():
            if key not in texts:
                self._learn(parts, key, value)
                continue
            kind = type(value)
            if kind is str:
                data: bytes = value.encode()  # type: ignore[union-attr] # mypy can't tell
                length = len(data)  # pyright: ignore[reportUnknownArgumentType] -- the same
                if length < _SHORT:
                    size, named = texts[key]
                    parts += (opening[size + length], named, _TEXT[length], data)
                else:
                    parts.append(key_value(self._tag, key, value))
            elif kind is float:
                parts.append(doubles[key] + double(value))
            elif kind is int:
                number: int = value  # type: ignore[assignment] # mypy can't tell
                data = SMALL[number] if 0 <= number < IS_SMALL else varint(number)
                parts.append(integers[key][len(data)] + data)
            elif kind is bool:
                parts.append(booleans[key][1 if value else 0])
            else:
                parts.append(key_value(self._tag, key, value))

    def _learn(self, parts: list[bytes], key: str, value: Plain) -> None:
        parts.append(key_value(self._tag, key, value))
        if len(key) > _SHORT_KEY:
            return
        named = text(b"\x0a", key) + b"\x12"
        if len(self._known[0]) >= _MAX_KNOWN:
            self._known = {}, {}, {}, {}  # other threads are reading the old ones
        texts, doubles, integers, booleans = self._known
        booleans[key] = tuple(key_value(self._tag, key, each) for each in _BOOLEANS)
        doubles[key] = double_prefix(self._tag, key)
        integers[key] = int_prefixes(self._tag, key)
        texts[key] = len(named) + 3, named  # the last, as `add` looks for this one


_of_span: Final = Fields(0x4A)
_of_event: Final = Fields(0x1A)
_of_link: Final = Fields(0x22)

attributes: Final = _of_span.add
"""Append the attributes of a span to the parts of it."""

_names: Final[dict[str, bytes]] = {}
"""Names of spans, encoded."""
_links: Final[dict[int, tuple[SpanContext, bytes]]] = {}
"""Links without attributes, by the identity of their contexts: runs have one each."""
_states: Final[dict[int, tuple[TraceState, bytes]]] = {}
"""Fields ``trace_state``, by the identity of the tracestates: traces share them."""


def trace_bytes(trace_id: int) -> bytes:
    """A trace id of 16 bytes."""
    return (trace_id & _TRACE).to_bytes(16, "big")


def head(
    trace_id: bytes,
    span_id: int,
    parent: int | SpanContext | None,
    start_ns: int,
    end_ns: int,
    kind: int,
) -> bytes:
    """Ids, times, kind and flags of a span.

    ``parent`` is a span id, where the parent is a span of this process. Of ``kind`` the
    API counts from 0, and OTLP from 1.
    """
    own = span_id.to_bytes(8, "big")
    kind += 1
    flags = _HAS_IS_REMOTE
    if parent is None:
        return _root(
            _TRACE_ID,
            trace_id,
            _SPAN_ID,
            own,
            _START,
            start_ns,
            _END,
            end_ns,
            _KIND,
            kind,
            _FLAGS,
            flags,
        )
    if isinstance(parent, SpanContext):
        flags |= _IS_REMOTE if parent.is_remote else 0
        parent = parent.span_id & _ID
    above = parent.to_bytes(8, "big")
    return _child(
        _TRACE_ID,
        trace_id,
        _SPAN_ID,
        own,
        _PARENT_ID,
        above,
        _START,
        start_ns,
        _END,
        end_ns,
        _KIND,
        kind,
        _FLAGS,
        flags,
    )


def name(value: str) -> bytes:
    """The name of a span."""
    known = _names.get(value)
    if known is None:
        known = text(b"\x2a", value)
        if len(value) <= _MOST:
            _remember(_names, value, known)
    return known


def attribute(key: str, value: Plain) -> bytes:
    """An attribute of a span, to be appended to an encoded one."""
    parts: list[bytes] = []
    attributes(parts, {key: value})
    return b"".join(parts)


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
    _of_event.add(parts, given)
    parts.append(_count(0x20, dropped))
    return sized(b"\x5a", b"".join(parts))


def link(context: SpanContext, given: Mapping[str, Plain], dropped: int) -> bytes:
    """One link of a span; without tracestate, as the stock encoder's."""
    plain = not (given or dropped)
    if plain and (known := _links.get(id(context))) is not None:
        return known[1]
    ids = trace_bytes(context.trace_id), (context.span_id & _ID).to_bytes(8, "big")
    parts = [sized(b"\x0a", ids[0]), sized(b"\x12", ids[1])]
    _of_link.add(parts, given)
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


NO_STATUS: Final = b"\x7a\x00"
"""The status of a span for which nobody has set one."""


def status(code: int, description: str | None) -> bytes:
    """The status of a span."""
    said = text(b"\x12", description or "")
    return sized(b"\x7a", said + bytes((0x18, code)))


def field(span: bytes) -> bytes:
    """An encoded span as a field ``spans`` of ``ScopeSpans``."""
    size = len(span)
    return b"\x12" + (SMALL[size] if size < IS_SMALL else varint(size)) + span


def _count(tag: int, number: int) -> bytes:
    return bytes((tag,)) + varint(min(number, _MAX_COUNT)) if number else b""


def _remember(known: dict[K, V], key: K, value: V) -> None:
    if len(known) >= _MAX_KNOWN:
        known.clear()  # what comes often is soon back
    known[key] = value
