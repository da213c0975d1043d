"""`run_job`: the one way of every job, from its task's first step to its outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from copy import copy
from types import CoroutineType
from typing import Any, Final, Protocol

from spanrun.errors import DeadlineExceeded, JobCancelled
from spanrun.loop.lag import LoopLag, Mark
from spanrun.outcome import CancelledBy, Err, Timings
from spanrun.policies.base import Cancels, Waits
from spanrun.runner.drive import drive
from spanrun.semconv import (
    EVENT_SPANRUN_JOB_HEDGE_ENDED,
    EVENT_SPANRUN_JOB_HELD,
    EVENT_SPANRUN_JOB_PAUSED,
    EVENT_SPANRUN_JOB_REFUSED,
    METRIC_SPANRUN_HEDGE_ENDED,
    METRIC_SPANRUN_HEDGE_SENT,
    METRIC_SPANRUN_JOB_REFUSALS,
    SPANRUN_HEDGE_RESULT,
    SPANRUN_JOB_PAUSE_DURATION,
    SPANRUN_REFUSAL_REASON,
    Metric,
    SpanrunHedgeResult,
    SpanrunJobOutcome,
    SpanrunRefusalReason,
)
from spanrun.speed import FAST, CallStep
from spanrun.telemetry.metrics.instruments import RunnerMetrics
from spanrun.telemetry.observe import EventKind
from spanrun.telemetry.units.job import JobUnit
from spanrun.text import line_of

_CANCELLED: Final[dict[CancelledBy, str]] = {
    "self": "the job cancelled itself, or something in it did",
    "run": "the job was cancelled: its run was left, or a sibling failed",
    "timeout": "the job was cancelled by a timeout",
    "signal": "the job was cancelled by a signal",
}
_COROUTINE: Final[type] = CoroutineType


class Owner(Protocol):
    """What a job tells the run that it belongs to."""

    @property
    def label(self) -> str:
        """How a person would name it."""
        ...

    @property
    def metrics(self) -> RunnerMetrics | None:
        """The runner's; None without telemetry."""
        ...

    @property
    def curious(self) -> bool:
        """Whether anybody wants to hear of events."""
        ...

    def backing_off(self, change: int) -> None:
        """One job more, or less, waits for another attempt."""
        ...

    def happened(
        self,
        kind: EventKind,
        *,
        index: int | None = None,
        stack: str | None = None,
        **value: object,
    ) -> None:
        """Tell the observers of an event of the job at ``index``."""
        ...

    def owner(self, job: Job) -> asyncio.Task[Any] | None:
        """The task that awaits ``job``."""
        ...

    def is_nested(self, job: Job) -> bool:
        """Whether that task is in a job, of whatever runner."""
        ...

    @property
    def active(self) -> Collection[Job]:
        """Its jobs without an outcome."""
        ...

    @property
    def cancels(self) -> Cancels:
        """By what its jobs are cancelled."""
        ...

    def abandon(self, job: Job, by: CancelledBy) -> None:
        """Give ``job`` its outcome, though it has not ended."""
        ...


class Abandoned(asyncio.CancelledError):
    """Stands for the end of a job that was cancelled and has not ended."""


class Job:
    """One item on its way through a runner; the layers' view of it is `Work`.

    Attributes:
        run: The run that it belongs to.
        index: Its place among the items of its run.
        item: What its function is called with.
        call: The user's function.
        mark: The event loop's mark at that time: what blocked it until then.
        key: The user's name for it.
        priority: The higher, the earlier it gets a slot.
        timings: When it was submitted, and where its time goes.
        attempts: How many have begun.
        cancelled_by: Who asked for its cancellation, when it was us.
        task: The task it runs in, once it was admitted.
        unit: Its span and metrics; None without telemetry.
        waits: Where it waits; not there as long as it has waited nowhere.
    """

    __slots__ = (
        "attempts",
        "call",
        "cancelled_by",
        "index",
        "item",
        "key",
        "mark",
        "priority",
        "run",
        "task",
        "timings",
        "unit",
        "waits",
    )
    waits: Waits | None

    def __init__(
        self,
        run: Owner,
        index: int,
        item: Any,
        call: Callable[[Any], Awaitable[Any]],
        submitted: float,
        mark: Mark,
        key: Any,
        priority: float,
    ) -> None:
        self.run = run
        self.index = index
        self.item = item
        self.call = call
        self.mark = mark
        self.key = key
        self.priority = priority
        self.timings = timings = Timings()
        timings.submitted = submitted
        self.attempts = 0
        self.cancelled_by: CancelledBy | None = None
        self.task: asyncio.Task[None] | None = None
        self.unit: JobUnit | None = None

    @property
    def label(self) -> str:
        """How a person would name it."""
        return f"{which(self)} of {self.run.label}"

    @property
    def metrics(self) -> RunnerMetrics | None:
        """Its runner's; None without telemetry."""
        return self.run.metrics

    def happened(
        self, kind: EventKind, *, stack: str | None = None, **value: object
    ) -> None:
        """Tell the observers of an event of it."""
        self.run.happened(kind, index=self.index, stack=stack, **value)

    def backing_off(self, error: Exception, delay: float) -> None:
        """Another attempt follows ``error`` after ``delay`` seconds.

        But no attempt of a job that was abandoned meanwhile.
        """
        if self not in self.run.active:
            raise error
        if self.unit is not None:
            self.unit.retried(error, delay)
        if self.run.curious:
            kind = type(error).__name__
            self.happened("retry", attempt=self.attempts, error=kind, delay=delay)
        self.run.backing_off(1)

    def back(self) -> None:
        """The wait that `backing_off` announced is over."""
        self.run.backing_off(-1)

    def hedged(self, after: float) -> None:
        """A second call was sent, ``after`` seconds of waiting for the first."""
        if self.unit is not None:
            self.unit.hedged(after)
        self._count(METRIC_SPANRUN_HEDGE_SENT)
        if self.run.curious:
            self.happened("hedge", after=after)

    def hedge_ended(self, result: SpanrunHedgeResult) -> None:
        """A second call is over."""
        self._say(EVENT_SPANRUN_JOB_HEDGE_ENDED, **{SPANRUN_HEDGE_RESULT: result})
        self._count(METRIC_SPANRUN_HEDGE_ENDED, result)

    def refused(self, reason: SpanrunRefusalReason) -> None:
        """A policy refuses it something."""
        self._say(EVENT_SPANRUN_JOB_REFUSED, **{SPANRUN_REFUSAL_REASON: reason})
        self._count(METRIC_SPANRUN_JOB_REFUSALS, reason)

    def paused(self, seconds: float) -> None:
        """It has waited so long, as its service had asked for a pause."""
        self._say(EVENT_SPANRUN_JOB_PAUSED, **{SPANRUN_JOB_PAUSE_DURATION: seconds})

    def held(self) -> None:
        """It begins to wait, as the service is gone."""
        self._say(EVENT_SPANRUN_JOB_HELD)

    def _say(self, event: str, **attributes: str | float) -> None:
        if self.unit is not None:
            self.unit.event(event, **attributes)

    def _count(self, metric: Metric, value: str = "") -> None:
        if self.metrics is not None:
            self.metrics.policies.count(metric, value)

    def cancel(self, by: CancelledBy) -> None:
        """Ask for the job's cancellation, in the name of ``by``."""
        if self.cancelled_by is None:
            self.cancelled_by = by
        if self.task is not None:
            self.run.cancels.cancel(self.task, self, by, ends=True)

    def abandon(self, by: CancelledBy) -> None:
        """Give it up: it was cancelled in the name of ``by``, and has not ended."""
        self.run.abandon(self, by)

    def given_up(self, now: float, by: CancelledBy) -> Job:
        """The job as it is now: what its task still books and tells is left out."""
        given_up = copy(self)
        given_up.timings = copy(self.timings)
        given_up.timings.duration = now - self.timings.submitted
        given_up.cancelled_by = self.cancelled_by or by
        self.unit = None
        return given_up


def call_step(
    lag: LoopLag, now: Callable[[], float]
) -> Callable[[Job], Awaitable[Any]]:
    """The innermost step: call the user's function, and time it on the loop.

    It isn't timed while no run on the loop shows anybody its times.
    """
    if FAST:
        return CallStep(lag, now, _await)

    def call(job: Job) -> Awaitable[Any]:
        coroutine: Any = job.call(job.item)
        if type(coroutine) is not _COROUTINE:
            coroutine = _await(coroutine, job.call)
        return drive(coroutine, job, lag, now) if lag.shown else coroutine

    return call


async def _await(awaitable: Any, call: Callable[..., Any]) -> Any:
    # A generator is awaitable by its flags alone, and nobody means that here.
    if not hasattr(awaitable, "__await__"):
        name = getattr(call, "__qualname__", repr(call))
        raise TypeError(
            f"{name} returned {type(awaitable).__name__}, which can't be awaited: "
            "write it with `async def`, or call it through asyncio.to_thread"
        )
    return await awaitable


def failure_of(
    job: Job, error: BaseException
) -> tuple[Err, CancelledBy | None, BaseException | None]:
    """Say how ``job`` failed, by whom if cancelled, and what must not be held back.

    The last part is an exception that isn't an outcome but the program's end:
    ``KeyboardInterrupt``, ``SystemExit`` and the like.
    """
    trace_id = 0 if job.unit is None else job.unit.trace_id
    attempts = max(job.attempts, 1)
    ended: SpanrunJobOutcome = "failed"
    by: CancelledBy | None = None
    fatal: BaseException | None = None
    shown: Exception
    if isinstance(error, asyncio.CancelledError):
        ended, by = "cancelled", job.cancelled_by or "self"
        text = _CANCELLED[by]
        if isinstance(error, Abandoned):
            text += ", and abandoned as it had not ended"
        shown = JobCancelled(text)
        shown.__cause__ = error
    elif isinstance(error, Exception):
        shown = error
        if isinstance(error, DeadlineExceeded):
            ended, by = "timed_out", "timeout"
    else:
        fatal = error
        shown = JobCancelled(f"the job ended the program: {type(error).__name__}")
    failed = Err(job.index, shown, job.timings, attempts, job.key, trace_id, ended)
    return failed, by, fatal


def which(job: Job) -> str:
    """The job by its key or, where it has none, by its place."""
    return f"job {job.index}" if job.key is None else f"job {line_of(job.key)}"


def annotate(error: Exception, job: Job, runner: str, attempts: int | None) -> None:
    """Add to ``error`` which job of ``runner`` raised it, unless it says so already."""
    try:
        notes = getattr(error, "__notes__", ())
        ours = f" of {runner!r}" if notes else ""
        if not notes or not any(ours in text for text in notes):
            error.add_note(note(job, runner, attempts))
    except Exception:  # noqa: BLE001 -- an odd class of error or key: no note then
        return


def note(job: Job, runner: str, attempts: int | None) -> str:
    """What is added to an error's traceback: which job, attempt and waits."""
    timings = job.timings
    text = f"{which(job)} of {runner!r}"
    if attempts is not None:  # those that an outage cost come on top
        of = f"/{attempts}" if job.attempts <= attempts else ""
        text += f" · attempt {job.attempts}{of}"
    for why, seconds in (
        ("for a slot", timings.queue + timings.limit),
        ("for the rate limit", timings.rate_limit),
        ("backing off", timings.backoff),
    ):
        if seconds > 0:
            text += f" · waited {seconds * 1e3:.0f} ms {why}"
    return text
