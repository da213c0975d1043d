"""`LocalTrace`: spans of this process that are kept or left out together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from spanrun.semconv import SpanrunSamplingReason
from spanrun.telemetry.units.recorder import JOB, RUN

if TYPE_CHECKING:  # they have local traces
    from spanrun.telemetry.span.record import Record
    from spanrun.telemetry.span.tail import Tail

ANY: Final = 0
"""A span that is neither of a run nor of a job."""
Reason: TypeAlias = SpanrunSamplingReason | None
"""Why a trace is kept; None: it is not."""


class LocalTrace:
    """Spans of a trace in this process that are decided on together.

    They are all that it has here; or, where it has a run's span, those of one of its
    jobs, or those above.

    Attributes:
        tail: Decides on it.
        trace_id: Its id.
        role: What its topmost span is: `ANY`, `RUN` or `JOB`.
        above: A span that is kept if anything of this is, as its id, and where it
            belongs.
        roots: Topmost spans that have not ended.
        waiting: Spans that have ended before it is decided.
        reason: Why all of it is kept, once that is known; then none waits.
        refused: It was to be kept for this, and the budget was used up.
        is_run_kept: It is a run's that is kept.
        wanted: Spans that are kept when they end, whatever becomes of the others.
        joined: The trace with the same id that was open when this one began: they
            are decided together. It may be this one.
    """

    __slots__ = (
        "above",
        "is_run_kept",
        "joined",
        "reason",
        "refused",
        "role",
        "roots",
        "tail",
        "trace_id",
        "waiting",
        "wanted",
    )

    def __init__(
        self,
        tail: Tail,
        trace_id: int,
        role: int = ANY,
        above: tuple[LocalTrace, int] | None = None,
    ) -> None:
        self.tail: Final = tail
        self.trace_id: Final = trace_id
        self.role: Final = role
        self.above: Final = above
        self.roots = 1
        self.waiting: list[Record] = []
        self.reason: Reason = None
        self.refused: Reason = None
        self.is_run_kept = False
        self.wanted: set[int] = set()
        self.joined = self

    def apart(self, role: int, span_id: int) -> LocalTrace | None:
        """Return what a span begins that is decided on apart from its parent.

        The parent is ``span_id``, of this. None where the span belongs there: a run in
        a job does, and a job anywhere but in a run.
        """
        if self.role == JOB if role == RUN else self.role != RUN:
            return None
        return LocalTrace(self.tail, self.trace_id, role, (self, span_id))

    @property
    def path(self) -> Reason:
        """Why what is wanted is kept."""
        return "run" if self.is_run_kept else "path"


class Wanted(NamedTuple):
    """A span that is to be kept, with those above it; or a run's, within its budget."""

    trace: LocalTrace
    span_id: int
    is_run: bool
