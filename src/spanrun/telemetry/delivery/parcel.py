"""`Parcel`: a frame on its way, and where on disk it is."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from spanrun.telemetry.delivery.frames import Frame

if TYPE_CHECKING:
    from spanrun.telemetry.delivery.lane import Lane


class Cursor(NamedTuple):
    """A place in a lane: bytes into a segment, and items passed until there."""

    segment: int
    offset: int
    position: int


class Parcel:
    """A frame on its way: waiting in memory, on disk, or in a request.

    Attributes:
        frame: What is to be delivered.
        born: When it was handed over, on `time.monotonic`.
        place: Where it ends on disk; None while it is in memory only.
        done: Delivered or given up: not to be sent again.
        flying: In a request just now, so not to be evicted.
        writing: On its way to disk just now, so not to be evicted.
    """

    __slots__ = ("born", "done", "flying", "frame", "place", "writing")

    def __init__(self, frame: Frame, place: Place | None = None) -> None:
        self.frame: Final = frame
        self.born: Final = time.monotonic()
        self.place = place
        self.done = False
        self.flying = False
        self.writing = False


@dataclass(frozen=True, slots=True)
class Place:
    """Where a frame is in a lane: from ``start`` in its segment to ``end``."""

    lane: Lane
    start: int
    end: Cursor

    @property
    def key(self) -> tuple[int, int]:
        """Segment and offset of its first byte."""
        return self.end.segment, self.start


@dataclass(slots=True)
class Segment:
    """One file: items ``first`` to ``last`` of its lane, and how many still wait."""

    number: int
    path: Path
    size: int
    first: int
    last: int
    waiting: int
