"""`ProgressOnRequest`: the progress of those calls alone that asked for it."""

from __future__ import annotations

from contextlib import ExitStack
from contextvars import ContextVar
from typing import Any, Final

from spanrun.outcome import Outcome
from spanrun.runner.progress import Progress
from spanrun.telemetry.observe import RunInfo

_wanted: Final[ContextVar[Progress | None]] = ContextVar(
    "spanrun-progress", default=None
)


def progress(*, show: bool) -> ExitStack:
    """Show the runs that are opened until the stack ends, if ``show`` says so."""
    stack = ExitStack()
    stack.callback(_wanted.reset, _wanted.set(Progress() if show else None))
    return stack


class ProgressOnRequest:
    """An observer that hands a run's news to the `progress` it was opened in."""

    def __init__(self) -> None:
        self._shown: Final[dict[str, Progress]] = {}

    def run_opened(self, run: RunInfo) -> None:
        """A run has begun."""
        wanted = _wanted.get()
        if wanted is not None:
            self._shown[run.id] = wanted
            wanted.run_opened(run)

    def job_ended(self, run: RunInfo, outcome: Outcome[Any]) -> None:
        """A job has its outcome."""
        if shown := self._shown.get(run.id):
            shown.job_ended(run, outcome)

    def run_closed(self, run: RunInfo) -> None:
        """A run is over."""
        if shown := self._shown.pop(run.id, None):
            shown.run_closed(run)
