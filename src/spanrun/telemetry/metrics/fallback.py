"""Cells in plain Python: what there is where the compiled ones can't be.

`spanrun._core.pyi` says what they do. A group has a re-entrant lock, because the
garbage collector may end a unit in the middle of adding: what is added then waits
until the group is in order again.
"""

from __future__ import annotations

import math
import sys
import threading
import time
from bisect import bisect_left
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, Protocol, TypeAlias

from opentelemetry.trace import SpanContext

_MAX_SCALE: Final = 20
_MAX_BUCKETS: Final = 160
_LEAST: Final = sys.float_info.min
_GREATEST: Final = sys.float_info.max


class Measured(Protocol):
    """A span in which something was measured."""

    def get_span_context(self) -> SpanContext:
        """Return its identity."""
        ...


Exemplar: TypeAlias = tuple[float, int, int, int]


class Group:
    """Series that are added to, and read, under one lock.

    Attributes:
        lock: Held while a cell is changed or read.
        busy: One is: what the garbage collector, or a signal's handler, adds in the
            middle of that waits in ``late``, and is added by `leave`.
        late: See ``busy``.
    """

    __slots__ = ("_exemplars", "_pin", "busy", "late", "lock")

    def __init__(
        self,
        pin: Callable[[SpanContext], bool] | None = None,
        *,
        exemplars: bool = True,
    ) -> None:
        self._pin = pin
        self._exemplars = exemplars
        self.lock = threading.RLock()
        self.busy = False
        self.late: deque[Callable[[], object]] = deque()

    def read(
        self, cells: Sequence[Cell], *, peek: bool = False
    ) -> list[tuple[Any, ...]]:
        """What some cells hold, all at one moment.

        With ``peek`` there are no exemplars, and nothing begins anew.
        """
        with self.lock:
            busy, self.busy = self.busy, True
            try:
                if peek:
                    return [cell.reading([]) for cell in cells]
                return [cell.read() for cell in cells]
            finally:
                if not busy:
                    self.leave()

    def after_fork(self) -> None:
        """In the child: nobody holds the lock, whatever the parent's threads did."""
        self.lock._at_fork_reinit()  # type: ignore[attr-defined] # noqa: SLF001 -- as `logging` does
        self.busy = False
        self.late.clear()

    def leave(self) -> None:
        """The cells are in order: add what came meanwhile."""
        try:
            while self.late:
                self.late.popleft()()
        finally:
            self.busy = False

    def kept(self, span: Any) -> tuple[int, int] | None:
        """The ids of a span whose trace is sampled, or kept because we ask for it."""
        if not self._exemplars:
            return None
        pin = getattr(span, "pin", None)
        if pin is not None:
            return (span.trace_id, span.span_id) if pin() else None
        context = span.get_span_context()
        if context.trace_flags.sampled or (self._pin and self._pin(context)):
            return context.trace_id, context.span_id
        return None


class Cell:
    """One series. The base of the kinds of cells."""

    __slots__ = ("_delta", "_group", "kept", "labels")

    def __init__(self, labels: Mapping[str, Any], group: Group, delta: bool) -> None:  # noqa: FBT001 -- as in `_core.pyi`
        self.labels = labels
        self._group = group
        self._delta = delta
        self.kept: dict[int, Exemplar] = {}
        self.reset()

    def add(self, value: float, span: Measured | None = None) -> None:
        """Add a measurement; ``span`` may become the exemplar of its bucket."""
        group = self._group
        with group.lock:
            if group.busy:
                group.late.append(partial(self.take, value))
                return
            group.busy = True
            try:
                bucket = self.take(value)
            finally:
                group.leave()
        if bucket is not None and span is not None:
            self.offer(bucket, value, span)

    def offer(self, bucket: int, value: float, span: Measured) -> None:
        """Make an exemplar of a measurement, if the trace of ``span`` is kept."""
        ids = self._group.kept(span)
        if ids is not None:
            self.kept.setdefault(bucket, (float(value), time.time_ns(), *ids))

    def take(self, value: float) -> int | None:
        """Add a measurement. Returns its bucket if that has no exemplar yet."""
        raise NotImplementedError

    def read(self) -> tuple[Any, ...]:
        """What it holds; then, with ``delta``, it begins again from zero."""
        # By value, as some backends put them into buckets in that order.
        reading = self.reading([self.kept[bucket] for bucket in sorted(self.kept)])
        self.kept.clear()
        if self._delta:
            self.reset()
        return reading

    def reading(self, exemplars: list[Exemplar]) -> tuple[Any, ...]:
        """What it holds, as plain values."""
        raise NotImplementedError

    def reset(self) -> None:
        """Begin again from zero."""
        raise NotImplementedError


class Sum(Cell):
    """The running total of a counter, or of an up-down-counter."""

    __slots__ = ("value",)
    value: float

    def __init__(
        self,
        labels: Mapping[str, Any],
        group: Group,
        delta: bool = False,  # noqa: FBT001, FBT002 -- as in `_core.pyi`
    ) -> None:
        super().__init__(labels, group, delta)

    def take(self, value: float) -> None:
        """Add a measurement."""
        self.value += value

    def reading(self, exemplars: list[Exemplar]) -> tuple[float]:  # noqa: ARG002 -- it has none
        """The total."""
        return (self.value,)

    def reset(self) -> None:
        """Begin again from zero."""
        self.value = 0


class Histogram(Cell):
    """Counts in buckets with explicit bounds, which are inclusive upwards."""

    __slots__ = ("bounds", "counts", "greatest", "least", "sum")
    counts: list[int]
    sum: float
    least: float
    greatest: float

    def __init__(
        self,
        labels: Mapping[str, Any],
        bounds: Sequence[float],
        group: Group,
        delta: bool = False,  # noqa: FBT001, FBT002 -- as in `_core.pyi`
    ) -> None:
        self.bounds = tuple(bounds)
        super().__init__(labels, group, delta)

    def take(self, value: float) -> int | None:
        """Add a measurement. Returns its bucket if that has no exemplar yet."""
        bucket = bisect_left(self.bounds, value)
        self.counts[bucket] += 1
        self.sum += value
        if value < self.least:
            self.least = float(value)
        if value > self.greatest:
            self.greatest = float(value)
        return None if bucket in self.kept else bucket

    def reading(self, exemplars: list[Exemplar]) -> tuple[Any, ...]:
        """The buckets' counts, the sum, the least and the greatest value."""
        counts = tuple(self.counts)
        return counts, self.sum, self.least, self.greatest, exemplars

    def reset(self) -> None:
        """Begin again from zero."""
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0
        self.least = math.inf
        self.greatest = -math.inf


class ExponentialHistogram(Cell):
    """Counts in buckets whose bounds are powers of ``2 ** 2 ** -scale``.

    The scale shrinks when the values don't fit into 160 buckets (OpenTelemetry
    specification, Metrics data model, ExponentialHistogram). Only for values
    that aren't negative, which durations and sizes are not.
    """

    __slots__ = ("_scale", "_zeros", "counts", "greatest", "least", "sum")
    counts: dict[int, int]
    sum: float
    least: float
    greatest: float
    _scale: int
    _zeros: int

    def __init__(
        self,
        labels: Mapping[str, Any],
        group: Group,
        delta: bool = False,  # noqa: FBT001, FBT002 -- as in `_core.pyi`
    ) -> None:
        super().__init__(labels, group, delta)

    def take(self, value: float) -> int | None:
        """Add a measurement. Returns its bucket if that has no exemplar yet."""
        self.sum += value
        if value < self.least:
            self.least = float(value)
        if value > self.greatest:
            self.greatest = float(value)
        if not value > 0:
            self._zeros += 1
            return None
        bucket = self._bucket(value)
        counts = self.counts
        if bucket in counts:
            counts[bucket] += 1
        else:
            counts[bucket] = 1
            if max(counts) - min(counts) >= _MAX_BUCKETS:
                self._shrink()
                bucket = self._bucket(value)
        return None if bucket in self.kept else bucket

    def _shrink(self) -> None:
        """Halve the number of buckets until they are few enough."""
        counts = self.counts
        while max(counts) - min(counts) >= _MAX_BUCKETS:
            self._scale -= 1
            shrunk: defaultdict[int, int] = defaultdict(int)
            for index, count in counts.items():
                shrunk[index >> 1] += count
            counts = dict(shrunk)
            self.kept = {at >> 1: self.kept[at] for at in sorted(self.kept)[::-1]}
        self.counts = counts

    def _bucket(self, value: float) -> int:
        """The bucket of ``value``; what is beyond the normal floats is in theirs."""
        exponent = math.log2(min(max(value, _LEAST), _GREATEST))
        return math.ceil(exponent * 2.0**self._scale) - 1

    def reading(self, exemplars: list[Exemplar]) -> tuple[Any, ...]:
        """The shape, the counts, the sum, the least and the greatest value."""
        counts = self.counts
        first = min(counts) if counts else 0
        last = max(counts) if counts else -1
        dense = tuple(counts.get(at, 0) for at in range(first, last + 1))
        shape = self._scale, self._zeros, first
        return shape, dense, self.sum, self.least, self.greatest, exemplars

    def reset(self) -> None:
        """Begin again from zero."""
        self.counts = {}
        self._scale = _MAX_SCALE
        self._zeros = 0
        self.sum = 0.0
        self.least = math.inf
        self.greatest = -math.inf


class JobCells:
    """The series in which a job is counted, all of them at once."""

    __slots__ = ("_count", "_duration", "_group", "_phases")

    def __init__(
        self, group: Group, count: Sum, duration: Cell, phases: Sequence[Sum]
    ) -> None:
        self._group = group
        self._count = count
        self._duration = duration
        self._phases = tuple(phases)

    def add(
        self, seconds: float, parts: tuple[float, ...], span: Measured | None = None
    ) -> None:
        """Count a job that took ``seconds``, and in each phase one of ``parts``."""
        if len(parts) != len(self._phases):
            raise ValueError("not as many parts as phases")
        group = self._group
        with group.lock:
            if group.busy:
                group.late.append(partial(self._take, seconds, parts))
                return
            group.busy = True
            try:
                bucket = self._take(seconds, parts)
            finally:
                group.leave()
        if bucket is not None and span is not None:
            self._duration.offer(bucket, seconds, span)

    def _take(self, seconds: float, parts: tuple[float, ...]) -> int | None:
        self._count.value += 1
        for phase, part in zip(self._phases, parts):  # noqa: B905 -- see `add`
            if part:
                phase.value += part
        return self._duration.take(seconds)
