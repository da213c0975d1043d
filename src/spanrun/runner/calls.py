"""`Calls`: the single jobs of a runner, each awaited by who called for it."""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any, Final

from spanrun.errors import ShuttingDown
from spanrun.outcome import Ok, Outcome
from spanrun.runner.core import Core
from spanrun.runner.job import Job
from spanrun.runner.run import Call, Run, in_job


class Calls(Run):
    """All calls of an open runner.

    They have no run span: each job is a child of its caller's own span.
    """

    def __init__(self, core: Core) -> None:
        super().__init__(core, total=None, trace="child")
        self.info.calls = True
        self._waiting: Final[dict[Job, asyncio.Future[Outcome[Any]]]] = {}
        self._callers: Final[dict[Job, asyncio.Task[Any] | None]] = {}
        self._begun = False

    async def call(self, call: Call, priority: int = 0) -> Any:
        """Run one job and give its value, or raise what it raised."""
        if self.closing or (self.core.draining and not in_job.get()):
            raise ShuttingDown(f"Runner {self.core.name!r} is closing")
        if not self._begun:
            self._begun = True
            self.open(span=False)
        job = self.submit(None, call)
        job.priority = priority
        done = self._waiting[job] = self.loop.create_future()
        self._callers[job] = asyncio.current_task()
        context = contextvars.copy_context()
        context.run(in_job.set, True)  # noqa: FBT003 -- a value
        self.admit(job, context)
        outcome: Outcome[Any] | None = None
        cancelled: asyncio.CancelledError | None = None
        while outcome is None:
            try:
                outcome = await done
            except asyncio.CancelledError as error:
                if job not in self._waiting:  # it has ended in the same moment
                    if self.fatal is not None:
                        raise self.fatal from None
                    raise
                cancelled = error
                job.cancel("run")
                done = self._waiting[job] = self.loop.create_future()
        if self.fatal is not None:
            raise self.fatal
        if isinstance(outcome, Ok):
            return outcome.value
        if cancelled is not None and outcome.outcome == "cancelled":
            raise cancelled
        raise outcome.error

    def owner(self, job: Job) -> asyncio.Task[Any] | None:
        """The task that awaits ``job``."""
        return self._callers.get(job)

    def deliver(self, job: Job, outcome: Outcome[Any]) -> None:
        """Hand the outcome to who waits for it."""
        waiter = self._waiting.pop(job)
        del self._callers[job]
        if not waiter.done():
            waiter.set_result(outcome)

    def drain(self) -> bool:
        """Admit no more calls but those of jobs that run."""
        return bool(self.active)

    def end(self) -> None:
        """The runner is closing."""
        self.closing = True
        if self._begun:
            self.close()
