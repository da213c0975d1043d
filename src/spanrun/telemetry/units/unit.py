"""`Unit`: the one wrapper in which every run, batch, job, attempt and call runs.

``run ⊃ batch ⊃ job ⊃ attempt ⊃ call``. When a unit ends it (1) ends its span,
(2) records the exact metrics of its kind and (3) tells the observers. What a
user calls a unit (`spanrun.unit`, `spanrun.instrumented`) is one more kind.

OpenTelemetry's own context is the only store of the current span, so that
spans of other libraries nest below ours and ours below theirs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from opentelemetry.context import Context
from opentelemetry.trace import (
    INVALID_SPAN,
    Link,
    Span,
    SpanContext,
    SpanKind,
    set_span_in_context,
)

from spanrun.telemetry.current import current, leave, make_current
from spanrun.telemetry.redact import text_of
from spanrun.telemetry.units.errors import stack_of
from spanrun.telemetry.units.recorder import OpenSpan, Recorder

INTERNAL: Final = SpanKind.INTERNAL.value


class Linked:
    """Where the units of a run begin, each in a trace of its own.

    Args:
        span: To which theirs are anchored in time: the run's, if it is in this process.
        context: In which they begin, but for its span.
        run: The identity of the run's span.

    Attributes:
        context: In which no span is the current one.
        links: Of a job, to the run's span; none where that has no identity.
    """

    __slots__ = ("context", "links", "span")

    def __init__(self, span: OpenSpan, context: Context, run: SpanContext) -> None:
        self.span: Final = span
        self.context: Final = set_span_in_context(INVALID_SPAN, context)
        self.links: Final = (Link(run),) if run.is_valid else ()


class Unit:
    """One open unit, below the current span or where ``linked`` says.

    Attributes:
        recorder: Where its span and metrics go.
        told: Its span, to be written to.
        context: The OTel context in which the span is the current one.
        started: When, on the recorder's clock.
    """

    __slots__ = ("_outside", "context", "recorder", "started", "told")

    def __init__(
        self,
        recorder: Recorder,
        name: str,
        kind: int = INTERNAL,
        *,
        started: float | None = None,
        attributes: Mapping[str, Any] | None = None,
        linked: Linked | None = None,
        role: int = 0,
        told: OpenSpan | None = None,
    ) -> None:
        self.recorder: Final = recorder
        begun = recorder.now() if started is None else started
        self.started: Final = begun
        if linked is None:
            outside, run = current(), None
        else:
            outside, run = linked.context, linked.span
        told = told or recorder.open(
            name, kind, outside, begun, attributes, anchored=run, role=role
        )
        self._outside: Final = outside
        self.told: Final[OpenSpan] = told
        self.context: Context = told.inside(outside)

    @property
    def span(self) -> Span:
        """OpenTelemetry's span."""
        return self.told.otel

    @property
    def trace_id(self) -> int:
        """The trace that the span belongs to."""
        return self.told.trace_id

    def linked(self) -> Linked:
        """Where units begin that are linked to this one."""
        return Linked(self.told, self.context, self.told.get_span_context())

    def set(self, key: str, value: Any) -> None:
        """Set an attribute of the span; a text is redacted and cut."""
        self.told.set_attribute(key, value)

    def event(self, name: str, **attributes: Any) -> None:
        """Add an event to the span, at this moment."""
        told = self.told
        told.add_event(name, attributes, told.wall_ns(self.recorder.now()))

    def enter(self) -> None:
        """Make this the current span, here and in what is started from here."""
        make_current(self.context)

    def leave(self) -> None:
        """Make the span outside current again, unless another one is by now."""
        leave(self.context, self._outside)

    def finish(
        self,
        error: BaseException | None = None,
        *,
        failed: bool = True,
        ended: float | None = None,
    ) -> str:
        """End the span.

        Args:
            error: What ended the unit. It is recorded, redacted and cut.
            failed: False for a cancelled unit: that isn't an error.
            ended: When, on the recorder's clock; now by default.

        Returns:
            The value of ``error.type``; empty when the unit didn't fail.
        """
        end = self.recorder.now() if ended is None else ended
        error_type = ""
        if error is not None and failed:
            error_type = fail(self.recorder, self.told, error, end)
        self.told.finish(end)
        return error_type


def fail(
    recorder: Recorder,
    span: OpenSpan,
    error: BaseException,
    ended: float,
    *,
    stack: bool = True,
) -> str:
    """Say on ``span`` that ``error`` ended it, at ``ended``.

    Args:
        recorder: Where the span is recorded.
        span: It must not have ended.
        error: What was raised.
        ended: When, on the recorder's clock.
        stack: Whether its traceback is told, which a span below may have told already.

    Returns:
        The value of ``error.type``.
    """
    error_type, traceback = recorder.errors.name(error), None
    try:
        if stack and span.is_recording():
            traceback = stack_of(error)
    except Exception as broken:  # noqa: BLE001 -- counted: breaks no job
        recorder.failed("traces", broken)
    span.fail(error_type, text_of(error), traceback, ended)
    return error_type
