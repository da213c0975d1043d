"""`JobUnit`: a job's span and metrics, and its attempts' spans."""

from __future__ import annotations

from typing import Any, Final, Protocol

from spanrun import semconv
from spanrun.outcome import CancelledBy, Timings
from spanrun.semconv import SpanrunJobOutcome
from spanrun.telemetry.current import current, make_current
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
    def submitted(self) -> float:
        """When, on the runner's clock."""
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

    def open(self, job: Submitted) -> JobUnit:
        """Open the unit of ``job``, and make its span the current one."""
        return JobUnit(self, job)


class JobUnit:
    """A job's span and metrics, and its attempts' spans."""

    __slots__ = (
        "_attempt",
        "_context",
        "_index",
        "_inner",
        "_kind",
        "_submitted",
        "told",
    )

    def __init__(self, kind: JobKind, job: Submitted) -> None:
        recorder, linked, key = kind.recorder, kind.linked, job.key
        self._kind = kind
        self._index = job.index
        self._submitted = begun = job.submitted if kind.timed else recorder.now()
        self._attempt: OpenSpan | None = None
        attributes = None if key is None else {semconv.SPANRUN_JOB_KEY: text_of(key)}
        name = kind.job_name
        if linked is None:
            outside = current()
            told = recorder.open(name, INTERNAL, outside, begun, attributes)
        else:
            outside, links, run = linked.context, linked.links, linked.span
            told = recorder.open(
                name, INTERNAL, outside, begun, attributes, links, anchored=run
            )
        self.told: OpenSpan = told
        self._context = context = told.inside(outside)
        make_current(context)

    @property
    def trace_id(self) -> int:
        """The trace that its spans belong to."""
        return self.told.trace_id

    def event(self, name: str, **attributes: Any) -> None:
        """Add an event to the job's span, at this moment."""
        told = self.told
        told.add_event(name, attributes, told.wall_ns(self._kind.recorder.now()))

    def retried(self, error: Exception, delay: float) -> None:
        """Tell that another attempt follows ``error`` after ``delay`` seconds."""
        error_type = self._kind.recorder.errors.name(error)
        self._kind.metrics.retry(error_type)
        told = {semconv.ERROR_TYPE: error_type, semconv.SPANRUN_JOB_RETRY_DELAY: delay}
        self.event(semconv.EVENT_SPANRUN_JOB_RETRY, **told)

    def hedged(self, after: float) -> None:
        """Tell that a second call was sent, ``after`` seconds of waiting."""
        self.event(
            semconv.EVENT_SPANRUN_JOB_HEDGE, **{semconv.SPANRUN_JOB_HEDGE_AFTER: after}
        )

    def begin_attempt(self, number: int) -> None:
        """Open the span of an attempt, from 1, and make it the current one."""
        kind = self._kind
        recorder, context = kind.recorder, self._context
        self._attempt = told = recorder.open(
            kind.attempt_name,
            INTERNAL,
            context,
            recorder.now(),
            {_RUNNER: kind.metrics.name, _NUMBER: number},
        )
        self._inner = inner = told.inside(context, number)
        make_current(inner)

    def end_attempt(
        self,
        number: int,  # noqa: ARG002 -- it is the one that is open
        error: BaseException | None,
    ) -> None:
        """End the attempt's span, by ``error`` if there is one.

        Of one that was abandoned its task says so once more, when it ends at last.
        """
        told, self._attempt = self._attempt, None
        if told is None:
            return
        if current() is self._inner:
            make_current(self._context)
        recorder = self._kind.recorder
        ended = recorder.now()
        if isinstance(error, Exception):
            fail(recorder, told, error, ended)
        told.finish(ended)

    def succeed(self, timings: Timings, attempts: int) -> None:
        """The job has its value: end its span, and count it."""
        kind, told, parts = self._kind, self.told, timings.parts()
        seconds = timings.duration
        told.set_attributes(
            dict(zip(_KEYS, (kind.metrics.name, "ok", attempts, self._index, *parts)))  # noqa: B905 -- one for each
        )
        # The very end that the ledger has: its parts add up to the span.
        told.finish(self._submitted + seconds if kind.timed else kind.recorder.now())
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
        kind, told, parts = self._kind, self.told, timings.parts()
        seconds = timings.duration
        values = (kind.metrics.name, outcome, attempts, self._index, *parts)
        told.set_attributes(dict(zip(_KEYS, values, strict=True)))
        recorder = kind.recorder
        ended = self._submitted + seconds if kind.timed else recorder.now()
        error_type = None
        if cancelled_by is not None:
            told.set_attribute(semconv.SPANRUN_JOB_CANCELLED_BY, cancelled_by)
        if error is not None and outcome != "cancelled":
            stack = not kind.attempts  # else the attempt has told it
            error_type = fail(recorder, told, error, ended, stack=stack)
        told.finish(ended)
        kind.metrics.job(seconds, parts, outcome, error_type, told)
