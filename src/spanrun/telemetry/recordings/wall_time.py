"""Why a runner took longer or shorter as a whole, as a sentence."""

from __future__ import annotations

from spanrun.quantities import number, seconds
from spanrun.telemetry.recordings.compare import LEAST, Side
from spanrun.text import one_line, redact


def wall_time(runner: str, a: Side, b: Side) -> str:
    """Little's law: seconds = jobs × seconds of work each ÷ jobs at once.

    Args:
        runner: Its name.
        a: What it did before.
        b: What it did after.
    """
    name = one_line(redact(runner))
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
