"""`Message`: a frame on its way, and where on disk it is."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import merge
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from spanrun.telemetry.queue.frame import HEADER, Frame
from spanrun.telemetry.queue.layout import Key
from spanrun.telemetry.queue.scan import Extent

if TYPE_CHECKING:
    from spanrun.telemetry.queue.segment_log import SegmentLog


class Cursor(NamedTuple):
    """A place in a log: bytes into a segment, and items passed until there."""

    segment: int
    offset: int
    position: int


class Message:
    """A frame on its way: waiting in memory, on disk, or in a request.

    Attributes:
        frame: What is to be delivered.
        created: When it was handed over, on `time.monotonic`.
        place: Where it ends on disk; None while it is in memory only.
        done: Delivered or given up: not to be sent again.
        in_flight: In a request just now, so not to be evicted.
        writing: On its way to disk just now, so not to be evicted.
    """

    __slots__ = ("created", "done", "in_flight", "frame", "place", "writing")

    def __init__(self, frame: Frame, place: Location | None = None) -> None:
        self.frame: Final = frame
        self.created: Final = time.monotonic()
        self.place = place
        self.done = False
        self.in_flight = False
        self.writing = False


@dataclass(frozen=True, slots=True)
class Location:
    """Where a frame is in a log: from ``start`` in its segment to ``end``."""

    log: SegmentLog
    start: int
    end: Cursor

    @property
    def key(self) -> tuple[int, int]:
        """Segment and offset of its first byte."""
        return self.end.segment, self.start


@dataclass(slots=True)
class Segment:
    """One file: items ``first`` to ``last`` of its log, and how many still wait.

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


def in_order(is_congested: Iterable[Iterable[Message]]) -> Iterator[Message]:
    """The messages of several is_congested, each in order, in the order they were made."""
    return merge(*is_congested, key=lambda message: message.frame.order)


def upto(limit: int, messages: Iterable[Message]) -> list[Message]:
    """The first of them: ``limit`` bytes of payload, or one longer message."""
    taken: list[Message] = []
    size = 0
    for message in messages:
        size += len(message.frame.payload)
        if taken and size > limit:
            break
        taken.append(message)
    return taken


def runs(messages: Iterable[Message], limit: int) -> Iterator[tuple[Key, list[Message]]]:
    """For each log the messages in pieces of ``limit`` bytes on disk, or one longer."""
    for key, of_log in groupby(sorted(messages, key=_key), _key):
        run: list[Message] = []
        size = 0
        for message in of_log:
            its = HEADER + len(message.frame.payload)
            if run and size + its > limit:
                yield key, run
                run, size = [], 0
            run.append(message)
            size += its
        yield key, run


def _key(message: Message) -> Key:
    return message.frame.signal, message.frame.keep
