"""`JobCells`: what a job that succeeds adds to, all at once."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

from opentelemetry.trace import Span

from spanrun.telemetry.cells import Cell, Gate, HistogramCell

Count: TypeAlias = Callable[
    [float, float, float, float, float, float, float, float, Span], None
]
"""Takes a job's seconds, those of each phase as `Timings.parts` has them, its span."""


class JobCells:
    """The counter, the histogram and the phases' times of the jobs that succeed.

    Args:
        gate: Of the snapshots.
        count: How many.
        duration: How long they took.
        phases: Where their time went, in the order of `Timings.parts`.

    Attributes:
        add: Counts a job.
    """

    def __init__(
        self, gate: Gate, count: Cell, duration: Cell, phases: Sequence[Cell]
    ) -> None:
        self._gate: Final = gate
        # Of a counter's cells all that is needed here is their value.
        self._count: Final[Any] = count
        self._duration: Final[Any] = duration
        self._phases: Final[Sequence[Any]] = phases
        plain = isinstance(duration, HistogramCell)
        self.add: Final[Count] = self._add_plain if plain else self._add

    def _add(
        self,
        seconds: float,
        queue: float,
        limit: float,
        rate_limit: float,
        backoff: float,
        busy: float,
        lag: float,
        service: float,
        span: Span,
    ) -> None:
        parts = queue, limit, rate_limit, backoff, busy, lag, service
        with self._gate.lock:
            self._count.value += 1
            self._duration.add(seconds, span)
            for cell, part in zip(self._phases, parts, strict=True):
                cell.value += part

    def _add_plain(
        self,
        seconds: float,
        queue: float,
        limit: float,
        rate_limit: float,
        backoff: float,
        busy: float,
        lag: float,
        service: float,
        span: Span,
    ) -> None:
        duration = self._duration
        q, w, r, b, u, g, s = self._phases
        bucket = bisect_left(duration.bounds, seconds)
        if self._gate.reading:
            self._add(
                *(seconds, queue, limit, rate_limit, backoff, busy, lag, service), span
            )
            return
        # No call from here on, so nobody else reads or adds in between: see `Gate`.
        self._count.value += 1
        duration.counts[bucket] += 1
        duration.sum += seconds
        if seconds < duration.least:  # noqa: PLR1730 -- not a call
            duration.least = seconds
        if seconds > duration.greatest:  # noqa: PLR1730 -- not a call
            duration.greatest = seconds
        q.value += queue
        u.value += busy
        s.value += service
        if limit:
            w.value += limit
        if rate_limit:
            r.value += rate_limit
        if backoff:
            b.value += backoff
        if lag:
            g.value += lag
        if bucket not in duration.kept:
            duration.offer(bucket, seconds, span)
