"""The group of cells whose cells the part in C adds to, where that is in use."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final

from opentelemetry.trace import SpanContext

from spanrun.telemetry.metrics import fallback
from spanrun.telemetry.metrics.fallback import (
    Cell,
    ExponentialHistogram,
    Histogram,
    JobCells,
    Sum,
)

__all__ = ["ExponentialHistogram", "Gate", "Group", "Histogram", "JobCells", "Sum"]


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


class Group(fallback.Group):
    """Series under the lock of a `Gate`."""

    __slots__ = ("gate",)

    def __init__(self, pin: Callable[[SpanContext], bool] | None = None) -> None:
        super().__init__(pin)
        self.gate: Final = Gate()

    def read(self, cells: Sequence[Cell]) -> list[tuple[Any, ...]]:
        """What some cells hold, all at one moment."""
        with self.gate:
            return [cell.read() for cell in cells]

    def change(self, change: Callable[..., int | None], *args: Any) -> int | None:
        """Call ``change`` with the lock held."""
        with self.gate.lock:
            return change(*args)

    def after_fork(self) -> None:
        """In the child: nobody is in here."""
        self.gate.after_fork()
