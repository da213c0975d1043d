"""`DroppedSpan`: what a tracer gives where nothing is recorded."""

from __future__ import annotations

from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan

from spanrun.telemetry.current import ATTEMPT, CURRENT_SPAN, OUTSIDE


class DroppedSpan(NonRecordingSpan):
    """A span that a sampler dropped: it has an identity, and keeps nothing.

    It has the methods that units call of an open span (see `OpenSpan`).

    Attributes:
        has_ended: It is no parent any more.
    """

    has_ended = False

    @property
    def otel(self) -> DroppedSpan:
        """Itself: what a context has as the current span."""
        return self

    def inside(self, outside: Context, attempt: int | None = None) -> Context:
        """Return a context in which this is the current span, within ``outside``."""
        more = {} if attempt is None else {ATTEMPT: attempt}
        return Context(
            {**outside, CURRENT_SPAN: self, OUTSIDE: (self, outside), **more}
        )

    @property
    def trace_id(self) -> int:
        """The trace that it belongs to."""
        return self.get_span_context().trace_id

    def wall_ns(self, moment: float) -> int:  # noqa: ARG002 -- nobody will see it
        """Return 0: there is nothing to be stamped."""
        return 0

    def end(self, end_time: int | None = None) -> None:  # noqa: ARG002 -- the same
        """Note that it has ended."""
        self.has_ended = True

    def finish(self, ended: float) -> None:  # noqa: ARG002 -- the same
        """Note that it has ended."""
        self.has_ended = True
