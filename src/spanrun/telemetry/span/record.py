"""`Record`: what a span holds, and how it becomes bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from opentelemetry.sdk.trace import Span as SdkSpan
from opentelemetry.trace import (
    DEFAULT_TRACE_STATE,
    Link,
    SpanContext,
    TraceFlags,
    TraceState,
)

from spanrun.telemetry.span import encode
from spanrun.telemetry.span.plain import Plain
from spanrun.telemetry.span.values import newest, plain_attributes, plain_name

if TYPE_CHECKING:  # it makes spans
    from spanrun.telemetry.span.scope import Scope

_UNSET: Final[tuple[int, str | None]] = 0, None

Linked: TypeAlias = tuple[SpanContext, dict[str, Plain], int]
"""A link: where to, attributes, and how many of these were dropped."""
Inherited: TypeAlias = tuple[int, TraceState]
"""W3C trace flags and tracestate, which children have from their parent."""


class Limits(NamedTuple):
    """Of a `Scope`; None means: as many as there are."""

    attributes: int | None
    events: int | None
    links: int | None
    event_attributes: int | None
    link_attributes: int | None
    length: int
    inner_length: int


class Event(NamedTuple):
    """An event of a span; ``stamped`` when nobody said when it was."""

    name: str
    time: int
    attributes: dict[str, Plain]
    dropped: int
    stamped: bool


class Record:
    """The data of a span: plain, bounded and without credentials.

    Attributes:
        scope: What it shares with the other spans of its tracer.
        trace_id: Its trace id.
        span_id: Its span id.
        inherited: Its flags and tracestate.
        start_time: In nanoseconds since the Unix epoch.
    """

    @property  # type: ignore[misc] # as mocks do
    def __class__(self) -> type:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The SDK's class of spans that are open, which processors may insist on."""
        return SdkSpan

    # What few spans have stands here until a span has it.
    _dropped = 0
    _dropped_events = 0
    _dropped_links = 0
    _status = _UNSET
    _context: SpanContext | None = None
    _end_ns: int | None = None

    scope: Scope
    trace_id: int
    span_id: int
    inherited: Inherited
    start_time: int
    _name: str
    _kind: int
    _attributes: dict[str, Plain]
    _events: list[Event]
    _links: list[Linked]
    _open: list[bool]  # empty when it has ended: see `Span`
    _parent: int | SpanContext | None  # a span id, if it has handed down `inherited`

    def get_span_context(self) -> SpanContext:
        """Its identity, made when it is first asked for."""
        if self._context is None:
            self._context = self._context_of(self.span_id)
        return self._context

    def _context_of(self, span_id: int) -> SpanContext:
        flags, state = self.inherited
        return SpanContext(self.trace_id, span_id, False, TraceFlags(flags), state)  # noqa: FBT003 -- OpenTelemetry's signature

    def snapshot(
        self,
    ) -> tuple[
        dict[str, Any],
        int,
        list[tuple[str, int, dict[str, Any], int]],
        int,
        list[tuple[SpanContext, dict[str, Any], int]],
        int,
        int,
        str | None,
        SpanContext | None,
        int,
    ]:
        """All that is recorded by now, for a view."""
        parent = self._parent
        return (
            self._attributes.copy(),
            self._dropped,
            [event[:4] for event in self._events.copy()],
            self._dropped_events,
            self._links.copy(),
            self._dropped_links,
            *self._status,
            self._context_of(parent) if isinstance(parent, int) else parent,
            self._kind,
        )

    def _fill(
        self, attributes: Mapping[str, Any] | None, links: Sequence[Link]
    ) -> None:
        """Set what it has from the start."""
        if attributes:
            scope = self.scope
            limits = scope.limits
            plain, dropped = plain_attributes(attributes, scope.clean, limits.length)
            self._attributes, over = newest(plain, limits.attributes)
            if dropped or over:
                self._dropped += dropped + over
        for link in links:
            self._add_link(link.context, link.attributes, link.dropped_attributes)

    def _store(self, plain: dict[str, Plain], dropped: int) -> None:
        """Set attributes. In C, each of these calls is one step for other threads."""
        if not self._open:  # users' code has ended it meanwhile
            return
        kept, limit = self._attributes, self.scope.limits.attributes
        for name, value in plain.items():
            kept.pop(name, None)  # what is set last stands last
            kept[name] = value
            while limit is not None and len(kept) > limit:
                with suppress(KeyError, RuntimeError, StopIteration):  # others do, too
                    del kept[next(iter(kept))]
                    dropped += 1
        if dropped:
            self._dropped += dropped

    def _add_event(
        self,
        name: Any,
        time: int,
        attributes: Mapping[str, Any] | None,
        *,
        stamped: bool,
    ) -> None:
        limits = self.scope.limits
        plain, dropped = self._inner(attributes, limits.event_attributes)
        event = Event(plain_name(name), time, plain, dropped, stamped)
        if self._open:
            self._events.append(event)
            over = _drop_oldest(self._events, limits.events)
            self._dropped_events += over  # apart from the call, so in one step

    def _add_link(
        self, context: SpanContext, attributes: Mapping[str, Any] | None, dropped: int
    ) -> None:
        """By the specification, one with an invalid context may still say something."""
        if context and (context.is_valid or attributes or context.trace_state):
            limits = self.scope.limits
            plain, more = self._inner(attributes, limits.link_attributes)
            if self._open:
                self._links.append((context, plain, dropped + more))
                over = _drop_oldest(self._links, limits.links)
                self._dropped_links += over

    def _inner(
        self, attributes: Mapping[str, Any] | None, limit: int | None
    ) -> tuple[dict[str, Plain], int]:
        """Attributes of an event or a link, and how many were dropped."""
        if not attributes:
            return {}, 0
        scope = self.scope
        length = scope.limits.inner_length
        plain, dropped = plain_attributes(attributes, scope.clean, length)
        kept, over = newest(plain, limit)
        return kept, dropped + over

    def _freeze(self, end_ns: int) -> None:
        """It has ended. A thread that is about to write to it is too late."""
        self._end_ns = end_ns
        if self._attributes:
            self._attributes = self._attributes.copy()
        if self._events:
            self._events = [
                event._replace(time=end_ns)
                if event.stamped and event.time > end_ns
                else event
                for event in self._events.copy()
            ]

    def _encode(self, trace_id: bytes, end_ns: int) -> bytes:
        kind, parent, start_ns = self._kind, self._parent, self.start_time
        parts = [
            encode.head(trace_id, self.span_id, parent, start_ns, end_ns, kind),
            encode.name(self._name),
        ]
        if self._attributes:
            encode.attributes(parts, self._attributes)
        state = self.inherited[1]
        if state is not DEFAULT_TRACE_STATE and state:
            parts.append(encode.state(state))
        if self._events:
            parts += [encode.event(*event[:4]) for event in self._events]
        if self._links:
            parts += [encode.link(*link) for link in self._links]
        if self._dropped or self._dropped_events or self._dropped_links:
            dropped = self._dropped, self._dropped_events, self._dropped_links
            parts.append(encode.counts(*dropped))
        unset = self._status is _UNSET
        parts.append(encode.NO_STATUS if unset else encode.status(*self._status))
        return b"".join(parts)


def _drop_oldest(items: list[Any], limit: int | None) -> int:
    """Drop the first of too many; returns how many."""
    if limit is None or len(items) <= limit:
        return 0
    del items[:1]
    return 1
