"""`Scope`: starts the spans of one tracer, and has what they share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from opentelemetry.context import Context
from opentelemetry.trace import (
    DEFAULT_TRACE_STATE,
    INVALID_SPAN,
    Link,
    SpanContext,
    TraceState,
)

from spanrun.telemetry.current import CURRENT_SPAN, OUTSIDE
from spanrun.telemetry.span.buffer import Buffer
from spanrun.telemetry.span.encode import OF_EVENT, OF_LINK, OF_SPAN
from spanrun.telemetry.span.ids import draw
from spanrun.telemetry.span.local import ANY
from spanrun.telemetry.span.record import Links
from spanrun.telemetry.span.span import Span
from spanrun.telemetry.span.tail import Tail
from spanrun.telemetry.span.values import Fields

_RANDOM: Final = (1 << 56) - 1
_TRACE_ID: Final = (1 << 128) - 1
_SAMPLED: Final = 1


class Scope:
    """See ``_core.pyi``."""

    def __init__(
        self,
        owner: Any,
        now: Callable[[], float],
        anchor: Callable[[], int],
        limits: tuple[
            int | None, int | None, int | None, int | None, int | None, int, int
        ],
        clean: Callable[[Any, int], Any],
        view: Callable[[Span], Any],
        failed: Callable[[Exception], object],
        too_late: Callable[[str, str], object],
    ) -> None:
        self.owner = owner
        self.now: Final = now
        self.anchor: Final = anchor
        attributes, self.max_events, self.max_links, *inner, length, short = limits
        self.of_span: Final = Fields(OF_SPAN, attributes, length, clean)
        self.of_event: Final = Fields(OF_EVENT, inner[0], short, clean)
        self.of_link: Final = Fields(OF_LINK, inner[1], short, clean)
        # Those of tuples without attributes, by identity: the jobs of a run share one.
        self.known_links: Final[dict[int, tuple[Sequence[Link], Links]]] = {}
        self.view: Final = view
        self.failed: Final = failed
        self.too_late: Final = too_late
        self.buffer: Buffer | None = None
        self.tail: Tail | None = None
        self.on_start: Callable[[Span, Context | None], object] | None = None
        self.on_end: Callable[[Any], object] | None = None
        self.follow = False
        self.threshold: int | None = None
        nothing = 0, DEFAULT_TRACE_STATE
        self.root: tuple[tuple[int, TraceState], tuple[int, TraceState]]
        self.root = (_SAMPLED, DEFAULT_TRACE_STATE), nothing
        self.bits: Callable[[int], int] | None = None
        self.ask: Callable[..., Any] | None = None
        self.generation = 0

    def start(
        self,
        name: str,
        kind: int,
        context: Context,
        begun: float | None = None,
        attributes: Mapping[str, Any] | None = None,
        links: Sequence[Link] = (),
        *,
        start_ns: int | None = None,
        anchored: Span | None = None,
        role: int = ANY,
    ) -> Any:
        """Start a span below the one in ``context``, or a trace."""
        above = context.get(CURRENT_SPAN)
        while type(above) is Span and not above.is_open:
            # The unit that it was made for was left: what is outside of it counts.
            way: Any = context.get(OUTSIDE)
            if way is None or way[0] is not above:
                break
            context = way[1]
            above = context.get(CURRENT_SPAN)
        if type(above) is Span and self.follow:
            trace_id, parent, inherited = above.trace_id, above, above.inherited
        elif self.threshold is not None and (above is None or above is INVALID_SPAN):
            trace_id, parent = (self.bits or draw)(128) or 1, None
            inherited = self.root[0 if trace_id & _RANDOM >= self.threshold else 1]
        else:
            return self._ask(
                (name, kind, context, begun, attributes, links),
                start_ns=start_ns,
                anchored=anchored,
                role=role,
            )
        span = Span()
        span.begin(
            self,
            name,
            kind,
            trace_id,
            parent,
            inherited,
            begun,
            attributes,
            links,
            start_ns,
            anchored,
            role,
        )
        if self.on_start is not None:
            self._tell(span, context)
        return span

    def make(
        self,
        name: str,
        kind: int,
        trace_id: int,
        parent: Span | SpanContext | None,
        flags: int,
        state: TraceState,
        begun: float | None,
        attributes: Mapping[str, Any] | None,
        links: Sequence[Link],
        *,
        start_ns: int | None = None,
        context: Context | None = None,
        anchored: Span | None = None,
        role: int = ANY,
    ) -> Span:
        """Start a span on which the caller has decided."""
        span = Span()
        span.begin(
            self,
            name,
            kind,
            trace_id & _TRACE_ID,
            parent,
            (flags, state),
            begun,
            attributes,
            links,
            start_ns,
            anchored,
            role,
        )
        self._tell(span, context)
        return span

    def disown(self) -> None:
        """End the spans that are open now nowhere: they are another process's."""
        self.generation += 1

    def _ask(self, arguments: tuple[Any, ...], **named: Any) -> Any:
        try:
            if self.ask is None:
                return INVALID_SPAN
            return self.ask(*arguments, **named)
        except Exception as error:  # noqa: BLE001 -- a sampler breaks no program
            self.failed(error)
            return INVALID_SPAN

    def _tell(self, span: Span, context: Context | None) -> None:
        on_start = self.on_start
        if on_start is not None:
            try:
                on_start(span, context)
            except Exception as error:  # noqa: BLE001 -- a processor breaks no program
                self.failed(error)
