"""`Recorded`: what a span holds, as it came, and how others may read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeAlias, cast

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util import BoundedList
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Link,
    SpanContext,
    SpanKind,
    Status,
    TraceFlags,
    TraceState,
)

from spanrun.telemetry.span.plain import cleaned, stable_items
from spanrun.telemetry.spans.columns import Columns
from spanrun.telemetry.spans.origin import Limits, Origin

Inherited: TypeAlias = tuple[TraceFlags, TraceState]

UNSET: Final = Status()
RECORD_EXCEPTION: Final = 1
SET_STATUS: Final = 2


class Happened(NamedTuple):
    """An event of a span, as recorded."""

    name: str
    timestamp: int
    attributes: Mapping[str, Any]
    dropped: int = 0


class Rare:
    """What few spans have; a span has it from when it is first needed.

    Attributes:
        events: Oldest first.
        links: Those that were added to the ones from the start.
        dropped_events: How many older events there were.
        dropped_links: The same for the links.
        dropped_attributes: The same for the attributes.
        status: The last one that counted.
        on_exception: Of `RECORD_EXCEPTION` and `SET_STATUS`, what is to be done.
    """

    __slots__ = (
        "dropped_attributes",
        "dropped_events",
        "dropped_links",
        "events",
        "links",
        "on_exception",
        "status",
    )

    def __init__(self) -> None:
        self.events: list[Happened] = []
        self.links: list[Link] = []
        self.dropped_events = 0
        self.dropped_links = 0
        self.dropped_attributes = 0
        self.status = UNSET
        self.on_exception = RECORD_EXCEPTION | SET_STATUS


NOTHING_RARE: Final = Rare()


class Recorded(ReadableSpan):
    """The data of a span, in slots, with all that a `ReadableSpan` offers.

    The slots hold what was recorded, as it came. The properties show it cleaned,
    cut and counted, anew at each reading.

    Attributes:
        origin: What it shares with the other spans of its tracer.
        trace: Its trace id, as 16 bytes.
        own: Its span id, as 8 bytes.
        above: The parent: its span id, where that is a span of this process which
            handed ``inherited`` down, else its context; None for a root.
        inherited: Flags and tracestate, which its children inherit.
        span_name: What its name is by now.
        span_kind: Its kind.
        start_ns: In nanoseconds since the Unix epoch.
        end_ns: The same; None while it is open.
        raw: Its attributes, but for those in ``row``. Who opened the span may
            have kept this dict, and may write to it until the end.
        row: Attributes of a known shape, whose keys ``raw`` should not have.
        raw_links: Its links from the start. They may be other spans' as well.
        rare: What few spans have.
    """

    __slots__ = (
        "_made",
        "above",
        "end_ns",
        "inherited",
        "origin",
        "own",
        "rare",
        "raw",
        "raw_links",
        "row",
        "span_kind",
        "span_name",
        "start_ns",
        "trace",
    )

    _instrumentation_info = None  # for the SDK's deprecated property

    def __init__(
        self,
        origin: Origin,
        trace: bytes,
        own: bytes,
        above: bytes | SpanContext | None,
        inherited: Inherited,
        name: str,
        kind: SpanKind,
        start_ns: int,
        raw: dict[str, Any],
        links: Sequence[Link] = (),
    ) -> None:
        # Not super().__init__(): nothing of what that stores is used here.
        self.origin = origin
        self.trace = trace
        self.own = own
        self.above = above
        self.inherited = inherited
        self.span_name = name
        self.span_kind = kind
        self.start_ns = start_ns
        self.end_ns: int | None = None
        self.raw = raw
        self.row: tuple[Columns, tuple[Any, ...]] | None = None
        self.raw_links = links
        self.rare: Rare | None = None
        self._made: SpanContext | None = None

    def get_span_context(self) -> SpanContext:
        """Its identity, made when it is first asked for."""
        return self._made or self.make_context()

    def make_context(self) -> SpanContext:
        """Its identity, anew; from now on the one that is given out."""
        flags, state = self.inherited
        made = SpanContext(self.trace_id, self.span_id, False, flags, state)  # noqa: FBT003 -- OpenTelemetry's signature
        self._made = made
        return made

    @property
    def trace_id(self) -> int:
        """Its trace id."""
        return int.from_bytes(self.trace)

    @property
    def span_id(self) -> int:
        """Its span id."""
        return int.from_bytes(self.own)

    @property
    def name(self) -> str:
        """What it is called."""
        return self.span_name

    @property
    def context(self) -> SpanContext:
        """Its identity."""
        return self.get_span_context()

    @property
    def kind(self) -> SpanKind:
        """What it is in relation to its parent and children."""
        return self.span_kind

    @property
    def parent(self) -> SpanContext | None:
        """The identity of its parent; None for a root."""
        above = self.above
        if not isinstance(above, bytes):
            return above
        flags, state = self.inherited
        parent = int.from_bytes(above)
        return SpanContext(self.trace_id, parent, False, flags, state)  # noqa: FBT003 -- OpenTelemetry's signature

    @property
    def is_local_root(self) -> bool:
        """Whether nothing above it was recorded in this process."""
        above = self.above
        return not isinstance(above, bytes) and (above is None or above.is_remote)

    @property
    def start_time(self) -> int:
        """When it began, in nanoseconds since the Unix epoch."""
        return self.start_ns

    @property
    def end_time(self) -> int | None:
        """When it ended, in nanoseconds since the Unix epoch."""
        return self.end_ns

    @property
    def status(self) -> Status:
        """Whether it went well, as far as anybody said."""
        return (self.rare or NOTHING_RARE).status

    @property
    def resource(self) -> Resource:
        """The process that it comes from."""
        return self.origin.resource

    @property
    def instrumentation_scope(self) -> InstrumentationScope | None:
        """The library that it comes from."""
        return self.origin.scope

    @property
    def attributes(self) -> Mapping[str, Any]:
        """Its attributes, as they would be exported now."""
        return MappingProxyType(self.cleaned()[0])

    @property
    def dropped_attributes(self) -> int:
        """How many attributes were too many, or had no usable key."""
        return self.cleaned()[1]

    @property
    def events(self) -> Sequence[Event]:
        """Its events, oldest first."""
        rare, limits = self.rare or NOTHING_RARE, self.origin.limits
        return tuple(
            Event(
                happened.name,
                _bounded(*event_attributes(happened, limits)),
                happened.timestamp,
            )
            for happened in tuple(rare.events)
        )

    @property
    def dropped_events(self) -> int:
        """How many events were too many."""
        return (self.rare or NOTHING_RARE).dropped_events

    @property
    def links(self) -> Sequence[Link]:
        """Its links."""
        limits = self.origin.limits
        return tuple(
            Link(link.context, _bounded(*link_attributes(link, limits)))
            for link in self.kept_links()[0]
        )

    @property
    def dropped_links(self) -> int:
        """How many links were too many."""
        return self.kept_links()[1]

    def kept_links(self) -> tuple[Sequence[Link], int]:
        """Its links as they came, but for the oldest of too many, and those' number."""
        rare, limit = self.rare or NOTHING_RARE, self.origin.limits.links
        links = (*self.raw_links, *rare.links)
        over = 0 if limit is None else max(0, len(links) - limit)
        return links[over:], rare.dropped_links + over

    def all_attributes(self) -> dict[str, Any]:
        """Its attributes as they came, those of the row among them."""
        if self.row is None:
            return self.raw
        columns, values = self.row
        return {**columns.as_dict(values), **dict(stable_items(self.raw))}

    def cleaned(self) -> tuple[dict[str, Any], int]:
        """Its attributes as they would be exported now, and how many were dropped."""
        limits = self.origin.limits
        plain, dropped = cleaned(
            self.all_attributes(), limits.length, limits.attributes
        )
        return plain, dropped + (self.rare or NOTHING_RARE).dropped_attributes

    def to_json(self, indent: int | None = 4) -> str:
        """The JSON text that the SDK makes of its spans."""
        return str(self.snapshot().to_json(indent))

    def snapshot(self) -> ReadableSpan:
        """An instance of the SDK's own class, with all that is known by now."""
        return ReadableSpan(
            name=self.name,
            context=self.context,
            parent=self.parent,
            resource=self.resource,
            attributes=_bounded(*self.cleaned()),
            events=_bounded_list(self.events, self.dropped_events),
            links=_bounded_list(self.links, self.dropped_links),
            kind=self.kind,
            status=self.status,
            start_time=self.start_time,
            end_time=self.end_time,
            instrumentation_scope=self.instrumentation_scope,
        )


def event_attributes(happened: Happened, limits: Limits) -> tuple[dict[str, Any], int]:
    """Plain attributes of an event, and how many were dropped."""
    plain, dropped = cleaned(
        happened.attributes, limits.inner_length, limits.event_attributes
    )
    return plain, dropped + happened.dropped


def link_attributes(link: Link, limits: Limits) -> tuple[dict[str, Any], int]:
    """Plain attributes of a link, and how many were dropped."""
    plain, dropped = cleaned(
        link.attributes or {}, limits.inner_length, limits.link_attributes
    )
    return plain, dropped + link.dropped_attributes


def lasting(link: Link, limits: Limits) -> Link:
    """The same link, with attributes that can't change any more."""
    if not link.attributes or isinstance(link.attributes, BoundedAttributes):
        return link
    return Link(link.context, _bounded(*link_attributes(link, limits)))


def _bounded(attributes: dict[str, Any], dropped: int) -> BoundedAttributes:
    """In the SDK's class, which is where its encoder looks for ``dropped``."""
    bounded = BoundedAttributes(attributes=attributes)
    bounded.dropped = dropped
    return bounded


def _bounded_list(items: Sequence[Any], dropped: int) -> Any:
    """The same for events and links."""
    bounded = cast("Any", BoundedList(None))
    bounded.extend(items)
    bounded.dropped = dropped
    return bounded
