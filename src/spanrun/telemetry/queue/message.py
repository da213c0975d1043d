"""`Message`: a frame on its way, and where on disk it is."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import merge
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Final

from spanrun.telemetry.queue.cursors import Cursor
from spanrun.telemetry.queue.frame import HEADER, Frame
from spanrun.telemetry.queue.layout import Key


class Message:
    """A frame on its way: waiting in memory, on disk, or in a request.

    Attributes:
        frame: What is to be delivered.
        created: When it was handed over, on `time.monotonic`.
        location: Where it ends on disk; None while it is in memory only.
        done: Delivered or given up: not to be sent again.
        in_flight: In a request just now, so not to be evicted.
        writing: On its way to disk just now, so not to be evicted.
    """

    __slots__ = ("created", "done", "frame", "in_flight", "location", "writing")

    def __init__(self, frame: Frame, location: Location | None = None) -> None:
        self.frame: Final = frame
        self.created: Final = time.monotonic()
        self.location = location
        self.done = False
        self.in_flight = False
        self.writing = False

    @property
    def key(self) -> Key:
        """Which log it is for."""
        return self.frame.signal, self.frame.keep

    def is_in(self, folder: Path, key: Key) -> bool:
        """Whether it is on disk, in that log."""
        location = self.location
        return location is not None and location.log == (folder, key)


@dataclass(frozen=True, slots=True)
class Location:
    """Where a frame is in a log: from ``start`` in a segment to ``end``.

    Attributes:
        log: Its folder, and of which key it is: by the name of its files, whatever a
            frame that was put there says of itself.
    """

    log: tuple[Path, Key]
    start: int
    end: Cursor

    @property
    def folder(self) -> Path:
        """In which the log is."""
        return self.log[0]

    @property
    def key(self) -> tuple[int, int]:
        """Segment and offset of its first byte."""
        return self.end.segment, self.start


def in_order(queues: Iterable[Iterable[Message]]) -> Iterator[Message]:
    """The messages of several queues, each in order, in the order they were made."""
    return merge(*queues, key=lambda message: message.frame.order)


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


def runs(
    messages: Iterable[Message], limit: int
) -> Iterator[tuple[Key, list[Message]]]:
    """For each log the messages in pieces of ``limit`` bytes on disk, or one longer."""
    by_key = attrgetter("key")
    for key, of_log in groupby(sorted(messages, key=by_key), by_key):
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
