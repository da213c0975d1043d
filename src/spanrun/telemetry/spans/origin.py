"""`Origin`: what the spans of one tracer share, and the limits that they keep."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeAlias

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from spanrun.telemetry.span.plain import MAX_LENGTH

SHORT: Final = 256
"""A text up to this length is never cut, unless the user has set a lower limit."""


class Limits(NamedTuple):
    """`SpanLimits` as plain numbers. None means: as many as there are.

    A length that nobody has set is `MAX_LENGTH`: ten attributes of 10 MB would
    cost the whole request that they travel in.
    """

    attributes: int | None = None
    length: int = MAX_LENGTH
    events: int | None = None
    event_attributes: int | None = None
    links: int | None = None
    link_attributes: int | None = None
    inner_length: int = MAX_LENGTH

    @classmethod
    def of(cls, limits: SpanLimits) -> Limits:
        """From the SDK's, which have read ``OTEL_*_LIMIT``."""
        inner, outer = limits.max_attribute_length, limits.max_span_attribute_length
        return cls(
            attributes=limits.max_span_attributes,
            length=MAX_LENGTH if outer is None else outer,
            events=limits.max_events,
            event_attributes=limits.max_event_attributes,
            links=limits.max_links,
            link_attributes=limits.max_link_attributes,
            inner_length=MAX_LENGTH if inner is None else inner,
        )


Encoded: TypeAlias = tuple[bytes, int]
"""Ended spans as fields ``spans`` of ``ScopeSpans``, and how many."""

Wire: TypeAlias = Callable[[Encoded], object]


class Origin:
    """What all spans of one tracer share.

    Attributes:
        scope: The library that they come from.
        resource: The process that they come from.
        limits: How much they may hold.
        now: Tells the time, in nanoseconds since the Unix epoch.
        ended: Told of each span that has ended.
        failed: Told of what goes wrong inside.
        wire: Takes ended spans that are encoded already; None where somebody
            wants to see them as they are.
        most: So many attributes need no look at the limits.
    """

    __slots__ = (
        "ended",
        "failed",
        "limits",
        "most",
        "now",
        "resource",
        "scope",
        "wire",
    )

    def __init__(
        self,
        scope: InstrumentationScope | None,
        resource: Resource,
        limits: Limits,
        now: Callable[[], int],
        ended: Callable[[Any], object],
        failed: Callable[[Exception], object],
        wire: Wire | None = None,
    ) -> None:
        self.scope = scope
        self.resource = resource
        self.limits = limits
        self.now = now
        self.ended = ended
        self.failed = failed
        self.wire = wire
        most = sys.maxsize if limits.attributes is None else limits.attributes
        self.most = -1 if limits.length < SHORT else most

    def disown(self) -> None:
        """Its spans are another process's: tell nobody of those that end here."""
        self.ended, self.wire = _ignore, None


def _ignore(_: Any) -> None:
    return
