"""What changed from one run to another, as lines for a person."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from typing import Any, Final

from spanrun.quantities import change, number, seconds
from spanrun.telemetry.recordings.compare import (
    LEAST,
    Change,
    Comparison,
    RunnerChange,
    Side,
)
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
            yield from _wrapped(_whole(_text(each.runner), each.a, each.b), width)
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
            values = f"{_value(found.a)} → {_value(found.b)}"
            told = f"{_text(found.runner)}  {_text(found.name)}  {values}"
            yield from _wrapped(told, width, "  ")


def _whole(name: str, a: Side, b: Side) -> str:
    """Little's law: seconds = jobs × seconds of work each ÷ jobs at once."""
    if not a.seconds or not b.seconds or _is_same(a.seconds, b.seconds):
        told = f"{name} took {seconds(b.seconds)}, as in A ({seconds(a.seconds)})"
    else:
        told = (
            f"{name} took {seconds(b.seconds)} instead of {seconds(a.seconds)} "
            f"({number(b.seconds / a.seconds)}×)"
        )
    parts: list[str] = []
    if a.jobs != b.jobs:
        parts.append(f"{b.jobs:,} jobs instead of {a.jobs:,}")
    if not _is_same(a.at_once, b.at_once):
        parts.append(f"{number(b.at_once)} at once instead of {number(a.at_once)}")
        if len(parts) == 1:
            parts[0] = parts[0].replace(" at once", " jobs at once")
    if a.work and not _is_same(a.work, b.work):
        parts.append(f"each took {number(b.work / a.work)}× as long")
    *first, last = parts or [""]
    return f"{told}: {', '.join(first)}{', and ' if first else ''}{last}".rstrip(": ")


def _is_same(a: float, b: float) -> bool:
    return abs(b - a) < LEAST * a or a == b


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


def _value(value: Any) -> str:
    return "none" if value is None else _text(json.dumps(value))


def _wrapped(text: str, width: int, indent: str = "") -> list[str]:
    return textwrap.wrap(
        text, max(20, width), initial_indent=indent, subsequent_indent=f"{indent}  "
    )


def _text(text: str) -> str:
    return one_line(redact(text))
