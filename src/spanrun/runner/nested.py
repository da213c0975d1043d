"""Whether a job that waits for a slot of its own runner can ever get one."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Final

from spanrun.errors import ConfigurationError
from spanrun.runner.job import Job, which
from spanrun.runner.opened import OpenRun
from spanrun.telemetry.log import Log, Seldom

_log: Final = Log(__name__)

_PATIENCE: Final = 5.0
"""Seconds of waiting after which it is said, where it isn't certain."""
_PAUSE: Final = 60.0
"""Seconds from one line of the log to the next."""

_WAYS_OUT: Final = (
    "use another Runner for what a job calls, a higher limit, or a Timeout"
)


class Nesting:
    """Looks at each job of one runner that waits for a slot.

    It is certain to wait for ever when each slot is held by a job which itself awaits
    a job of this runner, without a deadline, and the limit can't grow. Then it fails
    at once. Where that isn't certain, a line of log says so after 5 s; how many there
    were since then is in the next one.

    Args:
        name: Of the runner.
        runs: Its open runs.
        certain: Whether it has no deadline, and a limit that doesn't change.
    """

    def __init__(self, name: str, runs: Collection[OpenRun], *, certain: bool) -> None:
        self._name: Final = name
        self._runs: Final = runs
        self._certain: Final = certain
        self._seldom: Final = Seldom(_PAUSE)

    def waits(self, job: Job, used: int) -> asyncio.TimerHandle | None:
        """See to ``job``, which is about to wait while ``used`` slots are held.

        Returns:
            What is to be cancelled when it has a slot; None for most jobs.

        Raises:
            ConfigurationError: It would wait for ever.
        """
        if not self._is_nested(job):
            return None
        if self._certain and self._blocked() >= used:
            job.refused("nested")
            raise ConfigurationError(
                f"Runner({self._name!r}): {which(job)} would wait for ever, as all "
                f"{used} slots are held by jobs that wait for this runner themselves: "
                f"{_WAYS_OUT}"
            )
        loop = asyncio.get_running_loop()
        return loop.call_later(_PATIENCE, self._say, job)

    def _is_nested(self, job: Job) -> bool:
        """Whether a job of this runner awaits it."""
        if not job.run.is_nested(job):
            return False
        task = job.run.owner(job)
        return any(each.task is task for run in self._runs for each in run.active)

    def _blocked(self) -> int:
        """How many jobs do nothing but await another job of this runner."""
        awaiting = {
            run.owner(job) for run in self._runs if run.awaited for job in run.active
        }
        return sum(job.task in awaiting for run in self._runs for job in run.active)

    def _say(self, job: Job) -> None:
        more = self._seldom()
        if more is not None:
            _log.warning(
                "%s of runner %r has waited %.0f s for a slot, inside of a job of the "
                "same runner: if all slots wait like that, they wait for ever; %s%s",
                *(which(job), self._name, _PATIENCE, _WAYS_OUT, more),
            )
