"""`DroppedSpan`: what a tracer gives where nothing is recorded."""

from __future__ import annotations

from opentelemetry.trace import NonRecordingSpan

from spanrun.telemetry.current import inside


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

    inside = inside

    @property
    def trace_id(self) -> int:
        """The trace that it belongs to."""
        return self.get_span_context().trace_id

    def wall_ns(self, moment: float) -> int:  # noqa: ARG002 -- nobody will see it
        """Return 0: there is nothing to be stamped."""
        return 0

    def fail(self, kind: str, text: str, stack: str | None, ended: float) -> None:
        """Do nothing."""

    def end(self, end_time: int | None = None) -> None:  # noqa: ARG002 -- the same
        """Note that it has ended."""
        self.has_ended = True

    def finish(self, ended: float) -> None:  # noqa: ARG002 -- the same
        """Note that it has ended."""
        self.has_ended = True
