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
from spanrun.telemetry.units.recorder import OpenSpan, Recorder
from spanrun.telemetry.units.unit import INTERNAL, Linked, fail

_RUNNER: Final = semconv.SPANRUN_RUNNER_NAME
_NUMBER: Final = semconv.SPANRUN_ATTEMPT_NUMBER
_KEYS: Final = (
    semconv.SPANRUN_RUNNER_NAME,
    semconv.SPANRUN_JOB_OUTCOME,
    semconv.SPANRUN_JOB_ATTEMPTS,
    semconv.SPANRUN_JOB_INDEX,
    semconv.SPANRUN_JOB_TIME_QUEUE,
    semconv.SPANRUN_JOB_TIME_LIMIT,
    semconv.SPANRUN_JOB_TIME_RATE_LIMIT,
    semconv.SPANRUN_JOB_TIME_BACKOFF,
    semconv.SPANRUN_JOB_TIME_BUSY,
    semconv.SPANRUN_JOB_TIME_LOOP_LAG,
    semconv.SPANRUN_JOB_TIME_SERVICE,
)


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
        """When it was submitted, on the runner's clock."""
        ...


class JobKind:
    """What the jobs of one run have in common, for their units.

    Args:
        recorder: Where their spans and metrics go.
        metrics: Of their runner.
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
        "timed",
    )

    def __init__(
        self,
        recorder: Recorder,
        metrics: RunnerMetrics,
        linked: Linked | None,
        *,
        attempts: bool,
        timed: bool,
    ) -> None:
        self.recorder: Final = recorder
        self.metrics: Final = metrics
        self.linked: Final = linked
        self.attempts: Final = attempts
        self.timed: Final = timed
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
            where,
            self.attempts,
            self.timed,
            cells,
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
            {_RUNNER: self.metrics.name, _NUMBER: number},
        )
        return told, told.inside(context, number)

    def fail(self, span: OpenSpan, error: Exception, ended: float) -> None:
        """Say on an attempt's span that ``error`` ended it."""
        fail(self.recorder, span, error, ended)


class JobUnit:
    """A job's span and metrics, and its attempts' spans.

    Its span becomes the current one, unless each attempt has a span: no code of the
    user's runs outside of those.

    Where spans are compiled, `spanrun._core.JobUnit` stands in its place. It does the
    same for a job that just succeeds, and calls the methods of this class for all else.

    Args:
        kind: What it has in common with the other jobs of its run.
        job: Which one it is.
        told: Its span, if it was opened already.
    """

    __slots__ = (
        "_attempt",
        "_context",
        "_inner",
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
        self.submitted = begun = job.timings.submitted if kind.timed else recorder.now()
        self._attempt: OpenSpan | None = None
        attributes = None if key is None else {semconv.SPANRUN_JOB_KEY: text_of(key)}
        name = kind.job_name
        outside = current() if linked is None else linked.context
        if told is not None:
            pass
        elif linked is None:
            told = recorder.open(name, INTERNAL, outside, begun, attributes)
        else:
            links, run = linked.links, linked.span
            told = recorder.open(
                name, INTERNAL, outside, begun, attributes, links, anchored=run
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
        kind = self.kind
        begun = kind.recorder.now()
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
        if isinstance(error, Exception):
            fail(recorder, told, error, ended)
        told.finish(ended)

    def succeed(self, timings: Timings, attempts: int) -> None:
        """The job has its value: end its span, and count it."""
        kind, told, parts = self.kind, self.told, timings.parts()
        seconds = timings.duration
        told.set_attributes(
            dict(zip(_KEYS, (kind.metrics.name, "ok", attempts, self.index, *parts)))  # noqa: B905 -- one for each
        )
        # The very end that the ledger has: its parts add up to the span.
        told.finish(self.submitted + seconds if kind.timed else kind.recorder.now())
        kind.metrics.job(seconds, parts, "ok", None, told)

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
        values = (kind.metrics.name, outcome, attempts, self.index, *parts)
        told.set_attributes(dict(zip(_KEYS, values, strict=True)))
        recorder = kind.recorder
        ended = self.submitted + seconds if kind.timed else recorder.now()
        error_type = None
        if cancelled_by is not None:
            told.set_attribute(semconv.SPANRUN_JOB_CANCELLED_BY, cancelled_by)
        if error is not None and outcome != "cancelled":
            stack = not kind.attempts  # else the attempt has told it
            error_type = fail(recorder, told, error, ended, stack=stack)
        told.finish(ended)
        kind.metrics.job(seconds, parts, outcome, error_type, told)
