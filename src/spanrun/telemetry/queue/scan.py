"""Reading frames from a file, past damage, with a bounded part of it in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

from spanrun.telemetry.queue.frame import (
    HEADER,
    MAGIC,
    MAX_PAYLOAD,
    Frame,
    Header,
    checksum,
    read_header,
)

Read: TypeAlias = Callable[[int, int], bytes]
"""Gives the bytes from an offset on, so many, or fewer where the file ends."""

_WINDOW: Final = 256 * 1024  # bytes that are read at a time, but for a longer frame
_PROBE: Final = 4096  # the same where headers alone are read
# Bytes of frames with a wrong CRC that are read in one scan. A header whose length
# is wrong costs as much as it says, and a file may be full of such.
_WASTE: Final = 4 * MAX_PAYLOAD


@dataclass(frozen=True, slots=True)
class Found:
    """An intact frame, and the bytes ``start`` to ``end`` where it stood."""

    frame: Frame
    before: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Damage:
    """The bytes ``start`` to ``end`` are no frame.

    Attributes:
        after: Items up to its end, when its header could still be read.
    """

    start: int
    end: int
    after: int | None


@dataclass(frozen=True, slots=True)
class Extent:
    """What the headers of a file say: items ahead of it, items up to its end."""

    first: int
    last: int


def scan(read: Read, start: int, end: int) -> Iterator[Found | Damage]:
    """Every frame from ``start`` to ``end``, and what lies between them.

    The pieces are in order and leave no byte out, up to the end of the file if that
    comes first. A bad frame costs itself alone: the scan goes on at the next magic
    that begins a sound header. The file is read as the pieces are asked for.

    Raises:
        OSError: What ``read`` raises.
    """
    window = _Window(read, end, _WINDOW)
    at, waste = start, 0
    while window.get(at, 1):
        header = window.header(at)
        if header is None:
            following = window.next_header(at + 1)
            yield Damage(at, following, None)
            at = following
            continue
        body = at + HEADER
        payload = b""
        if body + header.length <= window.end and waste <= _WASTE:
            payload = window.get(body, header.length)
        if len(payload) == header.length and checksum(payload) == header.crc:
            frame = Frame(
                header.signal,
                payload,
                header.items,
                keep=header.keep,
                order=header.order,
            )
            yield Found(frame, header.before, at, body + header.length)
            at = body + header.length
        else:
            # Not trusting the length: after a failed write the next frame may
            # begin before the end of this one.
            waste += len(payload)
            following = window.next_header(at + 1)
            yield Damage(at, following, header.before + header.items)
            at = following


def extent(read: Read, end: int) -> Extent | None:
    """The items in a file, by its headers alone; None where there is no frame.

    Raises:
        OSError: What ``read`` raises.
    """
    window = _Window(read, end, _PROBE)
    first: int | None = None
    last = at = 0
    while (header := window.header(at := window.next_header(at))) is not None:
        if first is None:
            first = header.before
        last = header.before + header.items
        # A length that goes past other frames is one of a failed write.
        following = at + HEADER + header.length
        at = following if window.header(following) is not None else at + 1
    return None if first is None else Extent(first, last)


class _Window:
    """The part of a file that is in memory just now.

    Attributes:
        end: Where the file ends, or its part that is to be read.
    """

    def __init__(self, read: Read, end: int, size: int) -> None:
        self.end = end
        self._read: Final = read
        self._size: Final = size
        self._start = 0
        self._data = b""

    def get(self, at: int, size: int) -> bytes:
        """The bytes from ``at`` on; fewer at the end."""
        size = min(size, self.end - at)
        if size <= 0:
            return b""
        if not self._start <= at < at + size <= self._start + len(self._data):
            wanted = min(max(size, self._size), self.end - at)
            self._data = b""  # not two of them at a time
            self._data = self._read(at, wanted)
            self._start = at
            if len(self._data) < wanted:
                self.end = at + len(self._data)
        return self._data[at - self._start : at - self._start + size]

    def header(self, at: int) -> Header | None:
        """The header that begins at ``at``; None where none does."""
        return read_header(self.get(at, HEADER))

    def next_header(self, at: int) -> int:
        """Where the next sound header begins, or the end of the file."""
        while self.get(at, len(MAGIC)):
            found = self._data.find(MAGIC, at - self._start)
            if found < 0:
                # Again with the bytes of a magic that the window may have cut.
                known = self._start + len(self._data)
                at = max(at + 1, known - len(MAGIC) + 1)
                continue
            at = self._start + found
            if self.header(at) is not None:
                return at
            at += 1
        return self.end
