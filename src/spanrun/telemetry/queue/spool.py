"""`Spool`: a bounded queue of encoded telemetry in a folder, shared by processes.

What a caller may rely on:

* **At least once.** A frame stays until it is acknowledged. After a crash what
  wasn't acknowledged is sent again: one request at most, as there is one at a
  time.
* **In order** per signal, as far as one process wrote it.
* **Durable against the death of the process**, not of the machine: a frame is
  handed to the kernel with ``write``, and there is no ``fsync``. A power cut costs
  what the kernel hadn't written back, by default up to 30 s; the frames' CRCs
  tell. Telemetry isn't worth a disk flush per batch (2 to 25 ms).
* **Bounded.** ``max_bytes`` is for the folder. Where it overflows, the oldest
  ordinary segments of this process go first; the frames marked ``keep`` (failed
  spans, zero points) go when nothing else is left. Each lost item is counted.
  Where others fill the folder, a process still has one segment of its own.
* **Cumulative metrics** supersede each other: each snapshot tells the totals
  anew. So their ordinary log holds two segments at most (some minutes of
  history), and always the newest. Zero points are marked ``keep``: without its
  zero point a short run is a single sample, and ``rate`` sees nothing.

Each process writes a folder of its own and holds a lock on it. When it is gone,
the next process that looks takes the lock, and delivers what is left.
Folders are 0700 and files 0600: span attributes may be confidential.
"""

from __future__ import annotations

import contextlib
import errno
import threading
import time
from collections.abc import Container, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from spanrun.telemetry.queue import files, locks
from spanrun.telemetry.queue.accounting import DAMAGED, Lose
from spanrun.telemetry.queue.frame import HEADER, Frame
from spanrun.telemetry.queue.layout import KEYS, Key
from spanrun.telemetry.queue.message import Message, in_order, runs, upto
from spanrun.telemetry.queue.notices import Notices
from spanrun.telemetry.queue.quarantine import move_aside, put_aside, requeue
from spanrun.telemetry.queue.recovery import Recovery
from spanrun.telemetry.queue.segment_log import SegmentLog
from spanrun.telemetry.queue.writer import Writer, create
from spanrun.telemetry.signals import SIGNALS, Signal

_MEASURE: Final = 1.0  # seconds that the size of the others' files is believed
_SHARE: Final = 20  # or so many times as long as it took to add them up


class Spool:
    """Keeps messages on disk until they are acknowledged. Safe from any thread.

    Nothing is created before the first message is written, and nothing remains
    when all was delivered.

    Args:
        root: The folder; made on demand.
        lost: Told of items that had to be given up, with the reason.
        max_bytes: Of all frames in the folder.
        segment_bytes: Of one file.
        cumulative: Whether each metrics frame supersedes the one before it.
    """

    def __init__(
        self,
        root: Path,
        lost: Lose,
        *,
        max_bytes: int = 256 * 1024 * 1024,
        segment_bytes: int = 1024 * 1024,
        cumulative: bool = True,
    ) -> None:
        self.root: Final = root
        self.max_bytes: Final = max_bytes
        self.in_flight: Sequence[Message] = ()
        self.recovered_items: Final[dict[Signal, int]] = dict.fromkeys(SIGNALS, 0)
        self._left: Final[dict[Signal, int]] = dict.fromkeys(SIGNALS, 0)
        self.lose: Final = lost
        self._segment_bytes: Final = min(segment_bytes, max(1, max_bytes // 8))
        self._open: Final = partial(
            Writer,
            owner=self,
            segment_bytes=self._segment_bytes,
            metric_segments=2 if cumulative else None,
        )
        self._lock = threading.RLock()
        self._recovering = threading.Lock()
        self._own: Writer | None = None
        self._notices: Final = Notices()
        self._recovery: Final = Recovery(root, self._open, self._notices)
        self._unplaced: Final[list[Message]] = []
        self._others = 0
        self._measure_at = 0.0
        self._damaged = 0

    # --- what is in it

    def waiting(self, signal: Signal) -> int:
        """Items of ``signal`` that this process has on disk, also recovered ones.

        After `close` what it has left there.
        """
        return self._left[signal] + sum(
            log.waiting for log in self._logs() if log.signal == signal
        )

    @property
    def size(self) -> int:
        """Bytes on disk of what this process has, also recovered."""
        return sum(log.size for log in self._logs())

    @property
    def damaged(self) -> int:
        """Places in its files where no frame could be read."""
        return self._damaged + sum(log.damaged for log in self._logs())

    def _logs(self) -> list[SegmentLog]:  # without the lock: nobody waits for a disk
        return [log for writer in self._writers() for log in writer.logs.values()]

    def _writers(self) -> tuple[Writer, ...]:
        own = self._own
        return (*self._recovery.writers, *(() if own is None else (own,)))

    # --- writing

    def append(self, messages: Sequence[Message]) -> None:
        """Write ``messages``, and make room for them within the budget.

        Each message then has a place, or was given up and is done; or neither,
        when it or all that it could take the room of is in_flight.

        Raises:
            OSError: If the disk won't have them. Those that it has got have a
                place; the others are neither placed nor done.
        """
        with self._lock:
            own = self.own()
            try:
                for key, run in runs(messages, self._segment_bytes):
                    self._append(own, key, run)
            finally:
                # Delivered meanwhile. Before `peek` could find them here.
                late = [p for p in messages if p.done and p.location is not None]
                if late:
                    own.ack(late)

    def _append(self, own: Writer, key: Key, run: list[Message]) -> None:
        size = sum(HEADER + len(message.frame.payload) for message in run)
        if self._make_room(size, keep=key[1]):
            own.logs[key].append(run)
            return
        for message in run:
            # What is in flight may arrive yet, and then make room.
            held = message.in_flight or (key[1] and self.in_flight)
            if not message.done and not held:
                message.done = True
                self.lose(key[0], message.frame.items, "queue_full")

    def own(self) -> Writer:
        """The folder of this process, made if need be.

        Raises:
            OSError: If that can't be.
        """
        with self._lock:
            if self._own is None or not files.is_folder(self._own.path):
                if self._own:
                    self._forget(self._own)
                self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._own = self._open(*create(self.root))
            return self._own

    def _forget(self, writer: Writer) -> None:
        """Somebody deleted the folder: all in it is lost but for what is in flight."""
        for log in writer.logs.values():
            in_flight = self._in_flight_of(log)
            left = log.waiting - sum(message.frame.items for message in in_flight)
            if left > 0:
                self.lose(log.signal, left, DAMAGED)
            for message in in_flight:
                message.location = None
            self._unplaced.extend(in_flight)
        self._own = None
        self._retire(writer)

    def release(self) -> list[Message]:
        """No request has them any more. Returns those that are on no disk any more."""
        self.in_flight = ()
        unplaced = [self._unplaced.pop(0) for _ in tuple(self._unplaced)]
        return [message for message in unplaced if not message.done]

    def _in_flight_of(self, log: SegmentLog) -> list[Message]:
        return [message for message in self.in_flight if log.has(message)]

    # --- what its logs tell

    def find(self, signal: Signal, items: int) -> None:
        """There are ``items`` more in a file than its headers told."""
        self.recovered_items[signal] += items

    def set_aside(self, path: Path, why: str) -> None:
        """Move what is no file of a spool into the quarantine."""
        move_aside(self.root, path, why, self._notices)

    def is_recovered(self, message: Message) -> bool:
        """Whether another process left ``message``."""
        location, own = message.location, self._own
        return location is not None and (own is None or location.folder != own.path)

    def held(self, folder: Path, key: Key) -> Container[int]:
        """The segments of a log that must not be evicted just now."""
        return {
            message.location.end.segment
            for message in self.in_flight
            if message.is_in(folder, key) and message.location is not None
        }

    # --- room

    def _make_room(self, size: int, *, keep: bool) -> bool:
        """Evict until ``size`` more bytes fit. Whether they do."""
        now = time.monotonic()
        if now > self._measure_at:
            ours = {writer.path for writer in self._writers()}
            self._others = locks.size_of_others(self.root, ours)
            took = time.monotonic() - now
            self._measure_at = now + max(_MEASURE, took * _SHARE)
        while self._others + self.size + size > self.max_bytes:
            if not self._evict(keep=keep):
                # The others have it all: one segment is ours in any case.
                return self.size + size <= min(self._segment_bytes, self.max_bytes)
        return True

    def _evict(self, *, keep: bool) -> bool:
        for key in KEYS:
            if key[1] and not keep:
                return False
            for writer in self._writers():
                if writer.logs[key].evict() is not None:
                    writer.sweep()
                    return True
        return False

    # --- reading

    def peek(self, signal: Signal, limit: int, *, recovered: bool) -> list[Message]:
        """The next messages of ``signal``: ``limit`` bytes, or one longer message.

        They stay until `ack`.

        Args:
            signal: Whose.
            limit: Bytes of payload.
            recovered: From what dead processes left, the oldest first; else from
                what this process wrote.

        Raises:
            OSError: If a file can't be read just now.
        """
        with self._lock:
            for writer in self._writers():
                if (writer is not self._own) != recovered:
                    continue
                logs = [writer.logs[key] for key in KEYS if key[0] == signal]
                taken = upto(limit, in_order(log.peek(limit) for log in logs))
                if taken:
                    return taken
                if any(log.segments for log in logs):
                    writer.sweep()  # damage alone was left
            self._let_go()
            return []

    def holds(self, signal: Signal, *, recovered: bool) -> bool:
        """Whether there may be something for `peek`. Never waits."""
        return any(
            log.segments
            for writer in self._writers()
            if (writer is not self._own) == recovered
            for log in writer.logs.values()
            if log.signal == signal
        ) or (recovered and self._recovery.has_more(signal))

    def ack(self, messages: Sequence[Message]) -> None:
        """``messages`` are delivered, or given up: they need not be kept."""
        with self._lock:
            for writer in self._writers():
                logs = writer.logs.values()
                if any(log.has(message) for log in logs for message in messages):
                    writer.ack(messages)
            self._let_go()

    def _let_go(self) -> None:
        """Give up the folders that are empty, or take the room of others."""
        done = [writer for writer in self._recovery.writers if not writer.signals]
        for writer in (*done, *self._recovery.surplus()):
            if any(self._in_flight_of(log) for log in writer.logs.values()):
                continue
            self._recovery.writers.remove(writer)
            for log in writer.logs.values():
                self.recovered_items[log.signal] -= log.waiting
            self._retire(writer)

    def _retire(self, writer: Writer) -> None:
        self._damaged += sum(log.damaged for log in writer.logs.values())
        writer.close()

    def recover(self) -> int:
        """Take over what dead processes left; how many items that is.

        Of very many folders some are left for the next time. See `has_more`.
        """
        items = 0
        # Not under the lock, which others need while this reads a whole backlog.
        with self._recovering:
            for writer in self._recovery.take_over():
                with self._lock:
                    self._recovery.writers.append(writer)
                    for log in writer.logs.values():
                        self.recovered_items[log.signal] += log.waiting
                        items += log.waiting
                    self._let_go()
        self._notices.say()
        return items

    @property
    def has_more(self) -> bool:
        """Whether `recover` left something, and has room for it now."""
        return any(self._recovery.has_more(signal) for signal in SIGNALS)

    # --- what no receiver wants

    def quarantine(self, messages: Sequence[Message], code: str) -> None:
        """Put ``messages`` aside, with the receiver's ``code``, for a look at them.

        A sixteenth of the budget is for that; the oldest go first. Without a working
        disk they are gone: they are counted in any case.
        """
        frames = [message.frame for message in messages]
        with self._lock, contextlib.suppress(OSError):
            put_aside(self.root, frames, code, self.max_bytes // 16)

    def requeue(self) -> int:
        """Consumer the quarantined frames up again; how many items that is.

        Raises:
            OSError: If they can't be written, or the folder can't be read.
        """
        items = requeue(self.root, self._segment_bytes, self._take_back, self._notices)
        self._notices.say()
        return items

    def _take_back(self, frames: Sequence[Frame]) -> int:
        messages = [Message(frame) for frame in frames]
        items = 0
        with self._lock:
            try:
                self.append(messages)
            finally:
                for message in messages:
                    if message.location is not None or message.done:
                        self.find(message.frame.signal, message.frame.items)
                        items += message.frame.items
        if any(message.location is None and not message.done for message in messages):
            raise OSError(errno.ENOSPC, "The spool is full", str(self.root))
        return items

    # --- the end

    def close(self) -> None:
        """Let go of all folders, for whoever comes next; delete the empty ones."""
        with self._lock:
            for writer in self._writers():
                for log in writer.logs.values():
                    self._left[log.signal] += log.waiting
                self._retire(writer)
            self._recovery.writers.clear()
            self._own = None
            with contextlib.suppress(OSError):
                self.root.rmdir()
        self._notices.say()

    def after_fork(self) -> None:
        """In the child: leave everything to the parent, and begin with nothing."""
        self._lock = threading.RLock()
        self._recovering = threading.Lock()
        for writer in self._writers():
            writer.abandon()
        self._recovery.writers.clear()
        self._notices.after_fork()
        self._unplaced.clear()
        self._own, self._damaged, self.in_flight = None, 0, ()
        self.recovered_items.update(dict.fromkeys(SIGNALS, 0))
        self._left.update(dict.fromkeys(SIGNALS, 0))
