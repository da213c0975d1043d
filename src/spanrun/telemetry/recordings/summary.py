"""The numbers of one session: its runners, failures, and slowest job."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Final, cast

from spanrun.semconv import SPANRUN_JOB_PHASE_VALUES
from spanrun.telemetry.observe import RunEvent
from spanrun.telemetry.recordings.causes import Explanation, explain
from spanrun.telemetry.recordings.ledger import PERCENTILES, Ledger, percentile
from spanrun.telemetry.recordings.read import Recording
from spanrun.telemetry.recordings.records import Job, Run

_MOST_FAILURES: Final = 10


@dataclass(frozen=True, slots=True)
class RunnerStats:
    """One runner's jobs.

    Attributes:
        name: The runner's name.
        jobs: How many had an outcome.
        ok: How many of them returned a value.
        retries: Attempts beyond the first, of all jobs together.
        percentiles: Of the jobs' durations: the 50th, 95th and 99th, in seconds.
        phases: Where the jobs' time went, in seconds.
        explanation: Why it went there.
    """

    name: str
    jobs: int
    ok: int
    retries: int
    percentiles: tuple[float, float, float]
    phases: Mapping[str, float]
    explanation: Explanation


@dataclass(frozen=True, slots=True)
class Failures:
    """Failed jobs of a runner that have the same error."""

    runner: str
    error_type: str
    error: str
    count: int
    trace_id: str | None


@dataclass(frozen=True, slots=True)
class SlowJob:
    """A job, and where its time went."""

    name: str
    duration: float
    trace_id: str | None
    phases: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Summary:
    """What one process did, or one run.

    Attributes:
        seconds: From the beginning of its first run to the end of its last job.
        runners: In the order in which their first jobs ended.
        failures: The most frequent errors.
        slowest: The job that took longest; None without any.
        explanation: Why the jobs took their time, of all runners together.
    """

    seconds: float
    runners: Sequence[RunnerStats]
    failures: Sequence[Failures]
    slowest: SlowJob | None
    explanation: Explanation


@dataclass(slots=True)
class _Runner:
    """What is known of one so far."""

    first: float
    ledger: Ledger
    ok: int = 0
    retries: int = 0

    def add(self, job: Job, start: float) -> None:
        self.ledger.add(job, start)
        self.ok += job.outcome == "ok"
        self.retries += job.attempts - 1


class Tally:
    """The numbers of a session or a run, which grow job by job.

    Args:
        runs: The runs by their ids; the caller may add to it.

    Attributes:
        first: When the first job began, in seconds from the first run; 0 or less.
    """

    def __init__(self, runs: Mapping[str, Run]) -> None:
        self._runs: Final = runs
        self._runners: Final[dict[str, _Runner]] = {}
        self._failures: Final[Counter[tuple[str, str, str]]] = Counter()
        self._traces: Final[dict[tuple[str, str, str], str | None]] = {}
        self._slowest: Job | None = None
        self._jobs = 0
        self._zero: int | None = None
        self.first = self._last = 0.0

    def add(self, job: Job) -> None:
        """Add a job, in the order in which they ended."""
        number, self._jobs = self._jobs, self._jobs + 1
        its = self._runs.get(job.run)
        if its is None:  # its row was lost
            return
        if self._zero is None:
            self._zero = min(run.started_ns for run in self._runs.values())
        # In the order in which their first jobs ended: that of a pipeline's stages.
        # A single call beforehand, such as a probe, doesn't make a stage the first.
        place = number + 1e18 * its.calls
        stats = self._runners.get(its.runner)
        if stats is None:
            ledger = Ledger(limit=_limit(its))
            stats = self._runners[its.runner] = _Runner(place, ledger)
        stats.first = min(stats.first, place)
        start = (its.started_ns - self._zero) / 1e9 + job.submitted
        stats.add(job, start)
        if job.outcome != "ok":
            kind = its.runner, job.error_type or job.outcome, job.error or ""
            self._failures[kind] += 1
            self._traces.setdefault(kind, job.trace_id)
        if self._slowest is None or job.duration > self._slowest.duration:
            self._slowest = job
        self.first = min(self.first, start)
        self._last = max(self._last, start + job.duration)

    def summary(self, blocking: str = "") -> Summary:
        """The numbers by now; ``blocking`` is what blocked the event loop longest."""
        in_order = sorted(self._runners.items(), key=lambda item: item[1].first)
        why = explain({name: stats.ledger for name, stats in in_order}, blocking)
        slowest = self._slowest
        return Summary(
            self._last - self.first,
            tuple(
                _stats(
                    name,
                    stats,
                    why
                    if len(in_order) == 1
                    else explain({name: stats.ledger}, blocking, why.limit_full),
                )
                for name, stats in in_order
            ),
            tuple(
                Failures(*kind, count, self._traces[kind])
                for kind, count in self._failures.most_common(_MOST_FAILURES)
            ),
            None if slowest is None else _slow(slowest, self._runs[slowest.run]),
            why,
        )


def summary_of(recording: Recording, session: str, run: str = "") -> Summary:
    """Sum up the session with this id, or one ``run`` of it.

    Raises:
        StoreError: It can't be read.
    """
    found = recording.runs(session)
    tally = Tally({each.id: each for each in found if run in ("", each.id)})
    for job in recording.jobs(session, run):
        tally.add(job)
    return tally.summary(longest_block(recording.events(session)))


def _stats(name: str, stats: _Runner, why: Explanation) -> RunnerStats:
    in_order = sorted(stats.ledger.durations)
    p50, p95, p99 = (percentile(in_order, each) for each in PERCENTILES.values())
    return RunnerStats(
        name,
        len(in_order),
        stats.ok,
        stats.retries,
        (p50, p95, p99),
        {phase: stats.ledger.total(phase) for phase in SPANRUN_JOB_PHASE_VALUES},
        why,
    )


def longest_block(events: Iterable[RunEvent]) -> str:
    """The function that blocked the event loop longest, and where; empty of none."""
    blocked: Counter[str] = Counter()
    for event in events:
        if event.kind == "blocked" and "function" in event.value:
            file = PurePath(event.value["file"]).name
            place = f"{event.value['function']} ({file}:{event.value['line']})"
            blocked[place] += event.value["seconds"]
    return max(blocked, key=lambda place: blocked[place], default="")


def _limit(run: Run) -> int | None:
    """How many of its jobs may hold a slot at once, where that is known and fixed."""
    limit: Any = json.loads(run.policies or "{}").get("limit")
    if not isinstance(limit, dict):  # there is none, or one of another's making
        return None
    found = cast("dict[str, Any]", limit)
    return found["concurrency"] if found.get("type") == "Limit" else None


def _slow(job: Job, run: Run) -> SlowJob:
    which = job.key if job.key is not None else f"#{job.index}"
    return SlowJob(f"{run.runner} {which}", job.duration, job.trace_id, job.phases)
