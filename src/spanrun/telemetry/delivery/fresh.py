"""`Fresh`: the parcels that are in memory only, for now."""

from __future__ import annotations

from collections import deque
from typing import Final

from spanrun.semconv import SpanrunTelemetryReason
from spanrun.telemetry.delivery.frames import Signal
from spanrun.telemetry.delivery.lane import Lost
from spanrun.telemetry.delivery.layout import KEYS, Key
from spanrun.telemetry.delivery.parcel import Parcel, in_order, upto


class Fresh:
    """A bounded queue of parcels that aren't on disk yet.

    When it is full, the oldest ordinary parcels are given up for newer ones, and
    those marked ``keep`` for others of their kind only. Not safe from several
    threads: its owner has the lock.

    Args:
        max_bytes: Of all payloads in it.
        lost: Told of what had to be given up.
    """

    def __init__(self, max_bytes: int, lost: Lost) -> None:
        self.bytes = 0
        self._max_bytes: Final = max_bytes
        self._lost: Final = lost
        self._lines: Final[dict[Key, deque[Parcel]]] = {key: deque() for key in KEYS}

    def add(self, parcel: Parcel, reason: SpanrunTelemetryReason) -> bool:
        """Queue ``parcel``, if it fits; ``reason`` is told of what is given up."""
        frame = parcel.frame
        size = len(frame.payload)
        if size > self._max_bytes:
            self._lost(frame.signal, frame.items, reason)
            return False
        while self.bytes + size > self._max_bytes:
            if not self._evict(reason, keep=frame.keep):
                self._lost(frame.signal, frame.items, reason)
                return False
        self._lines[frame.signal, frame.keep].append(parcel)
        self.bytes += size
        return True

    def restore(self, parcel: Parcel, reason: SpanrunTelemetryReason) -> None:
        """Queue ``parcel`` again, which was on a disk and isn't any more."""
        if parcel not in self._lines[parcel.frame.signal, parcel.frame.keep]:
            self.add(parcel, reason)

    def replace(self, old: Parcel, new: list[Parcel]) -> None:
        """Put ``new`` in the place of ``old``, which is the first or not in here."""
        line = self._lines[old.frame.signal, old.frame.keep]
        old.done = True
        self.settle()
        for parcel in reversed(new):
            line.appendleft(parcel)
            self.bytes += len(parcel.frame.payload)

    def head(self, signal: Signal, limit: int) -> list[Parcel]:
        """The oldest of ``signal``: ``limit`` bytes, or one longer parcel."""
        # Copies: what the garbage collector ends meanwhile may be put in here.
        lines = [tuple(line) for key, line in self._lines.items() if key[0] == signal]
        waiting = (p for p in in_order(lines) if p.place is None and not p.done)
        return upto(limit, waiting)

    def waiting(self, signal: Signal) -> int:
        """Items of ``signal`` in here."""
        return sum(
            parcel.frame.items
            for key, line in self._lines.items()
            if key[0] == signal
            for parcel in tuple(line)
            if parcel.place is None and not parcel.done
        )

    def holds(self, signal: Signal) -> bool:
        """Whether something of ``signal`` is in here."""
        return any(line for key, line in self._lines.items() if key[0] == signal)

    def born(self) -> float | None:
        """When the oldest was handed over; None when there is none."""
        return min(
            (line[0].born for line in self._lines.values() if line), default=None
        )

    def before(self, moment: float) -> list[Parcel]:
        """All that were handed over before ``moment``."""
        return [
            parcel
            for line in self._lines.values()
            for parcel in tuple(line)
            if parcel.born <= moment and parcel.place is None and not parcel.done
        ]

    def settle(self) -> None:
        """Forget what is on disk by now, or done with."""
        for line in self._lines.values():
            while line and (line[0].done or line[0].place is not None):
                self.bytes -= len(line.popleft().frame.payload)

    def clear(self) -> None:
        """Forget all of them."""
        for line in self._lines.values():
            line.clear()
        self.bytes = 0

    def _evict(self, reason: SpanrunTelemetryReason, *, keep: bool) -> bool:
        for key in KEYS:
            line = self._lines[key]
            if key[1] and not keep:
                break
            for parcel in tuple(line):
                if not parcel.flying and not parcel.writing:
                    line.remove(parcel)
                    self.bytes -= len(parcel.frame.payload)
                    if parcel.place is None and not parcel.done:
                        parcel.done = True
                        self._lost(key[0], parcel.frame.items, reason)
                    return True
        return False
