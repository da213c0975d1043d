"""What changed between two runs or sessions: by runner, and by phase of its jobs.

How sure a difference is, is told by a bootstrap: its interval is where 95 % of the
differences lie when both sides' jobs are drawn again, with replacement, 1,000 times.
The seed is fixed: the same recordings give the same numbers.

A percentile isn't drawn job by job: of ``n`` drawn jobs, the one of rank ``r`` is job
``ceil(n * x)`` of the sorted ones, where ``x`` has the distribution Beta(r, n - r + 1).
That is the same bootstrap, at the cost of one number. Means are drawn job by job up to
1,000 jobs, and beyond that by blocks of jobs that ended one after the other, 1,000 at
most: as likely intervals, and fairer where neighbours are slow together.
"""

from __future__ import annotations

import json
import math
from array import array
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final, cast

from spanrun.semconv import SPANRUN_JOB_PHASE_VALUES
from spanrun.telemetry.recordings.ledger import (
    PERCENTILES,
    Ledger,
    percentile,
    rank,
)
from spanrun.telemetry.recordings.read import Recording
from spanrun.telemetry.recordings.records import Job, Run, Session
from spanrun.text import one_line, redact

MEAN: Final = "mean"
FEWEST: Final = 20
"""Jobs on each side, below which there are no intervals."""
LEAST: Final = 0.01
"""Of what a job took in A: a smaller change isn't shown."""
DRAWS: Final = 1000
BLOCKS: Final = 1000
_SEED: Final = 19
_OUTSIDE: Final = 25  # draws on each side of an interval
_WAITING: Final = ("queue", "limit")
"""A job in these phases isn't at work yet."""


@dataclass(frozen=True, slots=True)
class Change:
    """A number of both sides, in seconds.

    Attributes:
        a: Of A.
        b: Of B.
        interval: Where ``b - a`` lies with 95 % confidence; None with too few jobs.
        is_certain: The interval excludes 0 (where there is one), and the change is 1 %
            of A at least: for a phase 1 % of the whole job.
    """

    a: float
    b: float
    interval: tuple[float, float] | None
    is_certain: bool

    @property
    def difference(self) -> float:
        """``b - a`` where that is certain, else 0."""
        return self.b - self.a if self.is_certain else 0.0


@dataclass(frozen=True, slots=True)
class Side:
    """What a runner did on one side.

    Attributes:
        jobs: How many had an outcome.
        failed: How many of them returned no value.
        seconds: While at least one of its runs went on.
        at_once: Jobs at work at the same time, on average: neither in the queue nor
            waiting for a slot.
        work: What a job took beyond these two, on average, in seconds. Little's law:
            ``seconds == jobs * work / at_once``.
    """

    jobs: int
    failed: int
    seconds: float
    at_once: float
    work: float


@dataclass(frozen=True, slots=True)
class RunnerChange:
    """What changed of a runner.

    Attributes:
        runner: Its name.
        a: What it did in A; None where it isn't in A.
        b: The same of B.
        changes: By name: the mean of a job's duration, of each phase, and percentiles
            of the duration. Empty where one side is missing.
        why: Why there are no intervals; empty where there are.
    """

    runner: str
    a: Side | None
    b: Side | None
    changes: Mapping[str, Change]
    why: str


@dataclass(frozen=True, slots=True)
class Setting:
    """A runner's setting that isn't the same; None where a side doesn't have it."""

    runner: str
    name: str
    a: Any
    b: Any

    @property
    def texts(self) -> tuple[str, str]:
        """Both values as a person reads them, without secrets."""
        a, b = ("none" if x is None else json.dumps(x) for x in (self.a, self.b))
        return one_line(redact(a)), one_line(redact(b))


@dataclass(frozen=True, slots=True)
class Comparison:
    """What changed from A to B.

    Attributes:
        runners: In A's order, then those that are in B alone.
        settings: Those that differ, of the runners on both sides.
    """

    runners: Sequence[RunnerChange]
    settings: Sequence[Setting]


def compare(recording: Recording, a: Session | Run, b: Session | Run) -> Comparison:
    """Tell what changed from ``a`` to ``b``.

    Raises:
        StoreError: They can't be read.
    """
    return compared(jobs_of(recording, a), jobs_of(recording, b))


def compared(before: Mapping[str, Jobs], after: Mapping[str, Jobs]) -> Comparison:
    """Tell what changed, given the jobs of both sides by their runners."""
    names = list(dict.fromkeys([*before, *after]))
    both = [name for name in names if name in before and name in after]
    return Comparison(
        [_change(name, before.get(name), after.get(name)) for name in names],
        [
            setting
            for name in both
            for setting in _settings(name, before[name].policies, after[name].policies)
        ],
    )


class Jobs:
    """The jobs of a runner.

    Attributes:
        ledger: Their times, as the jobs ended.
        failed: How many jobs returned no value.
        policies: Of its newest run that had some, as an object of JSON.
    """

    def __init__(self) -> None:
        self.ledger: Final = Ledger()
        self.failed = 0
        self.policies: str | None = None
        self._spans: Final[dict[str, tuple[float, float]]] = {}

    def __len__(self) -> int:
        return len(self.ledger)

    @property
    def columns(self) -> Sequence[array[float]]:
        """Durations, then the seconds of each phase."""
        return self.ledger.durations, *self.ledger.phases

    def add(self, job: Job, run: Run) -> None:
        """Add a job of ``run``, one of the runner's."""
        began = run.started_ns / 1e9 + job.submitted
        self.ledger.add(job, began)
        self.failed += job.outcome != "ok"
        first, last = self._spans.get(run.id, (began, began))
        self._spans[run.id] = min(first, began), max(last, began + job.duration)
        self.policies = run.policies or self.policies

    def side(self) -> Side:
        """What they did, in sum."""
        wall = self._wall()
        worked = math.fsum(self.ledger.durations) - math.fsum(
            second for phase in _WAITING for second in self.ledger.phase(phase)
        )
        at_once = worked / wall if wall else 0.0
        return Side(len(self), self.failed, wall, at_once, worked / len(self))

    def _wall(self) -> float:
        """Seconds in which any of its runs had a job."""
        total, reached = 0.0, -math.inf
        for first, last in sorted(self._spans.values()):
            total += max(0.0, last - max(first, reached))
            reached = max(reached, last)
        return total

    @property
    def under_way(self) -> Collection[tuple[float, float]]:
        """When each of its runs had jobs: from, to, in seconds since the Unix epoch."""
        return self._spans.values()


def jobs_of(recording: Recording, part: Session | Run) -> dict[str, Jobs]:
    """The jobs of a session or a run, by their runners.

    Raises:
        StoreError: They can't be read.
    """
    session = part.id if isinstance(part, Session) else part.session
    of_run = part.id if isinstance(part, Run) else ""
    runs = {run.id: run for run in recording.runs(session)}
    found: dict[str, Jobs] = {}
    for job in recording.jobs(session, of_run):
        if run := runs.get(job.run):  # else its row was lost
            found.setdefault(run.runner, Jobs()).add(job, run)
    return found


def _change(name: str, a: Jobs | None, b: Jobs | None) -> RunnerChange:
    sides = a.side() if a else None, b.side() if b else None
    if a is None or b is None:
        return RunnerChange(name, *sides, {}, "")
    few = [
        f"{count} in {side}"
        for side, jobs in (("A", a), ("B", b))
        if (count := len(jobs)) < FEWEST
    ]
    why = f"fewer than {FEWEST} jobs ({', '.join(few)})" if few else ""
    return RunnerChange(name, *sides, changes(a, b, intervals=not few), why)


def changes(a: Jobs, b: Jobs, *, intervals: bool = True) -> dict[str, Change]:
    """Each number of both, and how sure its change is."""
    random = Random(_SEED)  # noqa: S311 -- statistics
    names = (MEAN, *SPANRUN_JOB_PHASE_VALUES)
    mean = math.fsum(a.ledger.durations) / len(a)
    drawn = [means(jobs.columns, random) if intervals else None for jobs in (a, b)]
    found: dict[str, Change] = {}
    for place, name in enumerate(names):
        values = [math.fsum(jobs.columns[place]) / len(jobs) for jobs in (a, b)]
        draws = [each[place] for each in drawn if each]
        found[name] = _judged(values, draws, mean)
    in_order = [sorted(jobs.ledger.durations) for jobs in (a, b)]
    for name, percent in PERCENTILES.items():
        values = [percentile(each, percent) for each in in_order]
        draws = [_ranked(each, percent, random) for each in in_order if intervals]
        found[name] = _judged(values, draws, values[0])
    return found


def _judged(
    values: Sequence[float], draws: Sequence[Sequence[float]], whole: float
) -> Change:
    a, b = values
    is_large = abs(b - a) >= LEAST * whole and a != b
    if not draws:
        return Change(a, b, None, is_large)
    differences = sorted(after - before for before, after in zip(*draws, strict=True))
    low, high = differences[_OUTSIDE], differences[-_OUTSIDE - 1]
    return Change(a, b, (low, high), is_large and (low > 0 or high < 0))


def means(columns: Sequence[array[float]], random: Random) -> list[list[float]]:
    """For each column, its mean in each of 1,000 draws of the same rows."""
    count = len(columns[0])
    size = -(-count // BLOCKS)
    blocks = [
        [math.fsum(column[at : at + size]) for at in range(0, count, size)]
        for column in columns
    ]
    number = len(blocks[0])
    missing = number * size - count  # rows of the last block
    found = [[0.0] * DRAWS for _ in columns]
    used = [(sums, out) for sums, out in zip(blocks, found, strict=True) if any(sums)]
    for draw in range(DRAWS):
        chosen = random.choices(range(number), k=number)
        rows = number * size - missing * chosen.count(number - 1)
        for sums, out in used:
            out[draw] = sum(map(sums.__getitem__, chosen)) / rows
    return found


def _ranked(in_order: Sequence[float], percent: int, random: Random) -> list[float]:
    """The percentile in each of 1,000 draws."""
    count = len(in_order)
    at = rank(count, percent)
    beta = at, count - at + 1
    drawn = (random.betavariate(*beta) for _ in range(DRAWS))
    return [in_order[min(count - 1, int(count * place))] for place in drawn]


def _settings(runner: str, a: str | None, b: str | None) -> Iterator[Setting]:
    if a is None or b is None:  # of an older version, which didn't keep them
        return
    before, after = dict(_flat(json.loads(a))), dict(_flat(json.loads(b)))
    for name in dict.fromkeys([*before, *after]):
        if before.get(name) != after.get(name):
            yield Setting(runner, name, before.get(name), after.get(name))


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested objects, by their dotted names."""
    if not isinstance(value, dict):
        yield name, value
        return
    for key, inner in cast("dict[str, Any]", value).items():
        yield from _flat(inner, f"{name}.{key}" if name else key)
