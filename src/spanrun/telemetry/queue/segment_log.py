"""`SegmentLog`: the spool files of one signal and rank in one writer's folder."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from spanrun.telemetry.queue import files
from spanrun.telemetry.queue.accounting import DAMAGED
from spanrun.telemetry.queue.cursors import Cursor
from spanrun.telemetry.queue.frame import encode
from spanrun.telemetry.queue.layout import Key, segment_file
from spanrun.telemetry.queue.message import Location, Message
from spanrun.telemetry.queue.scan import Damage, Found, scan
from spanrun.telemetry.queue.segment import Owner, Segment, StoredSegment
from spanrun.telemetry.signals import Signal

_READ: Final = 1024 * 1024  # bytes of payload that are read at a time
_TAKEN: Final = 100  # names of files that somebody else has made, at most


class SegmentLog:
    """Frames appended at one end, read and acknowledged at the other, in order.

    Not safe from several threads: its `Spool` has the lock.

    Args:
        folder: Of the writer.
        key: What is in it, and how the files are called.
        owner: Told of what becomes of the files.
        segment_bytes: A file begins anew when it would grow over this.
        most: Segments that are kept; more means that the oldest goes.
    """

    def __init__(
        self,
        folder: Path,
        key: Key,
        owner: Owner,
        *,
        segment_bytes: int,
        most: int | None = None,
    ) -> None:
        self.folder: Final = folder
        self.key: Final = key
        self.signal: Final[Signal] = key[0]
        self.cursor = Cursor(0, 0, 0)
        self.damaged = 0
        self.segments: Final[deque[Segment]] = deque()
        self._owner: Final = owner
        self._segment_bytes: Final = segment_bytes
        self._most: Final = most
        self._read = self.cursor
        self._ahead: Final[deque[Message]] = deque()
        self._ahead_bytes = 0
        # Acknowledged before their turn: where each begins and ends.
        self._early: Final[dict[tuple[int, int], Cursor]] = {}
        self._written = 0
        self._number = 0
        self._fd: int | None = None

    @property
    def waiting(self) -> int:
        """Items that are on disk and not acknowledged."""
        return sum(segment.waiting for segment in tuple(self.segments))

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(segment.size for segment in tuple(self.segments))

    def load(self, cursor: Cursor, stored: Iterable[StoredSegment]) -> int:
        """Take over what another process left, from ``cursor`` on.

        Returns:
            How many items wait in it.
        """
        self.cursor = self._read = cursor
        last, number = cursor.position, cursor.segment
        for each in stored:
            if each.number < cursor.segment:
                self._discard(each.path)
                continue
            inside = each.inside
            # A jump in the numbers is an eviction: counted when it was done.
            follows = each.number <= number + 1
            first = last if follows or inside is None else inside.first
            last = max(first, inside.last) if inside else first
            number = each.number
            self.segments.append(
                Segment(number, each.path, each.size, first, last, last - first)
            )
        self._number, self._written = number, last
        return self.waiting

    # --- writing

    def append(self, messages: Sequence[Message]) -> None:
        """Write ``messages`` and give each its place.

        Raises:
            OSError: If the disk won't have it. The messages that went through
                have a place, the others none, and the file holds no half frame.
        """
        at = 0
        while at < len(messages):
            segment = self._tail()
            chunks: list[bytes] = []
            size, before = segment.size, segment.last
            for message in messages[at:]:
                chunk = encode(message.frame, before)
                if size and size + len(chunk) > self._segment_bytes:
                    break
                chunks.append(chunk)
                size += len(chunk)
                before += message.frame.items
            if chunks:
                self._write(segment, messages[at : at + len(chunks)], chunks)
                at += len(chunks)
            else:
                self.seal()

    def _write(
        self, segment: Segment, messages: Sequence[Message], chunks: Sequence[bytes]
    ) -> None:
        assert self._fd is not None  # noqa: S101 -- `_tail` opened it
        data = memoryview(b"".join(chunks))
        wrote, failure = 0, None
        while wrote < len(data) and failure is None:
            try:
                wrote += os.write(self._fd, data[wrote:])
            except OSError as error:
                failure = error
        for message, chunk in zip(messages, chunks, strict=True):
            wrote -= len(chunk)
            if wrote < 0:
                break
            start = segment.size
            segment.size += len(chunk)
            segment.last += message.frame.items
            segment.waiting += message.frame.items
            self._written = segment.last
            end = Cursor(segment.number, segment.size, segment.last)
            message.location = Location((self.folder, self.key), start, end)
        if failure is not None:
            self._cut(segment)
            raise failure

    def _cut(self, segment: Segment) -> None:
        """Take a half-written frame off again; failing that, begin a new file."""
        try:
            if self._fd is not None:
                os.ftruncate(self._fd, segment.size)
        except OSError:
            self.seal()
        if not segment.size:
            self._delete(segment)

    def _tail(self) -> Segment:
        if self._fd is not None:
            return self.segments[-1]
        if self._most is not None:
            while len(self.segments) >= self._most and self.evict() is not None:
                pass
        path = self._create()
        segment = Segment(self._number, path, 0, self._written, self._written, 0)
        self.segments.append(segment)
        return segment

    def _create(self) -> Path:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        number = self._number
        while True:
            number += 1
            path = self.folder / segment_file(self.key, number)
            try:
                self._fd = files.open_file(path, flags)
            except FileExistsError:
                # Not of our making: whoever takes the folder over sees to it.
                if number > self._number + _TAKEN:
                    raise
                continue
            self._number = number
            return path

    def seal(self) -> None:
        """Close the file that is being written; the next frame begins another."""
        if self._fd is not None:
            files.close(self._fd)
            self._fd = None

    # --- reading

    def peek(self, limit: int) -> Iterable[Message]:
        """The messages behind the cursor, in order, about ``limit`` bytes of them.

        Raises:
            OSError: If a file can't be read just now.
        """
        self._advance()
        while self._ahead_bytes < max(limit, 1) and self._more():
            self._advance()
        self._advance()  # also over files in which nothing is
        return [
            p for p in self._ahead if p.location and p.location.key not in self._early
        ]

    def _more(self) -> bool:
        segment = self._unread()
        if segment is None:
            return False
        try:
            with files.opened(segment.path) as fd:
                self._read_some(segment, fd)
        except FileNotFoundError:
            self._lose_rest(segment)
        except OSError as error:
            if files.is_passing(error):
                raise
            segment.trouble = files.reason(error)
            self._lose_rest(segment)
        return True

    def _read_some(self, segment: Segment, fd: int) -> None:
        full = self._ahead_bytes + _READ
        for piece in scan(files.reader(fd), self._read.offset, segment.size):
            position = self._take(segment, piece, self._read.position)
            self._read = Cursor(segment.number, piece.end, position)
            if self._ahead_bytes >= full:
                return
        if self._read.offset < segment.size:
            self._lose_rest(segment)
        elif self._read.position < segment.last:
            self._lose(segment, segment.last - self._read.position)
            self._read = self._read._replace(position=segment.last)

    def _lose_rest(self, segment: Segment) -> None:
        """Count what is unread in a file that ends too early or can't be read."""
        self.damaged += 1
        self._lose(segment, segment.last - self._read.position)
        self._read = Cursor(segment.number, segment.size, segment.last)

    def _unread(self) -> Segment | None:
        for segment in self.segments:
            if segment.number < self._read.segment:
                continue
            if segment.number > self._read.segment:
                follows = segment.number == self._read.segment + 1
                position = self._read.position if follows else segment.first
                self._read = Cursor(segment.number, 0, position)
            if self._read.offset < segment.size:
                return segment
        return None

    def _take(self, segment: Segment, piece: Found | Damage, position: int) -> int:
        """Note a frame or a damage; the items passed behind it."""
        if isinstance(piece, Damage):
            self.damaged += 1
            after = max(position, piece.after or 0)
            self._lose(segment, after - position)
            return after
        self._lose(segment, piece.before - position)
        after = piece.before + piece.frame.items
        end = Cursor(segment.number, piece.end, after)
        location = Location((self.folder, self.key), piece.start, end)
        self._ahead.append(Message(piece.frame, location))
        self._ahead_bytes += len(piece.frame.payload)
        return after

    def _lose(self, segment: Segment, items: int) -> None:
        items = max(0, min(items, segment.waiting))
        segment.waiting -= items
        if items:
            self._owner.lose(self.signal, items, DAMAGED)

    # --- what is done with

    def has(self, message: Message) -> bool:
        """Whether ``message`` is on disk in here."""
        return message.is_in(self.folder, self.key)

    def ack(self, messages: Iterable[Message]) -> None:
        """``messages`` are done with. Twice does no harm, nor does it out of turn."""
        for message in messages:
            location = message.location
            if (
                location is None
                or location.end <= self.cursor
                or location.key in self._early
            ):
                continue
            for segment in self.segments:
                if segment.number == location.end.segment:
                    more = message.frame.items - segment.waiting
                    segment.waiting = max(0, -more)
                    if more > 0:
                        self._owner.find(self.signal, more)
                    self._early[location.key] = location.end
                    break
        self._advance()

    def _advance(self) -> None:
        """Move the cursor over all that is acknowledged or damaged."""
        while self._ahead:
            message = self._ahead[0]
            if message.location is not None:
                end = self._early.pop(message.location.key, None)
                if end is None:
                    return
                self.cursor = end
            self._ahead_bytes -= len(self._ahead.popleft().frame.payload)
        # Unread, and acknowledged: it was sent from memory in the meantime.
        while self._early and self._unread() is not None:
            end = self._early.pop(self._read[:2], None)
            if end is None:
                break
            self._read = end
        self.cursor = max(self.cursor, self._read)

    def sweep(self) -> None:
        """Delete the files that are done with."""
        while self.segments:
            head = self.segments[0]
            if self.cursor[:2] < (head.number, head.size):
                return
            # The headers promised more than there was.
            self._lose(head, head.waiting)
            self._delete(head)

    def evict(self) -> int | None:
        """Give the oldest segment up that isn't held.

        Returns:
            The bytes that this freed; None when there is no such segment.
        """
        held = self._owner.held(self.folder, self.key)
        for segment in self.segments:
            if segment.number not in held:
                self._evict(segment)
                return segment.size
        return None

    def _evict(self, segment: Segment) -> None:
        end = Cursor(segment.number, segment.size, segment.last)
        kept = [
            p
            for p in self._ahead
            if p.location and p.location.end.segment != end.segment
        ]
        self._ahead.clear()
        self._ahead.extend(kept)
        self._ahead_bytes = sum(len(message.frame.payload) for message in kept)
        for key in [key for key in self._early if key[0] == end.segment]:
            del self._early[key]
        if self._read.segment == end.segment:
            self._read = end
        if segment is self.segments[0]:
            self.cursor = max(self.cursor, end)
            self._read = max(self._read, self.cursor)
        self._delete(segment)
        if segment.waiting:
            self._owner.lose(self.signal, segment.waiting, "queue_full")

    def _delete(self, segment: Segment) -> None:
        if segment is self.segments[-1]:
            self.seal()
        self.segments.remove(segment)
        if segment.trouble:
            self._owner.set_aside(segment.path, segment.trouble)
        else:
            self._discard(segment.path)

    def _discard(self, path: Path) -> None:
        """Delete a file. One that can't be deleted is found again, and done with."""
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            self._owner.set_aside(path, files.reason(error))
