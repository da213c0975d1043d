"""`Run`: items from a source become jobs, and jobs become outcomes."""

from __future__ import annotations

import asyncio
import contextvars
import secrets
from collections.abc import AsyncIterable, Awaitable, Callable, Coroutine, Iterable
from typing import Any, Final, Literal, TypeAlias

from opentelemetry import context as otel_context

from spanrun import semconv
from spanrun.loop.watchdog import guilty_in
from spanrun.outcome import CancelledBy, Ok, Outcome
from spanrun.runner.core import Core, in_job
from spanrun.runner.job import Abandoned, Job, annotate, failure_of, which
from spanrun.runner.siblings import Sibling, attach
from spanrun.runner.tasks import FIRST_STEP, discard, task_maker
from spanrun.semconv import SpanrunJobOutcome
from spanrun.speed import filled
from spanrun.telemetry.logs.place import placed
from spanrun.telemetry.metrics.instruments import RunnerMetrics
from spanrun.telemetry.observe import EventKind, RunInfo
from spanrun.telemetry.units.job import JobKind, JobUnit
from spanrun.telemetry.units.recorder import Recorder
from spanrun.telemetry.units.run import RunUnit
from spanrun.telemetry.units.unit import Linked

Call: TypeAlias = Callable[[Any], Awaitable[Any]]
Source: TypeAlias = Iterable[Any] | AsyncIterable[Any]
Trace: TypeAlias = Literal["auto", "child", "linked"]

MAX_CHILDREN: Final = 1_000
"""With ``trace="auto"``, more jobs than this get a trace each, linked to the run's."""


class Run:
    """The jobs of one `map` or `stream`, or all the single calls of a runner.

    Subclasses say what becomes of an outcome, in `deliver`. One task is made
    for each admitted job, in its own copy of the context that the run was
    opened in.

    Attributes:
        active: The admitted jobs without an outcome yet.
        counts: Outcomes so far.
        observers: Who hears of it.
        curious: Any of them wants to hear of events.
        closing: No more jobs are admitted.
        unit: Its span; None without telemetry, and for single calls.
        fatal: What isn't an outcome, and comes out of whoever waits.
        hidden: Errors of jobs that were cancelled, which come out of nowhere.
        open_unit: Opens a job's unit, in the job's own context; None without telemetry.
        nested: A job opened it, and waits for it.
    """

    awaited = False
    """Its owner does nothing else while it runs."""

    shows_times = True
    """Outcomes, with their times in them, are given to somebody."""

    hides = True
    """The error of a job that is cancelled has nobody who would see it."""

    links_jobs = True
    """In linked mode: each job begins a trace, not each batch."""

    def __init__(
        self, core: Core, *, total: int | None, trace: Trace, progress: bool = False
    ) -> None:
        self.core: Final = core
        self.now: Final = core.now
        self.loop: Final = asyncio.get_running_loop()
        self._new_task: Final = task_maker(self.loop)
        self._lag: Final = core.lag
        self.cancels: Final = core.cancels
        self.observers: Final = core.watching(progress=progress)
        self._observed: Final = bool(self.observers)
        self.curious = self.observers.curious
        self.active: Final[set[Job]] = set()
        self.counts: Final[dict[SpanrunJobOutcome, int]] = dict.fromkeys(
            semconv.SPANRUN_JOB_OUTCOME_VALUES, 0
        )
        self.closing = self._shown = False
        self.fatal: BaseException | None = None
        self.hidden: Final[list[Sibling]] = []
        self._submitted = 0
        self._total: Final = total
        self._idle: Final[list[asyncio.Future[None]]] = []
        self._outside: Final = contextvars.copy_context()
        self._inside: Final = self._outside.copy()
        self._inside.run(in_job.set, True)  # noqa: FBT003 -- a value
        self.nested: Final = in_job.get()
        self.unit: RunUnit | None = None
        self._owner: asyncio.Task[Any] | None = None
        self._linked: Linked | None = None
        self.open_unit: Callable[[Any], JobUnit] | None = None
        self._trace: Final = trace
        self._task_name: Final = f"spanrun {core.job_name}"
        self.label: Final = f"runner {core.name!r}"
        self.info: Final = RunInfo(secrets.token_hex(8), core.name, total, 0, 0)
        self.info.policies = core.policies
        self.info.items, self.info.total_items = self.counts, total

    def open(self, *, span: bool = True) -> None:
        """Begin: open the run's unit, and tell the observers."""
        core = self.core
        core.runs.add(self)
        self._shown = bool(core.recorder or self._observed or self.shows_times)
        self._lag.shown += self._shown
        self._owner = asyncio.current_task()
        if core.recorder is not None:
            if span:
                self._open_unit(core.recorder)
            self.open_unit = self._opener(core.recorder)
        self.info.begin(self.now(), core.clock.wall_ns(0.0))
        if self._observed:
            self.observers.run_opened(self.info)

    def _open_unit(self, recorder: Recorder) -> None:
        total = self._total
        linked = self._trace == "linked" or (
            self._trace == "auto" and (total is None or total > MAX_CHILDREN)
        )
        attributes: dict[str, Any] = {
            semconv.SPANRUN_RUN_TRACE: "linked" if linked else "child",
            semconv.SPANRUN_RUN_POLICIES: self.core.policies,
        }
        if total is not None:
            attributes[semconv.SPANRUN_RUN_TOTAL] = total
        unit = RunUnit(recorder, self.core.name, self.info.id, attributes)
        self.unit = unit
        self.info.trace_id = unit.trace_id
        self._inside.run(otel_context.attach, unit.context)
        self._linked = unit.linked() if linked else None

    def _opener(self, recorder: Recorder) -> Callable[[Any], JobUnit]:
        """Return what opens the unit of one of its jobs."""
        core = self.core
        assert core.metrics is not None  # noqa: S101 -- comes with the recorder
        kind = JobKind(
            recorder,
            core.metrics,
            self.info.id,
            self._linked if self.links_jobs else None,
            attempts=core.attempts is not None,
            # Where the runner has a clock of its own, spans keep the recorder's.
            timed=core.clock is recorder.clock,
        )
        return placed(kind.open, self.info)

    def happened(self, kind: EventKind, **told: Any) -> None:
        """Tell the observers of an event: `RunInfo.event` says what may be told."""
        if self.curious:
            self.observers.happened(self.info.event(self.now(), kind, **told))

    def launch(
        self,
        item: Any,
        call: Call,
        key: Any = None,
        priority: float = 0,
        context: contextvars.Context | None = None,
    ) -> Job:
        """Make the next job, and start it in a task of its own."""
        index = self._submitted
        self._submitted = index + 1
        new_task, loop, now = self._new_task, self.loop, self.now
        job = Job(self, index, item, call, now(), self._lag.mark, key, priority)
        if context is None:
            context = self._inside.copy()
        if self.open_unit is not None:
            # Here, where another job has just ended, and not in the job's first step:
            # then many at once make new objects, and the garbage collector comes.
            job.unit = context.run(self.open_unit, job)
        self.active.add(job)
        coroutine = run_job(self, job)
        try:
            coroutine.send(None)  # as `start` does
            name = self._task_name
            job.task = new_task(coroutine, loop=loop, name=name, context=context)
        except BaseException as error:
            self._not_started(job, coroutine, error)
            raise
        return job

    def _not_started(
        self, job: Job, coroutine: Coroutine[Any, Any, None], error: BaseException
    ) -> None:
        """There is no task to end ``job``: near the recursion limit all may fail."""
        if job in self.active:
            self.active.remove(job)
            coroutine.close()
            self._conclude(job, error)

    def done(self, job: Job, value: Any, error: BaseException | None) -> None:
        """``job`` ended: its outcome is told to all, and the next one admitted."""
        try:
            self.active.remove(job)
        except KeyError:
            self.cancels.late(job, error)  # it was abandoned
            return
        try:
            if error is None:
                self.counts["ok"] += 1
                if job.unit is not None:
                    job.unit.succeed(job.timings, job.attempts or 1)
                if self._observed:
                    outcome = self._ok(job, value)
                    self.observers.job_ended(self.info, outcome)
                    self.deliver(job, outcome)
                else:
                    self.take(job, value)
            else:
                self._conclude(job, error)
        except BaseException as broken:  # noqa: BLE001 -- raised by who waits
            self._fail(broken)
        try:
            self.refill()
        except BaseException as broken:  # noqa: BLE001 -- the same
            self._fail(broken)
        if not self.active:
            self.settle()

    def abandon(self, job: Job, by: CancelledBy) -> None:
        """Give ``job`` its outcome: it was cancelled by ``by``, and has not ended."""
        if job not in self.active:
            return
        error = Abandoned()
        if job.unit is not None and job.attempts and self.core.attempts is not None:
            job.unit.end_attempt(job.attempts, error)
        given_up = job.given_up(self.now(), by)
        self.active.remove(job)
        self.active.add(given_up)
        self.done(given_up, None, error)

    def _conclude(self, job: Job, error: BaseException) -> None:
        core = self.core
        if isinstance(error, asyncio.CancelledError) and self._given_up(job):
            job.cancelled_by = "run"
        outcome, by, fatal = failure_of(job, error)
        ended, shown = outcome.outcome, outcome.error
        if isinstance(error, Exception):
            annotate(error, job, core.name, core.attempts)
        if self.hides and fatal is None and job.cancelled_by and ended != "cancelled":
            self.hidden.append(Sibling(which(job), shown))
        discard(job.item)  # a coroutine that never ran
        if job.unit is not None:
            job.unit.conclude(job.timings, ended, outcome.attempts, shown, by)
        self.counts[ended] += 1
        if self._observed:
            self.observers.job_ended(self.info, outcome)
        if fatal is not None:
            self._fail(fatal)
        self.deliver(job, outcome)
        # The error's traceback keeps the job, which must not keep what only it had.
        job.task = job.unit = None

    def owner(self, job: Job) -> asyncio.Task[Any] | None:  # noqa: ARG002 -- of calls
        """The task that awaits ``job``."""
        return self._owner

    def is_nested(self, job: Job) -> bool:  # noqa: ARG002 -- of calls
        """Whether the task that awaits ``job`` is in a job itself."""
        return self.nested

    def _given_up(self, job: Job) -> bool:
        """Whether ``job`` was cancelled beside the task that awaits it.

        That is how a loop ends that is closed: it cancels all tasks at once.
        """
        task = job.task
        if job.cancelled_by is not None or task is None or not task.cancelling():
            return False
        owner = self.owner(job)
        return owner is not None and (owner.done() or owner.cancelling() > 0)

    def _fail(self, fatal: BaseException) -> None:
        """End the run by what isn't an outcome: whoever waits for it raises that."""
        if self.fatal is None:
            self.fatal = fatal
            self.stop("run")
        else:
            attach(self.fatal, [Sibling("another job", fatal)], self.core.name)

    @property
    def metrics(self) -> RunnerMetrics | None:
        """The runner's; None without telemetry."""
        return self.core.metrics

    def __len__(self) -> int:
        """How many jobs are active."""
        return len(self.active)

    @property
    def over(self) -> bool:
        """Whether nothing of the run is left to wait for."""
        return not self.active

    def settle(self) -> None:
        """Wake who waits for the end, if this is it."""
        if self._idle and self.over:
            for waiter in self._idle:
                if not waiter.done():
                    waiter.set_result(None)

    def take(self, job: Job, value: Any) -> None:
        """What becomes of a value, where nobody else wants to see the outcome."""
        self.deliver(job, self._ok(job, value))

    def _ok(self, job: Job, value: Any) -> Ok[Any]:
        trace_id = 0 if job.unit is None else job.unit.trace_id
        tries, times = job.attempts or 1, job.timings
        kind: type[Ok[Any]] = Ok
        return filled(kind, job.index, value, times, tries, job.key, trace_id)

    def deliver(self, job: Job, outcome: Outcome[Any]) -> None:
        """What becomes of an outcome."""
        raise NotImplementedError

    def backing_off(self, change: int) -> None:
        """One job more, or less, waits for another attempt."""
        self.core.backing_off += change

    def refill(self) -> None:
        """Admit what there is room for now."""

    def drain(self) -> bool:
        """Admit no more jobs; whether there is something to wait for."""
        self.closing = True
        return bool(self.active)

    def stop(self, by: CancelledBy) -> None:
        """Admit no more jobs, and cancel those that run."""
        self.closing = True
        for job in tuple(self.active):
            if job.cancelled_by is None:
                job.cancel(by)

    async def idle(self) -> None:
        """Wait until the run is over. Cancelling this stops the jobs first.

        A cancellation that arrives while the jobs end is not lost: it is raised
        when they have ended, as nothing may outlive the run.
        """
        cancelled: asyncio.CancelledError | None = None
        while not self.over:
            waiter = self.loop.create_future()
            self._idle.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError as error:
                cancelled = error
                self.stop("run")
            finally:
                self._idle.remove(waiter)
        if cancelled is not None:
            raise cancelled.with_traceback(None)

    def close(self, error: BaseException | None = None) -> None:
        """End: close the run's unit, and tell the observers."""
        core = self.core
        core.runs.discard(self)
        self._lag.shown -= self._shown
        self.info.ended_ns = self.info.wall_ns(self.now())
        if self.unit is not None:
            self.unit.end(error, self.counts)
        if self._observed:
            self.observers.run_closed(self.info)


@guilty_in("run")
async def run_job(run: Run, job: Job) -> None:
    """Take ``job`` through the runner's layers, and hand its outcome to ``run``.

    Every job passes here, in the task that is its own.
    """
    chain, lag, now, timings = run.core.chain, run.core.lag, run.now, job.timings
    value: Any = None
    error: BaseException | None = None
    try:
        try:
            await FIRST_STEP
        finally:  # also when it was cancelled before: every job is counted
            timings.begin(now())
            if lag.mark is not job.mark:
                timings.queue -= lag.held_up(timings, job.mark, timings.queue)
        value = await chain(job)
    except BaseException as raised:  # noqa: BLE001 -- `done` says what becomes of it
        error = raised
    timings.end(now())
    try:
        run.done(job, value, error)
        if isinstance(error, GeneratorExit):
            raise error
    finally:
        error = None  # its traceback holds this frame: don't make a cycle of them
