"""The unit: the one wrapper in which every run, batch, job, attempt and call runs.

``run ⊃ batch ⊃ job ⊃ attempt ⊃ call``. When a unit ends it (1) ends its span,
(2) records the exact metrics of its kind and (3) tells the observers. What a
user calls a unit (`spanrun.unit`, `spanrun.instrumented`) is one more kind.

OpenTelemetry's own context is the only store of the current span, so that
spans of other libraries nest below ours and ours below theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias

from opentelemetry.context import Context
from opentelemetry.trace import (
    INVALID_SPAN,
    Link,
    Span,
    SpanKind,
    set_span_in_context,
)

from spanrun import semconv
from spanrun.outcome import CancelledBy, Timings
from spanrun.semconv import Metric, SpanrunJobOutcome
from spanrun.telemetry.current import (
    ATTEMPT,
    CURRENT_SPAN,
    WAY_OUT,
    WayOut,
    current,
    go_back_to,
    make_current,
)
from spanrun.telemetry.metrics.instruments import RunnerMetrics
from spanrun.telemetry.open_units import CallKind, OpenJob, Submitted
from spanrun.telemetry.redact import redact, text_of
from spanrun.telemetry.span_events import (
    add_event,
    context_of,
    fail,
    set_attributes,
    set_error,
)
from spanrun.telemetry.spans.columns import Columns

if TYPE_CHECKING:  # it makes units
    from spanrun.telemetry.recorder import Recorder

JOB_COLUMNS: Final = Columns(
    few=(
        semconv.SPANRUN_RUNNER_NAME,
        semconv.SPANRUN_JOB_OUTCOME,
        semconv.SPANRUN_JOB_ATTEMPTS,
    ),
    ints=(semconv.SPANRUN_JOB_INDEX,),
    floats=(
        semconv.SPANRUN_JOB_TIME_QUEUE,
        semconv.SPANRUN_JOB_TIME_LIMIT,
        semconv.SPANRUN_JOB_TIME_RATE_LIMIT,
        semconv.SPANRUN_JOB_TIME_BACKOFF,
        semconv.SPANRUN_JOB_TIME_BUSY,
        semconv.SPANRUN_JOB_TIME_LOOP_LAG,
        semconv.SPANRUN_JOB_TIME_SERVICE,
    ),
)
ATTEMPT_COLUMNS: Final = Columns(
    few=(semconv.SPANRUN_RUNNER_NAME, semconv.SPANRUN_ATTEMPT_NUMBER)
)


class Linked:
    """Where the units of a run begin, each in a trace of its own that links there.

    Args:
        recorder: Made the span.
        span: The run's.
        outside: The context in which it is the current one.
    """

    __slots__ = ("context", "links")

    def __init__(self, recorder: Recorder, span: Span, outside: Context) -> None:
        self.context: Final = set_span_in_context(INVALID_SPAN, outside)
        context = context_of(recorder, span)
        self.links: Final = (Link(context),) if context.is_valid else ()


class Unit:
    """One open unit.

    Attributes:
        span: Its span.
        context: The OTel context in which the span is the current one.
        started: When, on the recorder's clock.

    It is opened below the current span or where ``linked`` says.
    """

    __slots__ = ("_recorder", "_way_out", "context", "span", "started")

    def __init__(
        self,
        recorder: Recorder,
        name: str,
        kind: SpanKind = SpanKind.INTERNAL,
        *,
        started: float | None = None,
        attributes: dict[str, Any] | None = None,
        linked: Linked | None = None,
        span: Span | None = None,
    ) -> None:
        """``attributes`` becomes the span's own: the caller leaves it alone.

        With ``span``, that one is it: it has been opened already.
        """
        self._recorder = recorder
        begun = recorder.now() if started is None else started
        self.started: Final = begun
        if linked is None:
            outside = current()
            links: Sequence[Link] = ()
        else:
            outside, links = linked.context, linked.links
        self._way_out: Final = WayOut(outside)
        given = {} if attributes is None else attributes
        if span is None:
            span = recorder.open(name, kind, outside, begun, given, links)
        self.span: Final = span
        self.context: Context = Context(
            {**outside, CURRENT_SPAN: span, WAY_OUT: self._way_out}
        )

    @property
    def trace_id(self) -> int:
        """The trace that the span belongs to."""
        native: int | None = getattr(self.span, "trace_id", None)
        if native is None:
            return context_of(self._recorder, self.span).trace_id
        return native

    def set(self, key: str, value: Any) -> None:
        """Set an attribute of the span; a text is redacted and cut."""
        shown = redact(value) if isinstance(value, str) else value
        try:
            self.span.set_attribute(key, shown)
        except Exception as error:  # noqa: BLE001 -- counted: breaks no job
            self._recorder.failed("traces", error)

    def event(self, name: str, **attributes: Any) -> None:
        """Add an event to the span, at this moment."""
        add_event(self._recorder, self.span, name, attributes)

    def enter(self) -> None:
        """Make this the current span, here and in what is started from here."""
        make_current(self.context)

    def leave(self) -> None:
        """Make the span outside current again, unless we have left already.

        There is no token to hand back: where a generator was closed in another
        context than it ran in, that would fail. Here it changes nothing.
        """
        self._way_out.left = True
        if current() is self.context:
            go_back_to(self._way_out.outside)

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
        recorder = self._recorder
        error_type = ""
        end = recorder.now() if ended is None else ended
        if error is not None and failed:
            error_type = fail(recorder, self.span, error)
        recorder.close(self.span, end)
        return error_type


@dataclass(frozen=True, slots=True)
class JobKind:
    """What the jobs of one run have in common, for their units.

    Attributes:
        metrics: Of their runner.
        linked: Where they begin, in linked mode; else below the current span.
        attempts: Whether each attempt has a span.
        timed: Whether they are timed by the recorder's clock.
    """

    metrics: RunnerMetrics
    linked: Linked | None
    attempts: bool
    timed: bool


class JobUnit(Unit):
    """A job's span and metrics, and its attempts' spans."""

    __slots__ = ("_attempt", "_index", "_metrics", "_submitted")

    def __init__(
        self,
        recorder: Recorder,
        kind: JobKind,
        job: Submitted,
        span: Span | None = None,
    ) -> None:
        self._metrics = metrics = kind.metrics
        self._submitted = job.submitted if kind.timed else None
        self._index = job.index
        self._attempt: AttemptUnit | None
        key = job.key
        attributes: dict[str, Any] = {}
        if key is not None:
            attributes[semconv.SPANRUN_JOB_KEY] = redact(text_of(key))
        super().__init__(
            recorder,
            f"job {metrics.name}",
            started=self._submitted,
            attributes=attributes,
            linked=kind.linked,
            span=span,
        )

    def retried(self, error: Exception, delay: float) -> None:
        """Another attempt follows ``error`` after ``delay`` seconds."""
        self._metrics.retry(self._recorder.errors.name(error))
        self.event(
            semconv.EVENT_SPANRUN_JOB_RETRY,
            **{
                semconv.ERROR_TYPE: self._recorder.errors.name(error),
                semconv.SPANRUN_JOB_RETRY_DELAY: delay,
            },
        )

    def hedged(self, after: float) -> None:
        """A second call was sent, ``after`` seconds of waiting for the first."""
        self.event(
            semconv.EVENT_SPANRUN_JOB_HEDGE, **{semconv.SPANRUN_JOB_HEDGE_AFTER: after}
        )

    def begin_attempt(self, number: int) -> None:
        """Open the unit of an attempt, below this one."""
        name = f"attempt {self._metrics.name}"
        attempt = AttemptUnit(self._recorder, name, number, self._metrics.name)
        attempt.enter()
        self._attempt = attempt

    def end_attempt(
        self,
        number: int,  # noqa: ARG002 -- it is the one that is open
        error: BaseException | None,
    ) -> None:
        """The attempt is over, by ``error`` if there is one.

        Of one that was abandoned its task says so once more, when it ends at last.
        """
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.leave()
            attempt.finish(error, failed=isinstance(error, Exception))

    def succeed(self, timings: Timings, attempts: int) -> None:
        """The job has its value."""
        self.conclude(timings, "ok", attempts, None, None)

    def conclude(
        self,
        timings: Timings,
        outcome: SpanrunJobOutcome,
        attempts: int,
        error: BaseException | None,
        cancelled_by: CancelledBy | None,
    ) -> None:
        """The job has its outcome."""
        metrics, parts = self._metrics, timings.parts()
        described = (metrics.name, outcome, attempts, self._index, *parts)
        self._recorder.describe(self.span, JOB_COLUMNS, described)
        if cancelled_by is not None:
            self.set(semconv.SPANRUN_JOB_CANCELLED_BY, cancelled_by)
        # The very end that the ledger has: its parts add up to the span.
        begun = self._submitted
        ended = None if begun is None else begun + timings.duration
        error_type = self.finish(error, failed=outcome != "cancelled", ended=ended)
        metrics.job(timings.duration, parts, outcome, error_type or None, self.span)


OpenJobs: TypeAlias = Callable[[Submitted], OpenJob]


def job_units(recorder: Recorder, kind: JobKind) -> OpenJobs:
    """What opens a `JobUnit` for each job, and makes it the current one."""

    def open_job(job: Submitted) -> JobUnit:
        unit = JobUnit(recorder, kind, job)
        unit.enter()
        return unit

    return open_job


class AttemptUnit(Unit):
    """The span of one attempt, which knows its number: see `attempt_number`."""

    __slots__ = ()

    def __init__(self, recorder: Recorder, name: str, number: int, runner: str) -> None:
        super().__init__(recorder, name)
        recorder.describe(self.span, ATTEMPT_COLUMNS, (runner, number))
        self.context = Context({**self.context, ATTEMPT: number})


class CallUnit(Unit):
    """One call to a service, by OTel's client conventions.

    A context manager: current inside, ended on leaving. ``metric`` is recorded
    with the call's duration and those of its attributes that the registry
    lists for it.
    """

    __slots__ = ("_attributes", "_metric")

    def __init__(
        self,
        recorder: Recorder,
        kind: CallKind,
    ) -> None:
        self._metric = kind.metric
        self._attributes = own = dict(kind.attributes)
        super().__init__(recorder, kind.name, SpanKind.CLIENT, attributes=own)

    def set(self, key: str, value: Any) -> None:
        """Set an attribute of the span and, where it belongs there, the metric."""
        shown = redact(value) if isinstance(value, str) else value
        self._attributes[key] = shown
        if not self._recorder.shares:
            set_attributes(self._recorder, self.span, {key: shown})

    def fail(self, error_type: str) -> None:
        """The call has failed by what it answered, though nothing was raised."""
        self.set(semconv.ERROR_TYPE, error_type)
        set_error(self._recorder, self.span)

    def record(self, metric: Metric, value: float, **more: Any) -> None:
        """Record another metric of the call, with its attributes and ``more``."""
        attributes = {**self._attributes, **more} if more else self._attributes
        self._recorder.record(metric, value, attributes, self.span)

    def __enter__(self) -> Self:
        self.enter()
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        self.leave()
        ended = self._recorder.now()
        failed = isinstance(error, Exception)
        error_type = self.finish(error, failed=failed, ended=ended)
        if error_type:
            self._attributes[semconv.ERROR_TYPE] = error_type
        self.record(self._metric, ended - self.started)
