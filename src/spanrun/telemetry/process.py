"""`ProcessMetrics`: what the process uses, by OpenTelemetry's names.

All of it is read when metrics are collected, but for how long the garbage collector
stops the process: that has to be measured while it does, at 0.3 µs each time it comes.
"""

from __future__ import annotations

import gc
import os
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Final

from opentelemetry.metrics import Meter, Observation

from spanrun import semconv
from spanrun.telemetry.forks import tell_after_fork
from spanrun.telemetry.health import observable
from spanrun.telemetry.metrics.aggregate import Aggregator

_STATM: Final = Path("/proc/self/statm")
_OPEN: Final = "/proc/self/fd", "/dev/fd"
"""Folders with an entry for each open descriptor: of Linux, and of others."""
_PAUSES: Final = 10_000
"""Pauses that are remembered between two collections."""
_GENERATIONS: Final = 3
_GC: Final = {
    semconv.METRIC_CPYTHON_GC_COLLECTIONS: "collections",
    semconv.METRIC_CPYTHON_GC_COLLECTED_OBJECTS: "collected",
    semconv.METRIC_CPYTHON_GC_UNCOLLECTABLE_OBJECTS: "uncollectable",
}


class ProcessMetrics:
    """Reports what the process uses, from now on until `close`.

    Args:
        meter: Makes the instruments that are read at each collection.
        aggregator: Takes the pauses.
    """

    def __init__(self, meter: Meter, aggregator: Aggregator) -> None:
        self._pauses: Final[deque[tuple[int, float]]] = deque(maxlen=_PAUSES)
        self._began = 0.0
        self._cells: Final = [
            aggregator.cell(
                semconv.METRIC_SPANRUN_GC_DURATION,
                {semconv.CPYTHON_GC_GENERATION: generation},
            )
            for generation in range(_GENERATIONS)
        ]
        observable(meter, semconv.METRIC_PROCESS_CPU_TIME, _cpu)
        observable(meter, semconv.METRIC_PROCESS_MEMORY_USAGE, _memory)
        observable(meter, semconv.METRIC_PROCESS_OPEN_FILE_DESCRIPTOR_COUNT, _files)
        for metric, name in _GC.items():
            observable(meter, metric, partial(self._collector, name))
        gc.callbacks.append(self._collects)
        tell_after_fork(self)

    def close(self) -> None:
        """Measure no more."""
        with suppress(ValueError):
            gc.callbacks.remove(self._collects)

    def after_fork(self) -> None:
        """In the child: what was measured is the parent's."""
        self._pauses.clear()

    def _collects(self, phase: str, about: dict[str, int]) -> None:
        """The garbage collector begins, or has ended; in whichever thread that is.

        No lock may be taken: that thread may hold it.
        """
        if phase == "start":
            self._began = perf_counter()
        else:
            self._pauses.append((about["generation"], perf_counter() - self._began))

    def _collector(self, name: str) -> Iterator[Observation]:
        while self._pauses:
            generation, seconds = self._pauses.popleft()
            self._cells[generation].add(seconds)
        for generation, each in enumerate(gc.get_stats()):
            labels = {semconv.CPYTHON_GC_GENERATION: generation}
            yield Observation(each[name], labels)


def _cpu() -> Iterator[Observation]:
    used = os.times()
    for mode, seconds in zip(semconv.CPU_MODE_VALUES, used[:2], strict=True):
        yield Observation(seconds, {semconv.CPU_MODE: mode})


def _memory() -> Iterator[Observation]:
    with suppress(OSError, ValueError, IndexError):  # there is no such file
        pages = int(_STATM.read_bytes().split()[1])  # no codec to import
        yield Observation(pages * os.sysconf("SC_PAGE_SIZE"))


def _files() -> Iterator[Observation]:
    for folder in _OPEN:
        with suppress(OSError):  # there is none, or no descriptor is left to look
            yield Observation(len(os.listdir(folder)) - 1)  # noqa: PTH208 -- 5 × faster
            return
