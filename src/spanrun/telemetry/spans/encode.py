"""Spans as OTLP, by hand: the stock encoder's messages, in a tenth of its time.

Tests hold it against ``opentelemetry.exporter.otlp.proto.common``. What that one
loses together with all other spans of the request arrives from here: text that
isn't Unicode, a name that isn't text, a time that isn't whole. An integer beyond
64 bits, which it leaves out, arrives as its digits.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias, TypeVar

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import (
    DEFAULT_TRACE_STATE,
    INVALID_SPAN_CONTEXT,
    SpanContext,
)

from spanrun.telemetry.log import Log
from spanrun.telemetry.span.plain import Plain, clean
from spanrun.telemetry.span.wire import (
    IS_SMALL,
    SMALL,
    TWO_BYTES,
    double,
    double_prefix,
    int_prefixes,
    key_value,
    text,
    varint,
)
from spanrun.telemetry.spans import otlp
from spanrun.telemetry.spans.columns import Columns
from spanrun.telemetry.spans.origin import SHORT, Limits, Origin
from spanrun.telemetry.spans.recorded import (
    NOTHING_RARE,
    Happened,
    Rare,
    Recorded,
)
from spanrun.telemetry.spans.scrub import scrub

_log: Final = Log(__name__)

_root: Final = struct.Struct("<B2s2s16s2s8sBQBQ")
_child: Final = struct.Struct("<B2s2s16s2s8s2s8sBQBQ")
_ROOT_SIZE: Final = _root.size - 3
_CHILD_SIZE: Final = _child.size - 3
_pack_root: Final = _root.pack
_pack_child: Final = _child.pack

_SPAN_FIELD: Final = 0x12  # ScopeSpans.spans
_TRACE_ID: Final = b"\x0a\x10"  # Span.trace_id, 16 bytes
_SPAN_ID: Final = b"\x12\x08"  # Span.span_id, 8 bytes
_PARENT_ID: Final = b"\x22\x08"  # Span.parent_span_id, 8 bytes
_START: Final = 0x39  # Span.start_time_unix_nano
_END: Final = 0x41  # Span.end_time_unix_nano
_NAME: Final = b"\x2a"  # Span.name
_ATTRIBUTE: Final = b"\x4a"  # Span.attributes
_NO_REST: Final = b"\x85\x01\x00\x01\x00\x00\x7a\x00"
"""Flags and status of most spans: what `otlp.rest` says of them."""

_LONG: Final = 4_096
_NO_ROW: Final[tuple[Columns, tuple[Any, ...]]] = Columns(), ()

_MAX_KNOWN: Final = 4_096
_MAX_SHAPES: Final = 64  # of one name: with more, its attributes are told one by one

Failed: TypeAlias = Callable[[ReadableSpan, Exception], None]
K = TypeVar("K")
V = TypeVar("V")


def _log_failure(span: ReadableSpan, error: Exception) -> None:
    _log.warning("span '%s' can't be encoded and is lost: %s", span.name, error)


class _Shape:
    """What spans have in common that differ in ids, times and numbers alone.

    Attributes:
        columns: Of their row.
        kind: Theirs.
        links: Theirs: the same object, as all jobs of a run have.
        state: Their tracestate: the same object.
        types: Of the values of their attributes: 1 and True are equal as keys.
        rest: Their bytes, but for those ids, times and numbers.
    """

    __slots__ = ("columns", "kind", "links", "rest", "state", "types")

    def __init__(self, span: Recorded, columns: Columns, rest: bytes) -> None:
        self.columns = columns
        self.kind = span.span_kind
        self.links = span.raw_links
        self.state = span.inherited[1]
        self.types = tuple(map(type, span.raw.values()))
        self.rest = rest


class SpanEncoder:
    """Makes ``ExportTraceServiceRequest`` messages of ended spans.

    Native spans are its business; spans of the SDK are taken as well. Keys, and
    texts that come again, are encoded once and remembered, within bounds. May be
    used by several threads.

    Example:
        >>> SpanEncoder().request([])
        b''
    """

    def __init__(self) -> None:
        self._names: Final[dict[str, bytes]] = {}
        self._texts: Final[dict[tuple[str, str], bytes]] = {}
        self._doubles: Final[dict[str, bytes]] = {}
        self._ints: Final[dict[str, tuple[bytes, ...]]] = {}
        self._links: Final[dict[int, tuple[SpanContext, bytes]]] = {}
        self._shapes: Final[dict[tuple[Any, ...], _Shape]] = {}
        self._shapes_of: Final[Counter[str]] = Counter()

    def request(
        self, spans: Iterable[ReadableSpan], failed: Failed = _log_failure
    ) -> bytes:
        """A whole request. Several requests put together are a request again.

        Args:
            spans: What is to be in it.
            failed: Told of each span that is lost. None should be.
        """
        groups: dict[object, tuple[ReadableSpan, list[bytes]]] = {}
        for span in spans:
            encoded = self.span(span, failed)
            if not encoded:
                continue
            if isinstance(span, Recorded):
                where: object = span.origin
            else:
                where = id(span.resource), id(span.instrumentation_scope)
            if where in groups:
                groups[where][1].append(encoded)
            else:
                groups[where] = span, [encoded]
        return otlp.request(groups.values())

    def span(self, span: ReadableSpan, failed: Failed = _log_failure) -> bytes:
        """One span, as a field ``spans`` of ``ScopeSpans``; empty if it is lost."""
        try:
            recorded = span if isinstance(span, Recorded) else _recorded(span)
            try:
                return field(recorded, self._usual(recorded))
            except Exception:  # noqa: BLE001 -- something in it is not as usual
                scrub(recorded)
                attributes, dropped = recorded.cleaned()
                body = otlp.any_span(recorded, attributes, dropped)
                self._learn(attributes)
            return b"\x12" + varint(len(body)) + body
        except Exception as error:  # noqa: BLE001 -- told to `failed`; others go on
            failed(span, error)
            return b""

    def _usual(self, span: Recorded) -> bytes:
        """All but ids and times of a ``Span`` with attributes as spans have.

        Raises:
            Exception: It is not of that kind, or has a key that is new.
        """
        row, raw, name = span.row, span.raw, span.span_name
        columns, values = _NO_ROW if row is None else row
        few = values[: columns.few]
        key = (name, few, *raw.items()) if raw else (name, few)
        shape = self._shapes.get(key) if span.rare is None else None
        above = span.above
        if (
            shape is not None
            and shape.columns is columns
            and shape.kind is span.span_kind
            and shape.links is span.raw_links
            and shape.state is span.inherited[1]
            and (above is None or type(above) is bytes)
            and (not raw or shape.types == tuple(map(type, raw.values())))
        ):
            rest = shape.rest
        else:
            rest = self.rest(span)
            if span.rare is None and (above is None or type(above) is bytes):
                self._remember_shape(key, _Shape(span, columns, rest))
        if not values:
            return rest
        parts = [rest]
        columns.encode_numbers(values, parts)
        return b"".join(parts)

    def rest(self, span: Recorded) -> bytes:
        """All but ids, times and the numbers of the row.

        Secrets are looked for here, where texts are new: a shape is known by the
        texts as they came, and remembered as it goes out.
        """
        scrub(span)
        name, row, raw, rare = span.span_name, span.row, span.raw, span.rare
        parts = [self._names.get(name) or self._name(name), otlp.kind(span.span_kind)]
        room = span.origin.most
        if row is not None:
            columns, values = row
            if raw and not columns.names.isdisjoint(raw):
                raise KeyError
            room -= len(columns.keys)
            columns.encode_few(values, parts)
        if len(raw) > room:
            raise OverflowError
        if raw:
            self._attributes(raw, parts.append, span.origin.limits.length)
        above, too_many = span.above, 0
        if span.raw_links or (rare is not None and rare.links):
            too_many = self._add_links(span, parts)
        if (
            rare is None
            and not too_many
            and (above is None or type(above) is bytes)
            and span.inherited[1] is DEFAULT_TRACE_STATE
        ):
            parts.append(_NO_REST)
        else:
            dropped = (rare or NOTHING_RARE).dropped_attributes
            parts.append(otlp.rest(span, dropped))
        return b"".join(parts)

    def _remember_shape(self, key: tuple[Any, ...], shape: _Shape) -> None:
        """Unless it has long texts, or a float, which is never the same again."""
        name = key[0]
        if self._shapes_of[name] >= _MAX_SHAPES or float in shape.types:
            return
        if sum(map(len, map(str, key))) > _LONG:
            return
        if len(self._shapes) >= _MAX_KNOWN:
            self._shapes.clear()
            self._shapes_of.clear()
        self._shapes_of[name] += 1
        self._shapes[key] = shape

    def _attributes(
        self, attributes: dict[str, Any], add: Callable[[bytes], None], length: int
    ) -> None:
        texts, doubles, ints = self._texts, self._doubles, self._ints
        for key, value in attributes.items():
            kind = value.__class__  # whoever lies about it fails below
            if kind is float:
                add(doubles[key])
                add(double(value))
            elif kind is str:
                known = texts.get((key, value))
                add(self._text(key, value, length) if known is None else known)
            elif kind is int:
                number: int = value
                digits = SMALL[number] if 0 <= number < IS_SMALL else varint(number)
                add(ints[key][len(digits)])
                add(digits)
            else:
                add(key_value(_ATTRIBUTE, _good(key), clean(value, length)))

    def _text(self, key: str, value: str, length: int) -> bytes:
        encoded = key_value(_ATTRIBUTE, _good(key), value[:length])
        if len(value) <= SHORT:
            _remember(self._texts, (key, value), encoded)
        return encoded

    def _name(self, name: str) -> bytes:
        encoded = text(_NAME, _good(name))
        _remember(self._names, name, encoded)
        return encoded

    def _add_links(self, span: Recorded, parts: list[bytes]) -> int:
        """Append its links, and return how many were too many.

        All jobs of a run link to one context, which is the same object.
        """
        links, too_many, limit = span.raw_links, 0, span.origin.limits.links
        if span.rare is not None or (limit is not None and len(links) > limit):
            links, too_many = span.kept_links()
        for link in links:
            context = link.context
            known = None if link.attributes else self._links.get(id(context))
            if known is None:
                known = context, otlp.link(link, span.origin.limits)
                if not link.attributes:
                    # It holds the context, so nothing else can have its id.
                    _remember(self._links, id(context), known)
            parts.append(known[1])
        return too_many

    def _learn(self, attributes: Mapping[str, Plain]) -> None:
        for key, value in attributes.items():
            if len(key) > SHORT:
                continue
            if type(value) is float:
                _remember(self._doubles, key, double_prefix(_ATTRIBUTE, key))
            elif type(value) is int:
                _remember(self._ints, key, int_prefixes(_ATTRIBUTE, key))


def field(span: Recorded, rest: bytes) -> bytes:
    """``span`` as a field ``spans`` of ``ScopeSpans``.

    ``rest`` is all of it but ids and times.

    Raises:
        IndexError: ``rest`` is too long for a length of two bytes.
        struct.error: A time isn't whole.
    """
    above = span.above
    ids = _TRACE_ID, span.trace, _SPAN_ID, span.own
    times = _START, span.start_ns, _END, span.end_ns
    if above is None:
        size = TWO_BYTES[len(rest) + _ROOT_SIZE]
        return _pack_root(_SPAN_FIELD, size, *ids, *times) + rest
    parent = above if isinstance(above, bytes) else above.span_id.to_bytes(8)
    size = TWO_BYTES[len(rest) + _CHILD_SIZE]
    return _pack_child(_SPAN_FIELD, size, *ids, _PARENT_ID, parent, *times) + rest


def _good(key: Any) -> str:
    if type(key) is not str or not 0 < len(key) <= SHORT:
        raise KeyError(key)
    return key


def _remember(known: dict[K, V], key: K, value: V) -> None:
    if len(known) >= _MAX_KNOWN:
        known.clear()  # what comes often is soon back
    known[key] = value


def _recorded(span: ReadableSpan) -> Recorded:
    """The SDK's span as one of ours. What it has was cut and counted there."""
    context = span.get_span_context() or INVALID_SPAN_CONTEXT
    origin = Origin(
        span.instrumentation_scope, span.resource, Limits(), _never, _never, _never
    )
    recorded = Recorded(
        origin,
        otlp.id_bytes(context.trace_id, 16),
        otlp.id_bytes(context.span_id, 8),
        span.parent,
        (context.trace_flags, context.trace_state),
        span.name,
        span.kind,
        span.start_time or 0,
        dict(span.attributes or {}),
        span.links,
    )
    recorded.end_ns = span.end_time or 0
    rare = recorded.rare = Rare()
    rare.events = [
        Happened(
            event.name,
            event.timestamp,
            event.attributes or {},
            event.dropped_attributes,
        )
        for event in span.events
    ]
    rare.status = span.status
    rare.dropped_attributes = span.dropped_attributes
    rare.dropped_events = span.dropped_events
    rare.dropped_links = span.dropped_links
    return recorded


def _never(*_: object) -> int:
    """Of a span that has ended nobody asks the time, or waits for the end."""
    return 0
