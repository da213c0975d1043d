"""The summary's two tables: how long the jobs took, and where their time went."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from spanrun.telemetry.recordings.summary import RunnerStats
from spanrun.text import one_line

_BAR: Final = 28
_NAMED: Final = 3
_FILL: Final = {
    "queue": "·",
    "limit": "░",
    "rate_limit": "▒",
    "backoff": "▓",
    "busy": "█",
    "loop_lag": "!",
    "service": "─",
}


def durations(runners: Sequence[RunnerStats]) -> list[str]:
    """A line for each runner: its jobs, and their percentiles."""
    width = _width(runners)
    head = f"{'runner':<{width}}{'jobs':>8}{'ok':>8}{'failed':>8}{'retries':>9}"
    lines = [head + f"{'p50':>10}{'p95':>10}{'p99':>10}"]
    for stats in runners:
        p50, p95, p99 = map(seconds, stats.percentiles)
        lines.append(
            f"{one_line(stats.name):<{width}}{stats.jobs:>8}{stats.ok:>8}"
            f"{stats.jobs - stats.ok:>8}{stats.retries:>9}{p50:>10}{p95:>10}{p99:>10}"
        )
    return lines


def times(runners: Sequence[RunnerStats]) -> list[str]:
    """A line for each runner: the shares of the phases in its jobs' time."""
    width = _width(runners)
    lines = ["where the time went"]
    used: set[str] = set()
    for stats in runners:
        total = sum(stats.phases.values())
        if total:
            shares = {phase: part / total for phase, part in stats.phases.items()}
            used |= {phase for phase, share in shares.items() if share * _BAR >= 1 / 2}
            told = " · ".join(_shares(shares))
            name = one_line(stats.name)
            lines.append(f"{name:<{width}}{seconds(total):>8}  {_bar(shares)}  {told}")
    legend = "  ".join(
        f"{fill} {phase}" for phase, fill in _FILL.items() if phase in used
    )
    return [*lines, " " * (width + 10) + legend]


def seconds(value: float) -> str:
    """Seconds with three digits, in the unit that suits them."""
    if not value:
        return "0"
    unit, scale = next(
        (each for each in (("s", 1), ("ms", 1e3)) if value * each[1] >= 1), ("µs", 1e6)
    )
    digits = max(0, 2 - int(math.log10(max(value * scale, 1))))
    return f"{value * scale:.{digits}f} {unit}"


def _width(runners: Sequence[RunnerStats]) -> int:
    return max(len("runner"), *(len(one_line(stats.name)) for stats in runners)) + 1


def _bar(shares: Mapping[str, float]) -> str:
    """As long as any other bar: where a part ends is rounded, not its length."""
    bar, reached = "", 0.0
    for phase, share in shares.items():
        reached += share
        bar += _FILL[phase] * (round(reached * _BAR) - len(bar))
    return bar


def _shares(shares: Mapping[str, float]) -> Iterator[str]:
    most = sorted(shares, key=lambda phase: -shares[phase])
    shown = [phase for phase in most[:_NAMED] if round(shares[phase], 2)]
    for phase in shown:
        yield f"{phase} {shares[phase]:.0%}"
    rest = 1 - sum(shares[phase] for phase in shown)
    if round(rest, 2):
        yield f"others {rest:.0%}"
