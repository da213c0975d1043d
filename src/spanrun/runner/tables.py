"""The summary's two tables: how long the jobs took, and where their time went."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from spanrun.quantities import seconds, share
from spanrun.telemetry.recordings.summary import RunnerStats
from spanrun.text import one_line

_BAR: Final = 28
_LEAST: Final = 10  # characters of a bar beside other columns
_LEAST_NAME: Final = 10
_NUMBERS: Final = 63  # the columns of numbers
_TOTAL: Final = 12  # how long it took, and the spaces around the bar
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


def durations(runners: Sequence[RunnerStats], width: int) -> list[str]:
    """A line for each runner: its jobs, and their percentiles.

    Where that is wider than ``width``, a few short lines for each.
    """
    name = _name_width(runners, width - _NUMBERS)
    if not name:
        return [line for stats in runners for line in _narrow(stats, width)]
    head = f"{'runner':<{name}}{'jobs':>8}{'ok':>8}{'failed':>8}{'retries':>9}"
    lines = [head + f"{'p50':>10}{'p95':>10}{'p99':>10}"]
    for stats in runners:
        p50, p95, p99 = map(seconds, stats.percentiles)
        lines.append(
            f"{one_line(stats.name, name - 1):<{name}}{stats.jobs:>8}{stats.ok:>8}"
            f"{stats.jobs - stats.ok:>8}{stats.retries:>9}{p50:>10}{p95:>10}{p99:>10}"
        )
    return lines


def times(runners: Sequence[RunnerStats], width: int) -> list[str]:
    """A line for each runner: the shares of the phases in its jobs' time."""
    spent = [(stats, sum(stats.phases.values())) for stats in runners]
    shares = [
        (stats, total, {phase: part / total for phase, part in stats.phases.items()})
        for stats, total in spent
        if total
    ]
    told = [" · ".join(_shares(each)) for _, _, each in shares]
    longest = max(map(len, told), default=0)
    name = _name_width(runners, width - longest - _TOTAL - _LEAST)
    bar = min(_BAR, width - longest - _TOTAL - name) if name else max(1, width - 2)
    lines = ["where the time went"]
    used: set[str] = set()
    for (stats, total, parts), text in zip(shares, told, strict=True):
        used |= {phase for phase, part in parts.items() if part * bar >= 1 / 2}
        took, drawn = seconds(total), _bar(parts, bar)
        if name:
            shown = one_line(stats.name, name - 1)
            lines.append(f"{shown:<{name}}{took:>8}  {drawn}  {text}")
        else:
            lines += [f"{one_line(stats.name, width - 9)} {took}", f"  {drawn}"]
            lines += _wrapped(text.split(" · "), " · ", width)
    legend = [f"{fill} {phase}" for phase, fill in _FILL.items() if phase in used]
    if not name:
        return [*lines, *_wrapped(legend, "  ", width)]
    return [*lines, *_wrapped(legend, "  ", width, indent=min(name + 10, width // 3))]


def _narrow(stats: RunnerStats, width: int) -> list[str]:
    failed = stats.jobs - stats.ok
    parts = [f"{stats.jobs} jobs", f"{failed} failed", f"{stats.retries} retries"]
    for percent, value in zip((50, 95, 99), stats.percentiles, strict=True):
        parts.append(f"p{percent} {seconds(value)}")
    return [one_line(stats.name, width), *_wrapped(parts, " · ", width)]


def _wrapped(
    parts: Iterable[str], between: str, width: int, indent: int = 2
) -> list[str]:
    """``parts`` in lines of ``width``; none is broken."""
    lines: list[str] = []
    for part in parts:
        if lines and len(lines[-1]) + len(between) + len(part) <= width:
            lines[-1] += between + part
        else:
            lines.append(" " * indent + part)
    return lines


def _name_width(runners: Sequence[RunnerStats], room: int) -> int:
    """For the names and a space; 0 where there is no room for them."""
    longest = max(len(one_line(stats.name)) for stats in runners)
    wanted = max(len("runner"), longest) + 1
    return min(wanted, room) if room >= min(wanted, _LEAST_NAME) else 0


def _bar(shares: Mapping[str, float], width: int) -> str:
    """As long as any other bar: where a part ends is rounded, not its length."""
    bar, reached = "", 0.0
    for phase, part in shares.items():
        reached += part
        bar += _FILL[phase] * (round(reached * width) - len(bar))
    return bar


def _shares(shares: Mapping[str, float]) -> Iterator[str]:
    most = sorted(shares, key=lambda phase: -shares[phase])
    shown = [phase for phase in most[:_NAMED] if round(shares[phase], 2)]
    for phase in shown:
        yield f"{phase} {share(shares[phase])}"
    rest = 1 - sum(shares[phase] for phase in shown)
    if round(rest, 2):
        yield f"others {share(rest)}"
