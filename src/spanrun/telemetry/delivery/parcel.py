"""`Parcel`: a frame on its way, and where on disk it is."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import merge
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from spanrun.telemetry.delivery.frames import HEADER, Frame
from spanrun.telemetry.delivery.layout import Key
from spanrun.telemetry.delivery.scan import Extent

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
    """One file: items ``first`` to ``last`` of its lane, and how many still wait.

    Attributes:
        trouble: Why it can't be read; empty when it can.
    """

    number: int
    path: Path
    size: int
    first: int
    last: int
    waiting: int
    trouble: str = ""


class Stored(NamedTuple):
    """A segment that another process left: its number, its size, what is in it."""

    number: int
    path: Path
    size: int
    inside: Extent | None


def in_order(lines: Iterable[Iterable[Parcel]]) -> Iterator[Parcel]:
    """The parcels of several lines, each in order, in the order they were made."""
    return merge(*lines, key=lambda parcel: parcel.frame.order)


def upto(limit: int, parcels: Iterable[Parcel]) -> list[Parcel]:
    """The first of them: ``limit`` bytes of payload, or one longer parcel."""
    taken: list[Parcel] = []
    size = 0
    for parcel in parcels:
        size += len(parcel.frame.payload)
        if taken and size > limit:
            break
        taken.append(parcel)
    return taken


def runs(parcels: Iterable[Parcel], limit: int) -> Iterator[tuple[Key, list[Parcel]]]:
    """For each lane the parcels in pieces of ``limit`` bytes on disk, or one longer."""
    for key, of_lane in groupby(sorted(parcels, key=_key), _key):
        run: list[Parcel] = []
        size = 0
        for parcel in of_lane:
            its = HEADER + len(parcel.frame.payload)
            if run and size + its > limit:
                yield key, run
                run, size = [], 0
            run.append(parcel)
            size += its
        yield key, run


def _key(parcel: Parcel) -> Key:
    return parcel.frame.signal, parcel.frame.keep
