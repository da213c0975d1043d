"""`JobUnit`: a job's span and metrics, and its attempts' spans."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Protocol

from opentelemetry.context import Context

from spanrun import semconv
from spanrun.outcome import CancelledBy, Timings
from spanrun.semconv import SpanrunJobOutcome
from spanrun.telemetry.current import ATTEMPT, current, leave, make_current
from spanrun.telemetry.metrics.instruments import RunnerMetrics
from spanrun.telemetry.redact import text_of
from spanrun.telemetry.units.recorder import OpenSpan, Recorder
from spanrun.telemetry.units.unit import INTERNAL, Linked, fail, inside

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


@dataclass(frozen=True, slots=True)
class JobKind:
    """What the jobs of one run have in common, for their units.

    Attributes:
        recorder: Where their spans and metrics go.
        metrics: Of their runner.
        linked: Where they begin, in linked mode; else below the current span.
        attempts: Whether each attempt has a span.
        timed: Whether they are timed by the recorder's clock.
    """

    recorder: Recorder
    metrics: RunnerMetrics
    linked: Linked | None
    attempts: bool
    timed: bool

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
        self._kind = kind
        self._index = job.index
        self._submitted = job.submitted if kind.timed else kind.recorder.now()
        self._attempt: OpenSpan | None = None
        key, linked = job.key, kind.linked
        attributes = None if key is None else {semconv.SPANRUN_JOB_KEY: text_of(key)}
        recorder, name = kind.recorder, f"job {kind.metrics.name}"
        if linked is None:
            outside = current()
            told = recorder.open(name, INTERNAL, outside, self._submitted, attributes)
        else:
            outside = linked.context
            told = recorder.open(
                name,
                INTERNAL,
                outside,
                self._submitted,
                attributes,
                linked.links,
                anchored=linked.span,
            )
        self.told: OpenSpan = told
        self._context: Context = inside(outside, told)
        make_current(self._context)

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
        recorder, name = self._kind.recorder, self._kind.metrics.name
        self._attempt = told = recorder.open(
            f"attempt {name}",
            INTERNAL,
            self._context,
            recorder.now(),
            {
                semconv.SPANRUN_RUNNER_NAME: name,
                semconv.SPANRUN_ATTEMPT_NUMBER: number,
            },
        )
        self._inner: Context = inside(self._context, told, {ATTEMPT: number})
        make_current(self._inner)

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
        leave(self._inner, self._context)
        recorder = self._kind.recorder
        ended = recorder.now()
        if isinstance(error, Exception):
            fail(recorder, told, error, ended)
        told.finish(ended)

    def succeed(self, timings: Timings, attempts: int) -> None:
        """The job has its value: end its span, and count it."""
        self.conclude(timings, "ok", attempts, None, None)

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
        # The very end that the ledger has: its parts add up to the span.
        ended = self._submitted + seconds
        if not kind.timed:
            ended = kind.recorder.now()
        error_type = None
        if cancelled_by is not None:
            told.set_attribute(semconv.SPANRUN_JOB_CANCELLED_BY, cancelled_by)
        if error is not None and outcome != "cancelled":
            stack = not kind.attempts
            error_type = fail(kind.recorder, told, error, ended, stack=stack)
        told.finish(ended)
        kind.metrics.job(seconds, parts, outcome, error_type, told)
