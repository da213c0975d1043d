"""Which runners are open on this thread, and how all of them are brought to an end."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Collection
from typing import Any, Final, Protocol

from spanrun.loop.lag import Guilty
from spanrun.outcome import CancelledBy
from spanrun.runner.job import Job
from spanrun.telemetry.observe import RunInfo
from spanrun.telemetry.units.unit import Unit


class OpenRun(Guilty, Protocol):
    """A run, as a signal sees it, and who looks for what blocks the loop."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """Where its jobs run."""
        ...

    @property
    def nested(self) -> bool:
        """Whether a job opened it, and waits for it."""
        ...

    @property
    def awaited(self) -> bool:
        """Whether its owner does nothing else while it runs."""
        ...

    @property
    def unit(self) -> Unit | None:
        """Its span; None without telemetry, and for single calls."""
        ...

    @property
    def info(self) -> RunInfo:
        """What observers know of it."""
        ...

    @property
    def active(self) -> Collection[Job]:
        """Its jobs without an outcome."""
        ...

    def owner(self, job: Job) -> asyncio.Task[Any] | None:
        """The task that awaits ``job``."""
        ...

    def __len__(self) -> int:
        """How many jobs are active."""
        ...

    def refill(self) -> None:
        """Admit what there is room for now."""
        ...

    def drain(self) -> bool:
        """Admit no more jobs; whether there is something to wait for."""
        ...

    def stop(self, by: CancelledBy) -> None:
        """Admit no more jobs, and cancel those that run."""
        ...


class Stubborn(Protocol):
    """What was cancelled, and may not end."""

    def abandon(self) -> None:
        """Give up what was cancelled and has not ended."""
        ...


class OpenRunner(Protocol):
    """An open runner, as a signal sees it."""

    draining: bool

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """Where it is open."""
        ...

    @property
    def cancels(self) -> Stubborn:
        """What of it was cancelled."""
        ...

    @property
    def runs(self) -> Collection[OpenRun]:
        """Its open runs."""
        ...


class _Here(threading.local):
    def __init__(self) -> None:
        self.runners: weakref.WeakSet[OpenRunner] = weakref.WeakSet()


_here: Final = _Here()


def register(runner: OpenRunner) -> None:
    """``runner`` is open on this thread, for as long as anybody holds it."""
    _here.runners.add(runner)


def drain(loop: asyncio.AbstractEventLoop) -> bool:
    """Let nothing be admitted here any more; whether something still runs.

    What a job runs is a part of it, and has its grace.
    """
    for runner in tuple(_here.runners):
        runner.draining = True
    waits = [run.drain() for run in _runs(loop) if not run.nested]
    return any(waits)


def stop(loop: asyncio.AbstractEventLoop, by: CancelledBy) -> None:
    """Cancel all jobs that run here."""
    for run in _runs(loop):
        run.stop(by)


def abandon(loop: asyncio.AbstractEventLoop) -> None:
    """Give up all that was cancelled here and has not ended."""
    for runner in tuple(_here.runners):
        if runner.loop is loop:
            runner.cancels.abandon()


def _runs(loop: asyncio.AbstractEventLoop) -> list[OpenRun]:
    found = (run for runner in tuple(_here.runners) for run in runner.runs)
    # A loop that was given up before may have left some behind.
    return [run for run in found if run.loop is loop]
