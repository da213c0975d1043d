"""`job_adder`: what counts a job that succeeds, in all its series at once."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from opentelemetry.trace import Span

from spanrun.telemetry.metrics.cells import Gate, HistogramCell

Count: TypeAlias = Callable[[float, tuple[float, ...], Span], None]
"""Takes a job's seconds, those of each phase as `Timings.parts` has them, its span."""


def job_adder(gate: Gate, count: Any, duration: Any, phases: Sequence[Any]) -> Count:
    """What adds to some cells as `RunnerMetrics.job` does, as one.

    Args:
        gate: Of the snapshots: each has the job in all of the cells, or in none.
        count: The cell of how many jobs there were.
        duration: Of how long they took.
        phases: Of where their time went.
    """

    def add(seconds: float, parts: tuple[float, ...], span: Span) -> None:
        with gate.lock:
            count.value += 1
            duration.add(seconds, span)
            for cell, part in zip(phases, parts, strict=True):
                cell.value += part

    if not isinstance(duration, HistogramCell):
        return add
    return _in_place(gate, count, duration, phases, add)


def _in_place(
    gate: Gate,
    count: Any,
    duration: HistogramCell,
    phases: Sequence[Any],
    add_locked: Count,
) -> Count:
    """The same without a lock, unless a snapshot is being taken."""
    bounds, kept, offer = duration.bounds, duration.kept, duration.offer
    of_queue, of_limit, of_rate, of_backoff, of_busy, of_lag, of_service = phases

    def add(seconds: float, parts: tuple[float, ...], span: Span) -> None:
        queue, limit, rate_limit, backoff, busy, lag, service = parts
        bucket = bisect_left(bounds, seconds)
        if gate.reading:
            add_locked(seconds, parts, span)
            return
        # No call from here on, so nobody else reads or adds in between: see `Gate`.
        count.value += 1
        duration.counts[bucket] += 1
        duration.sum += seconds
        if seconds < duration.least:  # noqa: PLR1730 -- not a call
            duration.least = seconds
        if seconds > duration.greatest:  # noqa: PLR1730 -- not a call
            duration.greatest = seconds
        of_queue.value += queue
        of_busy.value += busy
        of_service.value += service
        if limit:
            of_limit.value += limit
        if rate_limit:
            of_rate.value += rate_limit
        if backoff:
            of_backoff.value += backoff
        if lag:
            of_lag.value += lag
        if bucket not in kept:
            offer(bucket, seconds, span)

    return add
