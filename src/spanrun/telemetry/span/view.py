"""`view`: a span as the SDK's ``ReadableSpan``, for those who ask for one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, cast

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util import BoundedList
from opentelemetry.trace import Link, SpanKind, Status, StatusCode

if TYPE_CHECKING:
    from spanrun._core import Span

_KINDS: Final = tuple(SpanKind)


class View(ReadableSpan):
    """A span as it was at one moment. Nothing in it changes.

    Of a span that has ended it is filled when somebody looks at it: a processor that
    only counts costs little.

    Args:
        span: The span.
    """

    def __init__(self, span: Span) -> None:
        self._span = span
        if not span.has_ended:
            self._fill(span)

    @property
    def is_local_root(self) -> bool:
        """Nothing above it was recorded in this process."""
        return self._span.is_local_root

    def __getattr__(self, name: str) -> Any:
        # Only what isn't there: the fields of the SDK's class, before they are filled.
        span = self.__dict__.get("_span")
        if span is None or not name.startswith("_") or "_name" in self.__dict__:
            raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}")
        self._fill(span)
        return getattr(self, name)

    def _fill(self, span: Span) -> None:
        (
            attributes,
            dropped_attributes,
            events,
            dropped_events,
            links,
            dropped_links,
            code,
            description,
            parent,
            kind,
        ) = span.snapshot()
        owner = span.scope.owner
        super().__init__(
            name=span.name,
            context=span.get_span_context(),
            parent=parent,
            resource=owner.resource,
            attributes=bounded(attributes, dropped_attributes),
            events=bounded_list(
                [
                    Event(name, bounded(about, dropped), time)
                    for name, time, about, dropped in events
                ],
                dropped_events,
            ),
            links=bounded_list(
                [Link(to, bounded(about, dropped)) for to, about, dropped in links],
                dropped_links,
            ),
            kind=_KINDS[kind] if 0 <= kind < len(_KINDS) else SpanKind.INTERNAL,
            status=Status(StatusCode(code), description),
            start_time=span.start_time,
            end_time=span.end_time,
            instrumentation_scope=owner.instrumentation,
        )


class Decoded(ReadableSpan):
    """A span that was read from its bytes, with what else a `View` has.

    Args:
        is_local_root: Nothing above it was recorded in this process.
        given: What the SDK's class takes.
    """

    def __init__(self, *, is_local_root: bool, **given: Any) -> None:
        self.is_local_root = is_local_root
        super().__init__(**given)


view = View
"""``View(span)``: as it is now, in the SDK's class, for processors and the console."""


class _Plain(BoundedAttributes):
    def __init__(self, attributes: Mapping[str, Any], dropped: int) -> None:
        super().__init__(immutable=True)
        self._dict = dict(attributes)
        self.dropped = dropped


def bounded(attributes: Mapping[str, Any], dropped: int) -> Any:
    """In the SDK's class, which is where its encoder looks for ``dropped``.

    They are plain already, so they aren't cleaned once more.
    """
    return _Plain(attributes, dropped)


def bounded_list(items: Iterable[Any], dropped: int) -> Any:
    """The same for events and links."""
    made = cast("Any", BoundedList(None))
    made.extend(items)
    made.dropped = dropped
    return made
