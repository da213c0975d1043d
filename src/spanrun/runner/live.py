"""What the open runners do at this moment, told to whoever looks from outside.

The watchdog's thread asks once a second whether somebody looks: see
`spanrun.telemetry.live.files`. While nobody does, that is all there is.

The state belongs to the loops' threads, and is read from another one, also while a job
blocks the loop: that is when it is wanted most. So what is counted in one moment may
differ by a job from what is counted in the next.
"""

from __future__ import annotations

import heapq
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import reduce
from numbers import Number
from operator import add
from os import getpid
from pathlib import Path, PurePath
from typing import Any, Final, Protocol
from uuid import UUID

from spanrun.loop.lag import LoopLag
from spanrun.policies.base import Waits
from spanrun.runner.job import Job
from spanrun.telemetry import setup
from spanrun.telemetry.forks import tell_after_fork
from spanrun.telemetry.live import files
from spanrun.telemetry.live.state import (
    JobNow,
    LoopNow,
    Phase,
    ProcessNow,
    RunnerNow,
)
from spanrun.telemetry.live.window import Window
from spanrun.telemetry.log import Log, Seldom
from spanrun.telemetry.metrics.instruments import RunnerMetrics, Totals
from spanrun.telemetry.metrics.runners import Gauges
from spanrun.telemetry.observe import RunInfo
from spanrun.text import excerpt

_log: Final = Log(__name__)

EVERY: Final = 1.0
"""Seconds from one look to the next."""
MOST: Final = 100
"""Open jobs that are told of, the oldest ones."""

_KEY: Final = 100  # characters
_COMMAND: Final = 200
_TRIES: Final = 5  # a set that another thread changes can't be gone through
_PAUSE: Final = 60.0
_PLAIN: Final = (str, bytes, Number, PurePath, UUID)
"""Whose text is made without running code of the user's in a thread of ours."""


class OpenRun(Protocol):
    """A run, as far as it is told."""

    @property
    def info(self) -> RunInfo:
        """What it is."""
        ...

    @property
    def active(self) -> Collection[Job]:
        """Its jobs without an outcome."""
        ...


class OpenRunner(Protocol):
    """An open runner, as far as it is told."""

    @property
    def name(self) -> str:
        """Its name, without secrets."""
        ...

    @property
    def runs(self) -> Collection[Any]:
        """Its open runs."""
        ...

    @property
    def metrics(self) -> RunnerMetrics | None:
        """Its metrics."""
        ...

    def now(self) -> float:
        """Read its clock."""
        ...

    def gauges(self) -> Gauges:
        """What it does."""
        ...


class Live:
    """Writes what the process does once a second, while somebody looks."""

    def __init__(self) -> None:
        self._due = 0.0
        self._published: Path | None = None
        self._window: Final = Window()
        self._seldom: Final = Seldom(_PAUSE)

    def look(self, lags: Sequence[LoopLag]) -> None:
        """See to it, in the watchdog's thread; without ``lags`` no runner is open."""
        now = time.monotonic()
        if lags and now < self._due:
            return
        self._due = now + EVERY
        try:
            self._publish(now, lags)
        except Exception as error:  # noqa: BLE001 -- the watchdog has its work to do
            more = self._seldom()
            if more is not None:
                _log.warning("spanrun top can't be told: %s%s", error, more)

    def after_fork(self) -> None:
        """In the child: what its parent has told is its parent's."""
        self._due, self._published = 0.0, None
        self._window.clear()

    def _publish(self, now: float, lags: Sequence[LoopLag]) -> None:
        active = setup.telemetry()
        folder = active.live_folder if active is not None and lags else None
        if folder is None or not files.is_watched(folder):
            if self._published is not None:
                files.retract(self._published)
                self._published = None
                self._window.clear()
            return
        if self._published is None:
            tell_after_fork(self)
        self._published = folder
        files.publish(folder, self._state(now, lags))

    def _state(self, now: float, lags: Sequence[LoopLag]) -> ProcessNow:
        for _ in range(_TRIES):
            try:
                return self.state(now, lags)
            except RuntimeError:  # something was changed in the middle
                continue
        return self.state(now, lags)

    def state(self, now: float, lags: Sequence[LoopLag]) -> ProcessNow:
        """What the runners on these loops do.

        Raises:
            RuntimeError: A loop's thread has changed something meanwhile.
        """
        runners: list[Any] = [each for lag in lags for each in lag.hosts]
        by_name: dict[str, list[OpenRunner]] = {}
        for runner in runners:
            by_name.setdefault(runner.name, []).append(runner)
        totals = dict(_totals(by_name))
        window = self._window.add(now, totals)
        busy = {job for lag in lags for job in _stepping(lag)}
        opened = list(_open_jobs(runners))
        oldest = heapq.nlargest(MOST, opened, key=lambda each: each[0])
        return ProcessNow(
            pid=getpid(),
            host=files.host(),
            started=files.started(getpid()),
            command=excerpt(" ".join(sys.argv), _COMMAND),
            at_ns=time.time_ns(),
            window=window,
            open=len(opened),
            runners=tuple(
                self._runner(name, found, totals.get(name))
                for name, found in sorted(by_name.items())
            ),
            loops=tuple(map(_loop, lags)),
            jobs=tuple(_job(*each, busy) for each in oldest),
        )

    def _runner(
        self, name: str, runners: Sequence[OpenRunner], totals: Totals | None
    ) -> RunnerNow:
        gauges = reduce(add, (each.gauges() for each in runners))
        ended: dict[str, int] = {}
        errors: dict[str, int] = {}
        for (outcome, error), count in totals.ended.items() if totals else ():
            ended[outcome] = ended.get(outcome, 0) + count
            if error is not None:
                errors[error] = errors.get(error, 0) + count
        measured = self._window.of(name)
        return RunnerNow(
            *(name, gauges.limit, gauges.running, gauges.queued),
            *(gauges.backing_off, gauges.stuck, ended, errors),
            *(measured.rate, *measured.percentiles),
        )


def _totals(
    by_name: Mapping[str, Sequence[OpenRunner]],
) -> Iterator[tuple[str, Totals]]:
    """Of each name. Runners of one name add to the same series."""
    for name, runners in by_name.items():
        metrics = runners[0].metrics
        totals = None if metrics is None else metrics.totals()
        if totals is not None:
            yield name, totals


def _stepping(lag: LoopLag) -> Iterator[object]:
    """The jobs of which a step is running now."""
    drive, suspect = lag.stepping, lag.suspect
    while drive is not None:
        yield drive.job
        drive = drive.outer
    if suspect is not None:
        yield suspect.who


def _open_jobs(
    runners: Sequence[OpenRunner],
) -> Iterator[tuple[float, OpenRunner, OpenRun, Job]]:
    for runner in runners:
        now = runner.now()
        for run in tuple(runner.runs):
            for job in tuple(run.active):
                yield now - job.timings.submitted, runner, run, job


def _job(
    age: float, runner: OpenRunner, run: OpenRun, job: Job, busy: Collection[object]
) -> JobNow:
    unit = job.unit
    return JobNow(
        runner=runner.name,
        run=run.info.id,
        index=job.index,
        key=_text(job.key),
        age=max(0.0, age),
        phase=phase_of(job, is_busy=job in busy),
        attempt=job.attempts or 1,
        cancelled=job.cancelled_by is not None,
        trace_id="" if unit is None else f"{unit.trace_id:032x}",
    )


def phase_of(job: Job, *, is_busy: bool = False) -> Phase:
    """Where an open job is. ``is_busy``: a step of it is running."""
    if is_busy:
        return "busy"
    waits: Waits | None = getattr(job, "waits", None)
    if waits is not None:
        return waits
    timings = job.timings
    # Both are booked at the job's first step.
    has_begun = timings.queue > 0 or timings.loop_lag > 0
    return "service" if has_begun else "queue"


def _text(key: object) -> str:
    if key is None:
        return ""
    if isinstance(key, _PLAIN):
        return excerpt(str(key), _KEY)
    return f"<{type(key).__name__}>"


def _loop(lag: LoopLag) -> LoopNow:
    latest, lag.latest = lag.latest, 0.0
    suspect = lag.suspect
    if suspect is None or suspect.lasts <= lag.threshold:
        return LoopNow(latest, 0.0, "", "")
    by = suspect.who.label if suspect.who is not None else "code of no job"
    place = str(suspect.place) if suspect.place is not None else ""
    late = max(latest, suspect.lasts)
    return LoopNow(late, suspect.lasts, excerpt(by), excerpt(place))


live: Final = Live()
