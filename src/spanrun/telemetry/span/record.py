"""`Record`: what a span holds, and how it becomes bytes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from opentelemetry.sdk.trace import Span as SdkSpan
from opentelemetry.trace import (
    DEFAULT_TRACE_STATE,
    Link,
    SpanContext,
    TraceFlags,
    TraceState,
)

from spanrun import semconv
from spanrun.telemetry.forks import no_fork
from spanrun.telemetry.span import encode
from spanrun.telemetry.span.buffer import RETRIED
from spanrun.telemetry.span.values import Fields, items_of, plain_name

if TYPE_CHECKING:  # it makes spans
    from spanrun.telemetry.span.local import LocalTrace
    from spanrun.telemetry.span.scope import Scope

Links: TypeAlias = tuple[tuple[SpanContext, bytes], ...]
"""Of each link: where to, and all of it encoded."""
Inherited: TypeAlias = tuple[int, TraceState]
"""W3C trace flags and tracestate, which children have from their parent."""


class Event(NamedTuple):
    """An event of a span; ``stamped`` when nobody said when it was."""

    time: int
    rest: bytes
    stamped: bool


class Rare:
    """What few spans have.

    Attributes:
        events: In order.
        links: Those from the start, and those that were added.
        dropped: Attributes, events and links that were dropped.
        status: Its code, and what was said.
    """

    __slots__ = ("dropped", "events", "links", "status")

    def __init__(self, links: Links) -> None:
        self.events: list[Event] = []
        self.links: Final = list(links)
        self.dropped: Final = [0, 0, 0]
        self.status: tuple[int, str | None] = 0, None

    def drop_oldest(self, items: list[Any], kind: int, most: int | None) -> None:
        """Drop the first of too many; ``kind`` is its place in `dropped`."""
        if most is not None and len(items) > most:
            del items[:1]
            self.dropped[kind] += 1

    def freeze(self, end_ns: int) -> None:
        """Say of no event that it happened after the end."""
        self.events = self.events.copy()  # who adds one from now on is too late
        for place, event in enumerate(self.events):
            if event.stamped and event.time > end_ns:
                self.events[place] = event._replace(time=end_ns)

    def encoded(self) -> bytes:
        """All of it."""
        parts = [encode.event(time, rest) for time, rest, _ in tuple(self.events)]
        parts += [encoded for _, encoded in tuple(self.links)]
        if any(self.dropped):
            parts.append(encode.counts(*self.dropped))
        status = self.status
        parts.append(encode.status(*status) if status[0] else encode.NO_STATUS)
        return b"".join(parts)


class Record:
    """The data of a span: plain, bounded and without credentials.

    There is no lock: what is added to lists and dictionaries is one step for other
    threads, and what few spans have is made by `dict.setdefault`.

    Attributes:
        scope: What it shares with the other spans of its tracer.
        trace_id: Its trace id.
        span_id: Its span id.
        inherited: Its flags and tracestate.
        start_time: In nanoseconds since the Unix epoch.
        duration: In nanoseconds, when it has ended.
        flags: See ``_core.pyi``.
        trace: Where it waits until it is decided whether it is kept; None if it was
            drawn.
        trace_bytes: Its trace id.
        is_top: It has no span above it that is decided on with it.
        is_open: It has not ended.
    """

    @property  # type: ignore[misc] # as mocks do
    def __class__(self) -> type:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The SDK's class of spans that are open, which processors may insist on."""
        return SdkSpan

    # What few spans have stands here until they have it. All else they have from the
    # start: with an attribute that comes later, each would need a dictionary.
    is_open = False
    _rare: Rare | None = None

    scope: Scope
    trace_id: int
    trace_bytes: bytes
    trace: LocalTrace | None
    duration: int
    is_top: bool
    span_id: int
    inherited: Inherited
    start_time: int
    _context: SpanContext | None
    _end_ns: int | None
    _fields: bytes | None  # all attributes, when it has ended
    _name: str
    _kind: int
    _attributes: dict[str, bytes]
    flags: int
    _links: Links  # from the start
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
        with no_fork():
            from spanrun.telemetry.span.decode import mapping, parsed  # noqa: PLC0415 -- it needs the package

        parent, rare = self._parent, self._rare or Rare(self._links)
        links = tuple(rare.links)
        fields = self._fields
        if fields is None:
            fields = b"".join(self._attributes.values())
        parts = [encode.event(time, rest) for time, rest, _ in tuple(rare.events)]
        span = parsed(b"".join((fields, *parts, *(link[1] for link in links))))
        return (
            mapping(span.attributes),
            rare.dropped[0],
            [
                (
                    event.name,
                    event.time_unix_nano,
                    mapping(event.attributes),
                    event.dropped_attributes_count,
                )
                for event in span.events
            ],
            rare.dropped[1],
            [
                (to, mapping(link.attributes), link.dropped_attributes_count)
                for (to, _), link in zip(links, span.links, strict=True)
            ],
            rare.dropped[2],
            *rare.status,
            self._context_of(parent) if isinstance(parent, int) else parent,
            self._kind,
        )

    def _more(self) -> Rare:
        """What few spans have; two threads that want it first get the same."""
        return self._rare or vars(self).setdefault("_rare", Rare(self._links))

    def _set(self, items: Collection[tuple[Any, Any]] | None) -> None:
        """Set attributes. Of a span that users' code ends meanwhile it changes none."""
        dropped, retried = 1, False
        if items is not None:
            dropped, retried = self.scope.of_span.set(self._attributes, items)
        if dropped:
            self._more().dropped[0] += dropped
        if retried:
            self.flags |= RETRIED

    def _add_event(
        self,
        name: Any,
        time: int,
        attributes: Mapping[str, Any] | None,
        *,
        stamped: bool,
    ) -> None:
        scope = self.scope
        fields, dropped = _inner(scope.of_event, attributes)
        shown = plain_name(name)
        event = Event(time, encode.event_rest(shown, fields, dropped), stamped)
        if self.is_open:
            if shown == semconv.EVENT_SPANRUN_JOB_RETRY:
                self.flags |= RETRIED
            rare = self._more()
            rare.events.append(event)
            rare.drop_oldest(rare.events, 1, scope.max_events)

    def _begin_linked(self, links: Sequence[Link]) -> None:
        """Link it to what it is linked to from the start."""
        known = self.scope.known_links.get(id(links))
        if known is not None:
            self._links = known[1]
            return
        for link in links:
            self._add_link(link.context, link.attributes, link.dropped_attributes)
        is_plain = not any(link.attributes for link in links)
        if isinstance(links, tuple) and is_plain and not self._more().dropped[2]:
            # It holds the object, so that nothing else can have its id.
            same = tuple(self._more().links)
            encode.remember(self.scope.known_links, id(links), (links, same))

    def _add_link(
        self, context: SpanContext, attributes: Mapping[str, Any] | None, dropped: int
    ) -> None:
        """By the specification, one with an invalid context may still say something."""
        if context and (context.is_valid or attributes or context.trace_state):
            fields, more = _inner(self.scope.of_link, attributes)
            if self.is_open:
                rare = self._more()
                rare.links.append(
                    (context, encode.link(context, fields, dropped + more))
                )
                rare.drop_oldest(rare.links, 2, self.scope.max_links)

    @property
    def name(self) -> str:
        """What it is called."""
        return self._name

    @property
    def parent_id(self) -> int | None:
        """The span above it."""
        parent = self._parent
        return parent.span_id if isinstance(parent, SpanContext) else parent

    def encoded(self) -> bytes:
        """It, when it has ended, as the content of a message ``Span``."""
        parent, state, rare = self._parent, self.inherited[1], self._rare
        head = encode.head(
            self.trace_bytes,
            self.span_id,
            parent,
            self.start_time,
            self._end_ns or 0,
            self._kind,
            self._name,
        )
        more = b"" if state is DEFAULT_TRACE_STATE else encode.state(state)
        if rare is not None:
            more += rare.encoded()
        else:
            for _, link in self._links:
                more += link
            more += encode.NO_STATUS
        return head + (self._fields or b"") + more


def _inner(fields: Fields, attributes: Mapping[str, Any] | None) -> tuple[bytes, int]:
    """The attributes of an event or a link, encoded, and how many were dropped."""
    if not attributes:
        return b"", 0
    kept: dict[str, bytes] = {}
    items = items_of(attributes)
    dropped = 1 if items is None else fields.set(kept, items)[0]
    return b"".join(kept.values()), dropped
