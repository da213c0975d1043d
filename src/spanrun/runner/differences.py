"""What changed from one run to another, as lines for a person."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Final

from spanrun.quantities import change, seconds
from spanrun.telemetry.recordings.compare import (
    Change,
    Comparison,
    RunnerChange,
    Side,
)
from spanrun.telemetry.recordings.wall_time import wall_time
from spanrun.text import one_line, redact

SAME: Final = "≈"
_WIDE: Final = 72  # with the intervals
_NAME: Final = 12


def lines(comparison: Comparison, width: int) -> Iterator[str]:
    """First each runner's time as a whole, then its jobs' by phase, then settings."""
    if not comparison.runners:
        yield "no jobs in either"
    for each in comparison.runners:
        if each.a is not None and each.b is not None:
            yield ""
            yield from _wrapped(wall_time(each.runner, each.a, each.b), width)
    for each in comparison.runners:
        yield ""
        if each.a is not None and each.b is not None:
            yield from _table(each, each.a, each.b, width)
        else:
            yield from _wrapped(_alone(each), width)
    if comparison.settings:
        yield ""
        yield "settings that differ"
        for found in comparison.settings:
            told = (
                f"{_text(found.runner)}  {_text(found.name)}  {' → '.join(found.texts)}"
            )
            yield from _wrapped(told, width, "  ")


def _table(found: RunnerChange, a: Side, b: Side, width: int) -> Iterator[str]:
    wide = width >= _WIDE
    interval = "   95 % interval" if wide and not found.why else ""
    numbers = f"A: {_jobs(a)} · B: {_jobs(b)}"
    yield from _wrapped(f"{_text(found.runner)}  {numbers}", width)
    yield f"{'per job':<{_NAME}}{'A':>9}{'B':>9}{'B − A':>10}{interval}"
    for name, each in found.changes.items():
        if each.a or each.b:
            row = f"{name:<{_NAME}}{seconds(each.a):>9}{seconds(each.b):>9}"
            yield f"{row}{_difference(each, wide=wide)}"
    if found.why:
        yield from _wrapped(f"no intervals: {found.why}; it may be chance", width)


def _difference(found: Change, *, wide: bool) -> str:
    if not found.is_certain:
        return f"{SAME:>10}"
    told = f"{change(found.difference):>10}"
    if found.interval is None or not wide:
        return told
    low, high = map(change, found.interval)
    return f"{told}   {low} … {high}"


def _alone(found: RunnerChange) -> str:
    side, name = (found.a, "A") if found.a is not None else (found.b, "B")
    assert side is not None  # noqa: S101 -- it is on one of them
    told = f"{_text(found.runner)}  in {name} alone: {_jobs(side)}"
    return f"{told}, {seconds(side.seconds)}"


def _jobs(side: Side) -> str:
    failed = f", {side.failed:,} failed" if side.failed else ""
    return f"{side.jobs:,} job{'s'[: side.jobs != 1]}{failed}"


def _wrapped(text: str, width: int, indent: str = "") -> list[str]:
    return textwrap.wrap(
        text, max(20, width), initial_indent=indent, subsequent_indent=f"{indent}  "
    )


def _text(text: str) -> str:
    return one_line(redact(text))
