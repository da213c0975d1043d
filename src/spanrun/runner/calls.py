"""`Calls`: the single jobs of a runner, each awaited by who called for it."""

from __future__ import annotations

import asyncio
import contextvars
from dataclasses import dataclass
from typing import Any

from spanrun.errors import JobCancelled, ShuttingDown
from spanrun.outcome import Err, Ok, Outcome
from spanrun.runner.core import Core, in_job
from spanrun.runner.job import Job, which
from spanrun.runner.run import Call, Run
from spanrun.runner.siblings import Sibling, attach
from spanrun.semconv import METRIC_SPANRUN_JOB_REFUSALS


@dataclass(slots=True, eq=False)
class _Caller:
    """Who awaits a job: in which task, in a job or not, on what; and if it is over."""

    waiter: asyncio.Future[Outcome[Any]]
    task: asyncio.Task[Any] | None
    nested: bool
    over: bool = False


class Calls(Run):
    """All calls of an open runner.

    They have no run span: each job is a child of its caller's own span.
    """

    awaited = True
    hides = False
    shows_times = False

    def __init__(self, core: Core) -> None:
        super().__init__(core, total=None, trace="child")
        self.info.calls = True
        self._begun = False

    async def call(self, call: Call, priority: float = 0) -> Any:
        """Run one job and give its value, or raise what it raised."""
        nested = in_job.get()
        if self.closing or (self.core.draining and not nested):
            self.core.count(METRIC_SPANRUN_JOB_REFUSALS, "shutdown")
            raise ShuttingDown(f"Runner {self.core.name!r} is closing")
        if not self._begun:
            self._begun = True
            self.open(span=False)
        caller = _Caller(self.loop.create_future(), asyncio.current_task(), nested)
        context = contextvars.copy_context()
        context.run(in_job.set, True)  # noqa: FBT003 -- a value
        job = self.launch(caller, call, priority=priority, context=context)
        outcome: Outcome[Any] | None = None
        cancelled: asyncio.CancelledError | None = None
        while outcome is None:
            try:
                outcome = await caller.waiter
            except asyncio.CancelledError as error:
                if caller.over:  # it has ended in the same moment
                    if self.fatal is not None:
                        raise self.fatal from None
                    raise
                cancelled = error
                job.cancel("run")
                caller.waiter = self.loop.create_future()
        if self.fatal is not None:
            raise self._fatal_of(self.fatal, job, outcome)
        if isinstance(outcome, Ok):
            return outcome.value
        if cancelled is not None and outcome.outcome == "cancelled":
            raise cancelled
        raise outcome.error

    def _fatal_of(
        self, fatal: BaseException, job: Job, outcome: Outcome[Any]
    ) -> BaseException:
        """``fatal``, which comes out in the place of the job's own error."""
        if isinstance(outcome, Err) and not isinstance(outcome.error, JobCancelled):
            attach(fatal, [Sibling(which(job), outcome.error)], self.core.name)
        return fatal

    def owner(self, job: Job) -> asyncio.Task[Any] | None:
        """The task that awaits ``job``."""
        caller: _Caller = job.item
        return caller.task

    def is_nested(self, job: Job) -> bool:
        """Whether the task that awaits ``job`` is in a job itself."""
        caller: _Caller = job.item
        return caller.nested

    def deliver(self, job: Job, outcome: Outcome[Any]) -> None:
        """Hand the outcome to who waits for it."""
        caller: _Caller = job.item
        caller.over = True
        if not caller.waiter.done():
            caller.waiter.set_result(outcome)

    def drain(self) -> bool:
        """Admit no more calls but those of jobs that run."""
        return bool(self.active)

    def end(self) -> None:
        """The runner is closing."""
        self.closing = True
        if self._begun:
            self.close()
