"""Cells: the state of one series each, told as the SDK's data points."""

from __future__ import annotations

import math
import sys
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol, TypeAlias

from opentelemetry.sdk.metrics import Exemplar
from opentelemetry.sdk.metrics.export import (
    Buckets,
    ExponentialHistogramDataPoint,
    HistogramDataPoint,
    NumberDataPoint,
)
from opentelemetry.trace import Span, SpanContext

_MAX_SCALE: Final = 20
_MAX_BUCKETS: Final = 160

Labels: TypeAlias = Mapping[str, Any]


class Cell(Protocol):
    """The state of one series. To be used with the aggregator's lock held."""

    labels: Labels

    def add(self, value: float, span: Span | None) -> None:
        """Take a measurement, made in ``span``."""
        ...

    def point(self, started: int, now: int) -> Any:
        """What the cell holds, as a data point of the SDK."""
        ...

    def reset(self) -> None:
        """Begin again from zero, as delta temporality wants it."""
        ...


class Gate:
    """Keeps who adds and who reads apart.

    Who adds holds ``lock`` or, where it makes no call meanwhile, looks that nobody
    is ``reading``: between two calls the interpreter doesn't switch threads.

    Attributes:
        lock: Re-entrant: the garbage collector may end a unit while it is held.
        reading: A snapshot is being taken. Always, where threads run in parallel.
    """

    __slots__ = ("_always", "_readers", "lock", "reading")

    def __init__(self) -> None:
        self.lock = threading.RLock()
        enabled = getattr(sys, "_is_gil_enabled", None)
        self._always = enabled is not None and not enabled()
        self._readers = 0
        self.reading = self._always

    def after_fork(self) -> None:
        """In the child: nobody is in here, whatever the parent's threads did."""
        self.lock._at_fork_reinit()  # type: ignore[attr-defined] # noqa: SLF001 -- as `logging` does
        self._readers = 0
        self.reading = self._always

    def __enter__(self) -> None:
        self.lock.acquire()
        self._readers += 1
        self.reading = True

    def __exit__(self, *_: object) -> None:
        self._readers -= 1
        self.reading = self._always or self._readers > 0
        self.lock.release()


class SumCell:
    """A counter's, or an up-down-counter's, running total."""

    __slots__ = ("labels", "value")

    def __init__(self, labels: Labels) -> None:
        self.labels: Labels = labels
        self.value: float = 0

    def add(self, value: float, span: Span | None) -> None:  # noqa: ARG002
        """Take a measurement."""
        self.value += value

    def point(self, started: int, now: int) -> NumberDataPoint:
        """The total so far."""
        return NumberDataPoint(self.labels, started, now, self.value)

    def reset(self) -> None:
        """Begin again from zero."""
        self.value = 0


Pin: TypeAlias = Callable[[SpanContext], bool]


def is_sampled(span: SpanContext) -> bool:
    """Whether the trace of ``span`` will be there, if nobody can see to it."""
    return span.trace_flags.sampled


class _Exemplars:
    """For each bucket the first measurement since the last collection.

    Of a trace that wasn't sampled it is taken when the trace can be pinned, which
    keeps it. So each exemplar leads somewhere, and few traces are kept for it.
    """

    __slots__ = ("_pin", "kept")

    def __init__(self, pin: Pin) -> None:
        self.kept: dict[int, tuple[float, SpanContext, int]] = {}
        self._pin = pin

    def offer(self, bucket: int, value: float, span: Span) -> None:
        """Take it, for a bucket that isn't in ``kept``."""
        context = span.get_span_context()
        if context.trace_flags.sampled or self._pin(context):
            self.kept[bucket] = value, context, time.time_ns()

    def collect(self) -> list[Exemplar]:
        exemplars = [
            Exemplar({}, value, when, span.span_id, span.trace_id)
            for value, span, when in self.kept.values()
        ]
        self.kept.clear()
        return exemplars


class HistogramCell:
    """Counts in buckets with explicit bounds."""

    __slots__ = (
        "_exemplars",
        "bounds",
        "counts",
        "greatest",
        "kept",
        "labels",
        "least",
        "offer",
        "sum",
    )
    counts: list[int]
    sum: float
    least: float
    greatest: float

    def __init__(self, labels: Labels, bounds: Sequence[float], pin: Pin) -> None:
        self.labels: Labels = labels
        self.bounds = tuple(bounds)
        self._exemplars = _Exemplars(pin)
        self.kept = self._exemplars.kept
        self.offer = self._exemplars.offer
        self.reset()

    def add(self, value: float, span: Span | None) -> None:
        """Take a measurement; bounds are inclusive upwards, as OTLP's are."""
        bucket = bisect_left(self.bounds, value)
        self.counts[bucket] += 1
        self.sum += value
        self.least = min(self.least, value)
        self.greatest = max(self.greatest, value)
        if span is not None and bucket not in self.kept:
            self.offer(bucket, value, span)

    def point(self, started: int, now: int) -> HistogramDataPoint:
        """The buckets so far. Also of an empty cell: that is a zero point."""
        count = sum(self.counts)
        return HistogramDataPoint(
            self.labels,
            started,
            now,
            count,
            self.sum,
            tuple(self.counts),
            self.bounds,
            self.least if count else 0.0,
            self.greatest if count else 0.0,
            self._exemplars.collect(),
        )

    def reset(self) -> None:
        """Begin again from zero."""
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0
        self.least = math.inf
        self.greatest = -math.inf


class ExponentialCell:
    """Counts in buckets whose bounds are powers of ``2 ** 2 ** -scale``.

    The scale shrinks when the values don't fit into 160 buckets (OpenTelemetry
    specification, Metrics data model, ExponentialHistogram). Only for values
    that aren't negative, which durations and sizes are not.
    """

    __slots__ = (
        "_counts",
        "_exemplars",
        "_greatest",
        "_least",
        "_scale",
        "_sum",
        "_zeros",
        "labels",
    )
    _counts: dict[int, int]
    _scale: int
    _zeros: int
    _sum: float
    _least: float
    _greatest: float

    def __init__(self, labels: Labels, pin: Pin) -> None:
        self.labels: Labels = labels
        self._exemplars = _Exemplars(pin)
        self.reset()

    def add(self, value: float, span: Span | None) -> None:
        """Take a measurement."""
        self._sum += value
        self._least = min(self._least, value)
        self._greatest = max(self._greatest, value)
        if value <= 0:
            self._zeros += 1
            return
        bucket = self._bucket(value)
        counts = self._counts
        if bucket in counts:
            counts[bucket] += 1
        else:
            counts[bucket] = 1
            if max(counts) - min(counts) >= _MAX_BUCKETS:
                self._shrink()
                bucket = self._bucket(value)
        exemplars = self._exemplars
        if span is not None and bucket not in exemplars.kept:
            exemplars.offer(bucket, value, span)

    def _shrink(self) -> None:
        """Halve the number of buckets until they are few enough."""
        counts = self._counts
        while max(counts) - min(counts) >= _MAX_BUCKETS:
            self._scale -= 1
            shrunk: dict[int, int] = {}
            for index, count in counts.items():
                shrunk[index >> 1] = shrunk.get(index >> 1, 0) + count
            counts = shrunk
        self._counts = counts

    def _bucket(self, value: float) -> int:
        """The bucket of ``value``; what is below the normal floats is in theirs."""
        exponent = math.log2(max(value, sys.float_info.min))
        return math.ceil(exponent * 2.0**self._scale) - 1

    def point(self, started: int, now: int) -> ExponentialHistogramDataPoint:
        """The buckets so far."""
        counts = self._counts
        first = min(counts) if counts else 0
        last = max(counts) if counts else -1
        count = sum(counts.values()) + self._zeros
        return ExponentialHistogramDataPoint(
            self.labels,
            started,
            now,
            count,
            self._sum,
            self._scale,
            self._zeros,
            Buckets(first, [counts.get(i, 0) for i in range(first, last + 1)]),
            Buckets(0, []),
            0,
            self._least if count else 0.0,
            self._greatest if count else 0.0,
            self._exemplars.collect(),
        )

    def reset(self) -> None:
        """Begin again from zero."""
        self._counts = {}
        self._scale = _MAX_SCALE
        self._zeros = 0
        self._sum = 0.0
        self._least = math.inf
        self._greatest = -math.inf


def adder(cell: Cell, gate: Gate) -> Callable[[float, Span], None]:
    """What adds to ``cell`` by itself, without its caller's having the lock."""
    if not isinstance(cell, HistogramCell):

        def add(value: float, span: Span) -> None:
            with gate.lock:
                cell.add(value, span)

        return add
    bounds, kept, offer = cell.bounds, cell.kept, cell.offer

    def add_plain(value: float, span: Span) -> None:
        bucket = bisect_left(bounds, value)
        if gate.reading:
            with gate.lock:
                cell.add(value, span)
            return
        # No call from here on, so nobody else reads or adds in between: see `Gate`.
        cell.counts[bucket] += 1
        cell.sum += value
        if value < cell.least:  # noqa: PLR1730 -- not a call
            cell.least = value
        if value > cell.greatest:  # noqa: PLR1730 -- not a call
            cell.greatest = value
        if bucket not in kept:
            offer(bucket, value, span)

    return add_plain
