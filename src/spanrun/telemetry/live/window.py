"""`Window`: rates and percentiles of the last seconds, from totals since the start."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

from spanrun.semconv import METRIC_SPANRUN_JOB_DURATION
from spanrun.telemetry.metrics.instruments import Totals

LENGTH: Final = 10.0
"""Seconds that it reaches back."""

_SHARES: Final = (0.5, 0.95, 0.99)
_BOUNDS: Final = METRIC_SPANRUN_JOB_DURATION.boundaries

Buckets: TypeAlias = Mapping[tuple[float, float], int]
"""How many durations lie between two bounds."""


class Measured(NamedTuple):
    """What was measured in the window.

    Attributes:
        rate: Jobs that ended in a second; None for the first look.
        percentiles: Seconds of the 50th, the 95th and the 99th; None without any job.
    """

    rate: float | None
    percentiles: tuple[float | None, ...]


class Window:
    """Remembers the totals of each runner for as long as the window is.

    They may begin anew from zero, as those with delta temporality do at each export.
    """

    def __init__(self) -> None:
        self._past: Final[deque[tuple[float, Mapping[str, Totals]]]] = deque()

    def clear(self) -> None:
        """Forget all: nobody has looked for a while."""
        self._past.clear()

    def add(self, now: float, totals: Mapping[str, Totals]) -> float:
        """Add the ``totals`` of all runners at a moment; how long the window is."""
        past = self._past
        while past and now - past[0][0] > LENGTH:
            past.popleft()
        past.append((now, totals))
        return now - past[0][0]

    def of(self, name: str) -> Measured:
        """What was measured of the runners of that name, since the first totals."""
        (since, _), (now, last) = self._past[0], self._past[-1]
        first = next((old[name] for _, old in self._past if name in old), None)
        found = last.get(name)
        if found is None or first is None:
            return Measured(None, (None,) * len(_SHARES))
        buckets, before = _summed(found.durations), _summed(first.durations)
        new = _since(buckets, before) if first is not found else buckets
        # While nothing has ended in the window, those before it still say something.
        values = tuple(_percentiles(new if any(new.values()) else buckets))
        if now <= since:
            return Measured(None, values)
        return Measured(sum(new.values()) / (now - since), values)


def _summed(readings: Iterable[tuple[Any, ...]]) -> Buckets:
    """The buckets of all ``readings``, whatever their form, in order."""
    summed: dict[tuple[float, float], int] = {}
    for reading in readings:
        for bounds, count in _buckets(reading):
            summed[bounds] = summed.get(bounds, 0) + count
    return summed


def _buckets(reading: tuple[Any, ...]) -> Iterator[tuple[tuple[float, float], int]]:
    if len(reading) == 5:  # noqa: PLR2004 -- with bounds of their own
        counts = reading[0]
        bounds = [0.0, *_BOUNDS, math.inf]
        for at, count in enumerate(counts):
            yield (bounds[at], bounds[at + 1]), count
        return
    (scale, zeros, first), counts, *_ = reading
    yield (0.0, 0.0), zeros
    base = 2.0 ** (2.0**-scale)
    for at, count in enumerate(counts, first):
        yield (base**at, base ** (at + 1)), count


def _since(now: Buckets, before: Buckets) -> Buckets:
    """What came on top; all, where they began anew.

    Exponential buckets become wider as time goes on: what was in one of ``before`` is
    in the one around it.
    """
    came = dict(now)
    ordered = sorted(now)
    for (low, high), count in before.items():
        middle = low if math.isinf(high) else (low + high) / 2
        at = bisect_right(ordered, (middle, math.inf)) - 1
        if not count:
            continue
        if at < 0 or came[ordered[at]] < count:
            return now
        came[ordered[at]] -= count
    return came


def _percentiles(buckets: Buckets) -> Iterator[float | None]:
    ordered = sorted(buckets.items())
    total = sum(buckets.values())
    for share in _SHARES:
        yield _at(share * total, ordered) if total else None


def _at(rank: float, ordered: list[tuple[tuple[float, float], int]]) -> float:
    """The value of that rank, if those in a bucket are spread over it evenly."""
    below, value = 0, 0.0
    for (low, high), count in ordered:
        if count:
            part = min(1.0, (rank - below) / count)
            value = low if math.isinf(high) else low + (high - low) * part
            below += count
            if below >= rank:
                break
    return value
