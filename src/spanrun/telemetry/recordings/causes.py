"""Why jobs took their time: one sentence, what can be changed, and by how much.

The terminal's summary, `spanrun show`, `report` and the page of a run say the same, as
all of them take it from here.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from math import fsum
from operator import sub
from random import Random
from typing import Final

from spanrun.quantities import seconds, share
from spanrun.semconv import SPANRUN_JOB_PHASE_VALUES
from spanrun.text import one_line, redact

_LEAST: Final = 0.02
"""The share of the jobs' time from which a cause is worth a line."""
_MOST: Final = 4
_FULL: Final = 0.93
"""The share of a limit from which it counts as full."""
_SETS_THE_PACE: Final = 0.5
_BINS: Final = 500
_SAMPLE: Final = 50_000
_NOTABLE: Final = 0.95
"""A p95 without a phase is told in the sentence if it is below this part of the p95."""
_HOLD_A_SLOT: Final = ("rate_limit", "busy", "loop_lag", "service")
_PLACES: Final = {name: place for place, name in enumerate(SPANRUN_JOB_PHASE_VALUES)}
_SERVICE: Final = "service"
_BLOCKED: Final = "loop_lag"
_WHAT: Final = {
    "queue": "{}'s wait for the event loop",
    "limit": "{}'s wait for a slot",
    "rate_limit": "{}'s wait for the rate limit",
    "backoff": "{}'s back-off before retries",
    "busy": "{}'s computing on the event loop",
    "loop_lag": "a blocked event loop",
}
_ADVICE: Final = {
    "queue": "Look for what keeps the event loop busy.",
    "limit": "Raise the limit, if the service bears it.",
    "rate_limit": "Raise the rate if the service allows it, or send more items a call.",
    "backoff": "Look at the errors that were retried.",
    "busy": "Move that work to threads or processes.",
    "loop_lag": "Look for a slow synchronous call; move it to a thread.",
}


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

    def total(self, phase: str) -> float:
        """Seconds of a phase, of all jobs together."""
        return fsum(self.phases[_PLACES[phase]])


@dataclass(frozen=True, slots=True)
class Cause:
    """What a part of the jobs' time went into.

    Attributes:
        runner: Whose jobs; empty for those of all runners.
        phase: The phase.
        seconds: Of all jobs together.
        share: Of the time of all jobs, from 0 to 1.
        jobs: How many jobs have it.
        fact: The same as a sentence.
        advice: What to change, as a sentence.
        p95: The 95th percentile of the durations of all jobs, in seconds.
        p95_without: The same if this phase had taken no time: the best that can be had.
    """

    runner: str
    phase: str
    seconds: float
    share: float
    jobs: int
    fact: str
    advice: str
    p95: float
    p95_without: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why the jobs of some runners took their time.

    Attributes:
        sentence: In one or a few sentences.
        causes: What can be changed, the largest first; then the services.
        limit_full: For each runner, the share of its time in which its limit was full;
            None where no fixed limit is known.
    """

    sentence: str
    causes: Sequence[Cause]
    limit_full: Mapping[str, float | None]


def explain(
    ledgers: Mapping[str, Ledger],
    blocking: str = "",
    full: Mapping[str, float | None] | None = None,
) -> Explanation:
    """Explain the time of these runners' jobs, which are together one scope.

    Args:
        ledgers: By the runners' names.
        blocking: What blocked the event loop longest, where that is known.
        full: `limit_full` of each, where the caller has it.
    """
    if full is None:
        full = {name: limit_full(ledger) for name, ledger in ledgers.items()}
    jobs = sum(len(ledger.durations) for ledger in ledgers.values())
    total = fsum(map(fsum, (p for each in ledgers.values() for p in each.phases)))
    if not jobs:
        return Explanation("There are no jobs.", (), full)
    if not total:
        return Explanation("The jobs took no time.", (), full)
    some = {name: _some(ledger) for name, ledger in ledgers.items()}
    scope = _Scope(ledgers, total, some, blocking)
    shares = scope.shares()
    found = [
        scope.cause(runner, phase, part)
        for (runner, phase), part in sorted(shares.items(), key=lambda item: -item[1])
        if phase != _SERVICE and part >= _LEAST
    ][:_MOST]
    services = {runner: p for (runner, phase), p in shares.items() if phase == _SERVICE}
    served = sum(services.values())
    sentences = [*_lead(found, served, services), *_better(found), *_pace(full)]
    if served >= _LEAST:
        found.append(scope.served(services))
    return Explanation(" ".join(sentences), tuple(found), full)


def limit_full(ledger: Ledger) -> float | None:
    """The share of a runner's time in which its limit was full.

    A job's phases are taken as spread evenly over its time, so that a map's limit is
    seen as well, whose jobs are submitted only when there is a slot.
    """
    if not ledger.limit or not ledger.durations:
        return None
    begin = min(ledger.starts)
    end = max(map(float.__add__, ledger.starts, ledger.durations))
    if end <= begin:
        return None
    scale = _BINS / (end - begin)
    slopes, steps = [0.0] * (_BINS + 2), [0.0] * (_BINS + 2)
    held = [ledger.phases[_PLACES[name]] for name in _HOLD_A_SLOT]
    columns = zip(ledger.starts, ledger.durations, *held, strict=True)
    for start, duration, *parts in columns:
        if duration > 0:
            level = min(sum(parts) / duration, 1.0)
            at = (start - begin) * scale
            for place, change in ((at, level), (at + duration * scale, -level)):
                whole = min(int(place), _BINS)
                # The change holds for the rest of its bin, then for all that follow.
                steps[whole] += change * (whole + 1 - place)
                slopes[whole + 1] += change
    levels = map(float.__add__, accumulate(slopes[:_BINS]), steps)
    return sum(level >= _FULL * ledger.limit for level in levels) / _BINS


class _Scope:
    """The runners whose jobs are explained together.

    Args:
        ledgers: Their jobs.
        total: The time of all these jobs, in seconds.
        some: The same jobs, or some of them where they are many: for percentiles.
        blocking: What blocked the event loop longest, or empty.
    """

    def __init__(
        self,
        ledgers: Mapping[str, Ledger],
        total: float,
        some: Mapping[str, Ledger],
        blocking: str,
    ) -> None:
        self._ledgers: Final = ledgers
        self._total: Final = total
        self._some: Final = some
        self._blocking: Final = blocking
        self._p95: Final = _p95([d for each in some.values() for d in each.durations])

    def shares(self) -> dict[tuple[str, str], float]:
        """Of each runner and phase; a blocked loop is one cause, whoever waited."""
        shares: dict[tuple[str, str], float] = {}
        for name, ledger in self._ledgers.items():
            for phase in SPANRUN_JOB_PHASE_VALUES:
                key = ("" if phase == _BLOCKED else name, str(phase))
                part = ledger.total(phase) / self._total
                shares[key] = shares.get(key, 0.0) + part
        return shares

    def cause(self, runner: str, phase: str, part: float) -> Cause:
        """What can be changed: a phase of this runner's jobs, or of all."""
        whose = [self._ledgers[runner]] if runner else list(self._ledgers.values())
        columns = [ledger.phases[_PLACES[phase]] for ledger in whose]
        jobs = sum(value > 0 for column in columns for value in column)
        longest = max(max(column, default=0.0) for column in columns)
        slots = whose[0].limit if phase == "limit" else None
        limit = f" (limit {slots})" if slots else ""
        counted = f"{jobs:,} job{'s'[: jobs != 1]}, at most {seconds(longest)} each"
        fact = f"{_begin(runner, phase)}{limit}: {counted}."
        advice = _ADVICE[phase]
        if phase == _BLOCKED and self._blocking:
            advice = f"Move {_name(self._blocking)} to a thread or a process."
        return self._made(runner, phase, part, jobs, fact, advice)

    def served(self, services: Mapping[str, float]) -> Cause:
        """What the services take, of all runners together."""
        place = _PLACES[_SERVICE]
        columns = [ledger.phases[place] for ledger in self._ledgers.values()]
        jobs = sum(value > 0 for column in columns for value in column)
        most = sorted(services, key=lambda name: -services[name])
        parts = [f"{_name(name)} {share(services[name])}" for name in most[:_MOST]]
        what, advice = "the service", "Larger batches, or more at once, if it bears it."
        if len(services) > 1:
            what, first = "services", _name(most[0])
            advice = (
                f"Look at {first} by itself: its tail, and whether its limit is full."
            )
        fact = f"Waiting for {what}: {', '.join(parts)}."
        return self._made("", _SERVICE, sum(services.values()), jobs, fact, advice)

    def _made(
        self, runner: str, phase: str, part: float, jobs: int, fact: str, advice: str
    ) -> Cause:
        spent, without = part * self._total, self._p95_without(runner, phase)
        return Cause(runner, phase, spent, part, jobs, fact, advice, self._p95, without)

    def _p95_without(self, runner: str, phase: str) -> float:
        rest: list[float] = []
        for name, ledger in self._some.items():
            if runner in ("", name):
                column = ledger.phases[_PLACES[phase]]
                rest += map(sub, ledger.durations, column)
            else:
                rest += ledger.durations
        return max(0.0, _p95(rest))


def _some(ledger: Ledger) -> Ledger:
    """The same jobs, or at most so many, drawn always alike."""
    jobs = len(ledger.durations)
    if jobs <= _SAMPLE:
        return ledger
    rows = Random(0).sample(range(jobs), _SAMPLE)  # noqa: S311 -- no secret
    columns = [
        array("d", map(column.__getitem__, rows))
        for column in (ledger.starts, ledger.durations, *ledger.phases)
    ]
    return Ledger(columns[0], columns[1], columns[2:], ledger.limit)


def _lead(
    causes: Sequence[Cause], served: float, services: Mapping[str, float]
) -> Iterator[str]:
    what = [
        f"{_what(each.runner, each.phase)} ({share(each.share)})" for each in causes
    ]
    if causes and causes[0].share > served:
        first = _begin(causes[0].runner, causes[0].phase)
        yield f"{first} takes {share(causes[0].share)} of the jobs' time."
        what = what[1:]
        if served >= _LEAST:
            what.insert(0, f"waiting for services ({share(served)})")
    else:
        several = len(services) > 1
        most = max(services, key=lambda name: services[name])
        of_it = services[most] / served if served else 0.0
        whose = f", most of it {_name(most)}'s" if several and of_it > 1 / 2 else ""
        who = "Services take" if several else f"What {_name(most)} calls takes"
        yield f"{who} {share(served)} of the jobs' time{whose}."
    if what:
        yield f"Beside that: {' and '.join(what[:2])}."


def _better(causes: Sequence[Cause]) -> Iterator[str]:
    best = min(causes, key=lambda each: each.p95_without, default=None)
    if best is not None and best.p95_without < _NOTABLE * best.p95:
        yield (
            f"Without {_what(best.runner, best.phase)}, p95 would be "
            f"{seconds(best.p95_without)} at best, instead of {seconds(best.p95)}."
        )


def _pace(full: Mapping[str, float | None]) -> Iterator[str]:
    fullest = max(full, key=lambda name: full[name] or 0.0)
    if (part := full[fullest] or 0.0) > _SETS_THE_PACE:
        yield (
            f"The pace is set by {_name(fullest)}: its limit is full {share(part)} of "
            "the time."
        )


def _p95(values: list[float]) -> float:
    """By the nearest rank."""
    values.sort()
    return values[-(-95 * len(values) // 100) - 1]


def _what(runner: str, phase: str) -> str:
    return _WHAT[phase].format(_name(runner))


def _begin(runner: str, phase: str) -> str:
    """The same at the beginning of a sentence; a runner's name stays as it is."""
    what = _what(runner, phase)
    return what if runner else what[0].upper() + what[1:]


def _name(runner: str) -> str:
    return one_line(redact(runner))
