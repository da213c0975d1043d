"""The numbers of one session: its runners, failures, and slowest job."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Final

from spanrun.semconv import SPANRUN_JOB_PHASE_VALUES
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


def summary_of(recording: Recording, session: str, run: str = "") -> Summary:
    """Sum up the session with this id, or one ``run`` of it.

    Raises:
        StoreError: It can't be read.
    """
    found = recording.runs(session)
    runs = {each.id: each for each in found if run in ("", each.id)}
    runners: dict[str, _Runner] = {}
    failures: Counter[tuple[str, str, str]] = Counter()
    traces: dict[tuple[str, str, str], str | None] = {}
    slowest: Job | None = None
    began = ended = min((each.started_ns for each in runs.values()), default=0)
    for number, job in enumerate(recording.jobs(session, run)):
        its = runs.get(job.run)
        if its is None:  # its row was lost
            continue
        # In the order in which their first jobs ended: that of a pipeline's stages.
        # A single call beforehand, such as a probe, doesn't make a stage the first.
        place = number + 1e18 * its.calls
        stats = runners.get(its.runner)
        if stats is None:
            ledger = Ledger(limit=_limit(its))
            stats = runners[its.runner] = _Runner(place, ledger)
        stats.first = min(stats.first, place)
        stats.add(job, (its.started_ns - began) / 1e9 + job.submitted)
        if job.outcome != "ok":
            kind = its.runner, job.error_type or job.outcome, job.error or ""
            failures[kind] += 1
            traces.setdefault(kind, job.trace_id)
        if slowest is None or job.duration > slowest.duration:
            slowest = job
        over = its.started_ns + int((job.submitted + job.duration) * 1e9)
        ended = max(ended, over)
    blocking = _blocking(recording, session)
    in_order = sorted(runners.items(), key=lambda item: item[1].first)
    why = explain({name: stats.ledger for name, stats in in_order}, blocking)
    return Summary(
        (ended - began) / 1e9,
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
            Failures(*kind, count, traces[kind])
            for kind, count in failures.most_common(_MOST_FAILURES)
        ),
        None if slowest is None else _slow(slowest, runs[slowest.run]),
        why,
    )


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


def _blocking(recording: Recording, session: str) -> str:
    """The function that blocked the event loop longest, and where; empty of none."""
    blocked: Counter[str] = Counter()
    for event in recording.events(session):
        if event.kind == "blocked" and "function" in event.value:
            file = PurePath(event.value["file"]).name
            place = f"{event.value['function']} ({file}:{event.value['line']})"
            blocked[place] += event.value["seconds"]
    return max(blocked, key=lambda place: blocked[place], default="")


def _limit(run: Run) -> int | None:
    """How many of its jobs may hold a slot at once, where that is known and fixed."""
    policies: dict[str, dict[str, Any]] = json.loads(run.policies or "{}")
    limit = policies.get("limit", {})
    return limit["concurrency"] if limit.get("type") == "Limit" else None


def _slow(job: Job, run: Run) -> SlowJob:
    which = job.key if job.key is not None else f"#{job.index}"
    return SlowJob(f"{run.runner} {which}", job.duration, job.trace_id, job.phases)
