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

    Attributes:
        is_local_root: Nothing above it was recorded in this process.
    """

    is_local_root = False


def view(span: Span) -> View:
    """``span`` as it is now, in the SDK's class, for processors and the console."""
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
    shown = View(
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
    shown.is_local_root = span.is_local_root
    return shown


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
