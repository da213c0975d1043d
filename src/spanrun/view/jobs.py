"""The jobs of a page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from spanrun.semconv import SPANRUN_JOB_OUTCOME_VALUES, SPANRUN_JOB_PHASE_VALUES
from spanrun.telemetry.recordings.records import Job, Run
from spanrun.view.columns import Columns, Texts, micro, parts

JobKey = tuple[str, int]
_OUTCOMES: Final = {name: n for n, name in enumerate(SPANRUN_JOB_OUTCOME_VALUES)}


class JobRows:
    """Jobs as columns.

    Args:
        texts: The table of the page's texts.
        zero_ns: Where the page's time begins.
        places: The place of each run, by its id.
        runs: The runs by their ids.

    Attributes:
        rows: The row of each job.
        rank: How telling each trace is, by its id.
        first: The earliest start, in microseconds; 0 if none is before zero.
    """

    def __init__(
        self,
        texts: Texts,
        zero_ns: int,
        places: Mapping[str, int],
        runs: Mapping[str, Run],
    ) -> None:
        self._texts: Final = texts
        self._zero: Final = zero_ns
        self._places: Final = places
        self._runs: Final = runs
        self.rows: Final[dict[JobKey, int]] = {}
        self.rank: Final[dict[str, float]] = {}
        self.first = 0
        self.columns: Final = Columns(
            "run", "index", "key", "start", "duration", *SPANRUN_JOB_PHASE_VALUES,
            "attempts", "outcome", "error_type", "error", "trace",
        )  # fmt: skip

    def add(self, job: Job) -> bool:
        """Add a job; False if the row of its run was lost."""
        run = self._runs.get(job.run)
        if run is None:
            return False
        self.rows[job.run, job.index] = len(self.columns)
        if job.trace_id is not None:
            telling = job.duration + 1e9 * (job.outcome != "ok")
            self.rank[job.trace_id] = max(self.rank.get(job.trace_id, 0.0), telling)
        text = self._texts.place
        start = round((run.started_ns - self._zero) / 1000 + job.submitted * 1e6)
        self.first = min(self.first, start)
        self.columns.add(
            self._places[job.run],
            job.index,
            text(job.key),
            start,
            max(0, micro(job.duration)),
            *parts(job.seconds),
            job.attempts,
            _OUTCOMES[job.outcome],
            text(job.error_type),
            text(job.error),
            text(job.trace_id),
        )
        return True
