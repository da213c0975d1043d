"""Where the time of a runner's jobs went, in columns."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import fsum
from typing import Final

from spanrun.semconv import SPANRUN_JOB_PHASE_VALUES
from spanrun.telemetry.recordings.records import Job

PERCENTILES: Final = {"p50": 50, "p95": 95, "p99": 99}
_PLACES: Final = {name: place for place, name in enumerate(SPANRUN_JOB_PHASE_VALUES)}


@dataclass(slots=True)
class Ledger:
    """The jobs of one runner, in columns of one length: seconds.

    Attributes:
        starts: When each was submitted, from any moment that is the same for all.
        durations: From submission to the outcome.
        phases: A column for each phase, in their order.
        limit: How many jobs may hold a slot at once; None without a limit that is
            known and fixed.
    """

    starts: array[float] = field(default_factory=lambda: array("d"))
    durations: array[float] = field(default_factory=lambda: array("d"))
    phases: Sequence[array[float]] = field(
        default_factory=lambda: [array("d") for _ in SPANRUN_JOB_PHASE_VALUES]
    )
    limit: int | None = None

    def __len__(self) -> int:
        return len(self.durations)

    def add(self, job: Job, start: float) -> None:
        """Add a job that was submitted at ``start``."""
        self.starts.append(start)
        self.durations.append(job.duration)
        for column, value in zip(self.phases, job.seconds, strict=True):
            column.append(value)

    def phase(self, name: str) -> array[float]:
        """The column of a phase."""
        return self.phases[_PLACES[name]]

    def total(self, phase: str) -> float:
        """Seconds of a phase, of all jobs together."""
        return fsum(self.phase(phase))


def percentile(in_order: Sequence[float], percent: int) -> float:
    """By the nearest rank, so that it is one of the values, which are sorted."""
    return in_order[rank(len(in_order), percent) - 1]


def rank(count: int, percent: int) -> int:
    """Which of ``count`` sorted values the percentile is, from 1."""
    return -(-percent * count // 100)
