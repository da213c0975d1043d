"""`JobUnit`: a job's span and metrics, and its attempts' spans."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final, Protocol

from opentelemetry.context import Context

from spanrun import semconv
from spanrun.accelerator import core
from spanrun.outcome import CancelledBy, Timings
from spanrun.semconv import SpanrunJobOutcome
from spanrun.telemetry.current import current, leave, make_current
from spanrun.telemetry.metrics.instruments import RunnerMetrics
from spanrun.telemetry.redact import text_of
from spanrun.telemetry.units.recorder import JOB, OpenSpan, Recorder
from spanrun.telemetry.units.unit import INTERNAL, Linked, fail

_ATTEMPT_KEYS: Final = (
    semconv.SPANRUN_ATTEMPT_TIME_LIMIT,
    semconv.SPANRUN_ATTEMPT_TIME_RATE_LIMIT,
    semconv.SPANRUN_ATTEMPT_TIME_BUSY,
    semconv.SPANRUN_ATTEMPT_TIME_LOOP_LAG,
    semconv.SPANRUN_ATTEMPT_TIME_SERVICE,
)
_OF_ATTEMPT: Final = tuple(
    semconv.SPANRUN_JOB_PHASE_VALUES.index(phase)
    for phase in ("limit", "rate_limit", "busy", "loop_lag")
)
"""Where the first of these stand among the parts of a job's time."""


class Submitted(Protocol):
    """A job, as far as its unit has to know it."""

    @property
    def index(self) -> int:
        """Its place among the items of its run."""
        ...

    @property
    def key(self) -> Any:
        """The user's name for it."""
        ...

    @property
    def timings(self) -> Timings:
        """When it was submitted, on the runner's clock, and where its time went."""
        ...


class JobKind:
    """What the jobs of one run have in common, for their units.

    Args:
        recorder: Where their spans and metrics go.
        metrics: Of their runner.
        run_id: Of their run.
        linked: Where they begin, in linked mode; else below the current span.
        attempts: Whether each attempt has a span.
        timed: Whether they are timed by the recorder's clock.
    """

    __slots__ = (
        "attempt_name",
        "attempts",
        "job_name",
        "linked",
        "metrics",
        "open",
        "recorder",
        "run_id",
        "slowness",
        "timed",
    )

    def __init__(
        self,
        recorder: Recorder,
        metrics: RunnerMetrics,
        run_id: str,
        linked: Linked | None,
        *,
        attempts: bool,
        timed: bool,
    ) -> None:
        self.recorder: Final = recorder
        self.metrics: Final = metrics
        self.run_id: Final = run_id
        self.linked: Final = linked
        self.attempts: Final = attempts
        self.timed: Final = timed
        self.slowness: Final = recorder.slowness(metrics.label)
        self.job_name: Final = f"job {metrics.name}"
        self.attempt_name: Final = f"attempt {metrics.name}"

        self.open: Final[Callable[[Submitted], JobUnit]] = self._opener()

    def _opener(self) -> Callable[[Submitted], JobUnit]:
        """Return what opens the unit of a job."""
        scope, cells = self.recorder.scope, self.metrics.of_success()
        if core is None or scope is None or not isinstance(cells, core.JobCells):
            return partial(JobUnit, self)
        linked = self.linked
        where = None
        if linked is not None and isinstance(linked.span, core.Span):
            where = linked.context, linked.links, linked.span
        elif linked is not None:
            return partial(JobUnit, self)  # the run's span was dropped by a sampler
        jobs = core.Jobs(
            scope,
            self.job_name,
            self.attempt_name,
            self.metrics.name,
            self.run_id,
            where,
            self.attempts,
            self.timed,
            cells,
            self.slowness,
            self,
            JobUnit,
        )
        opens: Callable[[Submitted], JobUnit] = jobs.open
        return opens

    text_of = staticmethod(text_of)

    def open_attempt(
        self, context: Context, begun: float, number: int
    ) -> tuple[OpenSpan, Context]:
        """Open the span of an attempt, from 1, in the ``context`` of its job.

        Returns it with the context in which it is the current span.
        """
        told = self.recorder.open(
            self.attempt_name,
            INTERNAL,
            context,
            begun,
            {
                semconv.SPANRUN_RUNNER_NAME: self.metrics.name,
                semconv.SPANRUN_ATTEMPT_NUMBER: number,
            },
        )
        return told, told.inside(context, number)

    def fail(self, span: OpenSpan, error: Exception, ended: float) -> None:
        """Say on an attempt's span that ``error`` ended it."""
        fail(self.recorder, span, error, ended)
        asked = getattr(error, "retry_after", None)
        if asked is not None and isinstance(asked, int | float) and asked > 0:
            span.set_attribute(semconv.SPANRUN_ATTEMPT_RETRY_AFTER, float(asked))

    def conclude(
        self,
        span: OpenSpan,
        error: BaseException | None,
        ended: float,
        seconds: float,
        parts: tuple[float, ...],
        outcome: SpanrunJobOutcome,
    ) -> None:
        """Say on a job's span that ``error`` ended it, and count the job."""
        error_type = None
        if error is not None and outcome != "cancelled":
            stack = not self.attempts  # else the attempt has told it
            error_type = fail(self.recorder, span, error, ended, stack=stack)
        self.metrics.job(seconds, parts, outcome, error_type, span)

    def measure(
        self,
        span: OpenSpan,
        timings: Timings,
        before: tuple[float, ...] | None,
        lag: float,
        seconds: float,
    ) -> None:
        """Say on an attempt's span where its own time went.

        Args:
            span: The attempt's.
            timings: Of its job, by now.
            before: The parts of these as it began; None for the first attempt, when
                but for the queue there were none.
            lag: Of these, the part in which the loop was blocked.
            seconds: That it took.
        """
        if not self.timed:  # the two have different clocks
            return
        parts = timings.parts()
        before = before or (0.0, 0.0, 0.0, 0.0, 0.0, lag)
        spent = [parts[phase] - before[phase] for phase in _OF_ATTEMPT]
        service = max(0.0, seconds - sum(spent))
        span.set_attributes(dict(zip(_ATTEMPT_KEYS, (*spent, service), strict=True)))


class JobUnit:
    """A job's span and metrics, and its attempts' spans.

    Its span becomes the current one, unless each attempt has a span: no code of the
    user's runs outside of those.

    Where spans are compiled, `spanrun._core.JobUnit` stands in its place. It does the
    same, and calls the methods of this class for what few jobs have, such as events.

    Args:
        kind: What it has in common with the other jobs of its run.
        job: Which one it is.
        told: Its span, if it was opened already.
    """

    __slots__ = (
        "_attempt",
        "_before",
        "_begun",
        "_context",
        "_inner",
        "_lag",
        "_timings",
        "index",
        "kind",
        "submitted",
        "told",
    )

    def __init__(
        self, kind: JobKind, job: Submitted, told: OpenSpan | None = None
    ) -> None:
        recorder, linked, key = kind.recorder, kind.linked, job.key
        self.kind = kind
        self.index = job.index
        self._timings = job.timings
        self.submitted = begun = job.timings.submitted if kind.timed else recorder.now()
        self._attempt: OpenSpan | None = None
        attributes = None if key is None else {semconv.SPANRUN_JOB_KEY: text_of(key)}
        name = kind.job_name
        outside = current() if linked is None else linked.context
        if told is not None:
            pass
        elif linked is None:
            told = recorder.open(name, INTERNAL, outside, begun, attributes, role=JOB)
        else:
            links, run = linked.links, linked.span
            told = recorder.open(
                name,
                INTERNAL,
                outside,
                begun,
                attributes,
                links,
                anchored=run,
                role=JOB,
            )
        self.told: OpenSpan = told
        self._context = context = told.inside(outside)
        if not kind.attempts:
            make_current(context)

    @property
    def trace_id(self) -> int:
        """The trace that its spans belong to."""
        return self.told.trace_id

    def event(self, name: str, **attributes: Any) -> None:
        """Add an event to the job's span, at this moment."""
        told = self.told
        told.add_event(name, attributes, told.wall_ns(self.kind.recorder.now()))

    def retried(self, error: Exception, delay: float) -> None:
        """Tell that another attempt follows ``error`` after ``delay`` seconds."""
        error_type = self.kind.recorder.errors.name(error)
        self.kind.metrics.retry(error_type)
        told = {semconv.ERROR_TYPE: error_type, semconv.SPANRUN_JOB_RETRY_DELAY: delay}
        self.event(semconv.EVENT_SPANRUN_JOB_RETRY, **told)

    def hedged(self, after: float) -> None:
        """Tell that a second call was sent, ``after`` seconds of waiting."""
        self.event(
            semconv.EVENT_SPANRUN_JOB_HEDGE, **{semconv.SPANRUN_JOB_HEDGE_AFTER: after}
        )

    def begin_attempt(self, number: int) -> None:
        """Open the span of an attempt, from 1, and make it the current one."""
        kind, timings = self.kind, self._timings
        self._begun = begun = kind.recorder.now()
        self._lag = timings.loop_lag
        self._before = timings.parts() if number > 1 else None
        both = kind.open_attempt(self._context, begun, number)
        self._attempt, self._inner = both
        make_current(self._inner)

    def end_attempt(
        self,
        number: int,  # noqa: ARG002 -- it is the one that is open
        error: BaseException | None,
    ) -> None:
        """End the attempt's span, by ``error`` if there is one.

        What may be followed by another attempt makes the job's span the current one.
        Of one that was abandoned its task says so once more, when it ends at last.
        """
        told, self._attempt = self._attempt, None
        if told is None:
            return
        if error is not None:
            leave(self._inner, self._context)
        recorder = self.kind.recorder
        ended = recorder.now()
        if error is not None or self._before is not None:
            # Else its times are the job's.
            kind, seconds = self.kind, ended - self._begun
            kind.measure(told, self._timings, self._before, self._lag, seconds)
        if isinstance(error, Exception):
            self.kind.fail(told, error, ended)
        told.finish(ended)

    def succeed(self, timings: Timings, attempts: int) -> None:
        """The job has its value: end its span, and count it."""
        kind, told, parts = self.kind, self.told, timings.parts()
        seconds = timings.duration
        told.set_attributes(_attributes(self, "ok", attempts, parts, seconds))
        # The very end that the ledger has: its parts add up to the span.
        ended = self.submitted + seconds if kind.timed else kind.recorder.now()
        # First, while its trace can still be kept as an exemplar.
        kind.metrics.job(seconds, parts, "ok", None, told)
        told.finish(ended)

    def conclude(
        self,
        timings: Timings,
        outcome: SpanrunJobOutcome,
        attempts: int,
        error: BaseException | None,
        cancelled_by: CancelledBy | None,
    ) -> None:
        """The job has its outcome: end its span, and count it."""
        kind, told, parts = self.kind, self.told, timings.parts()
        seconds = timings.duration
        told.set_attributes(_attributes(self, outcome, attempts, parts, seconds))
        ended = self.submitted + seconds if kind.timed else kind.recorder.now()
        if cancelled_by is not None:
            told.set_attribute(semconv.SPANRUN_JOB_CANCELLED_BY, cancelled_by)
        kind.conclude(told, error, ended, seconds, parts, outcome)
        told.finish(ended)


def _attributes(
    unit: JobUnit,
    outcome: SpanrunJobOutcome,
    attempts: int,
    parts: tuple[float, ...],
    seconds: float,
) -> dict[str, Any]:
    """What the span of ``unit`` says in the end."""
    queue, limit, rate_limit, backoff, busy, loop_lag, service = parts
    largest = semconv.SPANRUN_JOB_PHASE_VALUES[parts.index(max(parts))]
    slow = {semconv.SPANRUN_JOB_SLOW: True}
    return {
        **(slow if unit.kind.slowness.is_slow(seconds) else {}),
        semconv.SPANRUN_JOB_LARGEST_PHASE: largest,
        semconv.SPANRUN_RUNNER_NAME: unit.kind.metrics.name,
        semconv.SPANRUN_RUN_ID: unit.kind.run_id,
        semconv.SPANRUN_JOB_OUTCOME: outcome,
        semconv.SPANRUN_JOB_ATTEMPTS: attempts,
        semconv.SPANRUN_JOB_INDEX: unit.index,
        semconv.SPANRUN_JOB_TIME_QUEUE: queue,
        semconv.SPANRUN_JOB_TIME_LIMIT: limit,
        semconv.SPANRUN_JOB_TIME_RATE_LIMIT: rate_limit,
        semconv.SPANRUN_JOB_TIME_BACKOFF: backoff,
        semconv.SPANRUN_JOB_TIME_BUSY: busy,
        semconv.SPANRUN_JOB_TIME_LOOP_LAG: loop_lag,
        semconv.SPANRUN_JOB_TIME_SERVICE: service,
    }
