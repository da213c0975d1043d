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
  anew. So their ordinary lane holds two segments at most (some minutes of
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

from spanrun.semconv import SpanrunTelemetryReason
from spanrun.telemetry.delivery import files, orphans
from spanrun.telemetry.delivery.adopted import Adopted
from spanrun.telemetry.delivery.frames import HEADER, SIGNALS, Frame, Signal
from spanrun.telemetry.delivery.lane import DAMAGED, Lane, Lost
from spanrun.telemetry.delivery.layout import KEYS, Key
from spanrun.telemetry.delivery.notices import Notices
from spanrun.telemetry.delivery.parcel import Parcel, in_order, runs, upto
from spanrun.telemetry.delivery.quarantine import move_aside, put_aside, requeue
from spanrun.telemetry.delivery.writer import Writer, create

_MEASURE: Final = 1.0  # seconds that the size of the others' files is believed
_SHARE: Final = 20  # or so many times as long as it took to add them up


class Spool:
    """Keeps parcels on disk until they are acknowledged. Safe from any thread.

    Nothing is created before the first parcel is written, and nothing remains
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
        lost: Lost,
        *,
        max_bytes: int = 256 * 1024 * 1024,
        segment_bytes: int = 1024 * 1024,
        cumulative: bool = True,
    ) -> None:
        self.root: Final = root
        self.max_bytes: Final = max_bytes
        self.flying: Sequence[Parcel] = ()
        self.adopted_items: Final[dict[Signal, int]] = dict.fromkeys(SIGNALS, 0)
        self._left: Final[dict[Signal, int]] = dict.fromkeys(SIGNALS, 0)
        self._lost: Final = lost
        self._segment_bytes: Final = min(segment_bytes, max(1, max_bytes // 8))
        self._open: Final = partial(
            Writer,
            owner=self,
            segment_bytes=self._segment_bytes,
            metric_segments=2 if cumulative else None,
        )
        self._lock = threading.RLock()
        self._adopting = threading.Lock()
        self._own: Writer | None = None
        self._notices: Final = Notices()
        self._adopted: Final = Adopted(root, self._open, self._notices)
        self._homeless: Final[list[Parcel]] = []
        self._others = 0
        self._measure_at = 0.0
        self._damaged = 0

    # --- what is in it

    def waiting(self, signal: Signal) -> int:
        """Items of ``signal`` that this process has on disk, also adopted ones.

        After `close` what it has left there.
        """
        return self._left[signal] + sum(
            lane.waiting for lane in self._lanes() if lane.signal == signal
        )

    @property
    def size(self) -> int:
        """Bytes on disk of what this process has, also adopted."""
        return sum(lane.size for lane in self._lanes())

    @property
    def damaged(self) -> int:
        """Places in its files where no frame could be read."""
        return self._damaged + sum(lane.damaged for lane in self._lanes())

    def _lanes(self) -> list[Lane]:  # without the lock: nobody waits for a disk
        return [lane for writer in self._writers() for lane in writer.lanes.values()]

    def _writers(self) -> tuple[Writer, ...]:
        own = self._own
        return (*self._adopted.writers, *(() if own is None else (own,)))

    # --- writing

    def append(self, parcels: Sequence[Parcel]) -> None:
        """Write ``parcels``, and make room for them within the budget.

        Each parcel then has a place, or was given up and is done; or neither,
        when it or all that it could take the room of is flying.

        Raises:
            OSError: If the disk won't have them. Those that it has got have a
                place; the others are neither placed nor done.
        """
        with self._lock:
            own = self.own()
            try:
                for key, run in runs(parcels, self._segment_bytes):
                    self._append(own, key, run)
            finally:
                # Delivered meanwhile. Before `peek` could find them here.
                late = [p for p in parcels if p.done and p.place is not None]
                if late:
                    own.ack(late)

    def _append(self, own: Writer, key: Key, run: list[Parcel]) -> None:
        size = sum(HEADER + len(parcel.frame.payload) for parcel in run)
        if self._make_room(size, keep=key[1]):
            own.lanes[key].append(run)
            return
        for parcel in run:
            # What flies may arrive yet, and then make room.
            if not parcel.done and not parcel.flying and not (key[1] and self.flying):
                parcel.done = True
                self.lose(key[0], parcel.frame.items, "queue_full")

    def own(self) -> Writer:
        """The folder of this process, made if need be.

        Raises:
            OSError: If that can't be.
        """
        with self._lock:
            if self._own is None or not files.is_folder(self._own.path):
                if self._own:
                    self._bury(self._own)
                self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._own = self._open(*create(self.root))
            return self._own

    def _bury(self, writer: Writer) -> None:
        """Somebody deleted the folder: what was in it is lost, unless it flies."""
        for lane in writer.lanes.values():
            flying = self._flying_of(lane)
            left = lane.waiting - sum(parcel.frame.items for parcel in flying)
            if left > 0:
                self.lose(lane.signal, left, DAMAGED)
            for parcel in flying:
                parcel.place = None
            self._homeless.extend(flying)
        self._own = None
        self._retire(writer)

    def land(self) -> list[Parcel]:
        """What flew is in no request any more; what of it is on no disk any more."""
        self.flying = ()
        homeless = [self._homeless.pop(0) for _ in tuple(self._homeless)]
        return [parcel for parcel in homeless if not parcel.done]

    def _flying_of(self, lane: Lane) -> list[Parcel]:
        return [
            parcel
            for parcel in self.flying
            if parcel.place is not None and parcel.place.lane is lane
        ]

    # --- what its lanes tell

    def lose(self, signal: Signal, items: int, reason: SpanrunTelemetryReason) -> None:
        """``items`` were evicted or found damaged."""
        self._lost(signal, items, reason)

    def find(self, signal: Signal, items: int) -> None:
        """There are ``items`` more in a file than its headers told."""
        self.adopted_items[signal] += items

    def set_aside(self, path: Path, why: str) -> None:
        """Move what is no file of a spool into the quarantine."""
        move_aside(self.root, path, why, self._notices)

    def is_adopted(self, parcel: Parcel) -> bool:
        """Whether another process left ``parcel``."""
        place, own = parcel.place, self._own
        return place is not None and (own is None or place.lane.folder != own.path)

    def held(self, lane: Lane) -> Container[int]:
        """The segments of ``lane`` that must not be evicted just now."""
        places = (parcel.place for parcel in self._flying_of(lane))
        return {place.end.segment for place in places if place is not None}

    # --- room

    def _make_room(self, size: int, *, keep: bool) -> bool:
        """Evict until ``size`` more bytes fit. Whether they do."""
        now = time.monotonic()
        if now > self._measure_at:
            ours = {writer.path for writer in self._writers()}
            self._others = orphans.size_of_others(self.root, ours)
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
                if writer.lanes[key].evict() is not None:
                    writer.sweep()
                    return True
        return False

    # --- reading

    def peek(self, signal: Signal, limit: int, *, adopted: bool) -> list[Parcel]:
        """The next parcels of ``signal``: ``limit`` bytes, or one longer parcel.

        They stay until `ack`.

        Args:
            signal: Whose.
            limit: Bytes of payload.
            adopted: From what dead processes left, the oldest first; else from
                what this process wrote.

        Raises:
            OSError: If a file can't be read just now.
        """
        with self._lock:
            for writer in self._writers():
                if (writer is not self._own) != adopted:
                    continue
                lanes = [writer.lanes[key] for key in KEYS if key[0] == signal]
                taken = upto(limit, in_order(lane.peek(limit) for lane in lanes))
                if taken:
                    return taken
                if any(lane.segments for lane in lanes):
                    writer.sweep()  # damage alone was left
            self._let_go()
            return []

    def holds(self, signal: Signal, *, adopted: bool) -> bool:
        """Whether there may be something for `peek`. Never waits."""
        return any(
            lane.segments
            for writer in self._writers()
            if (writer is not self._own) == adopted
            for lane in writer.lanes.values()
            if lane.signal == signal
        ) or (adopted and self._adopted.has_more(signal))

    def ack(self, parcels: Sequence[Parcel]) -> None:
        """``parcels`` are delivered, or given up: they need not be kept."""
        with self._lock:
            for writer in self._writers():
                lanes = writer.lanes.values()
                if any(p.place and p.place.lane in lanes for p in parcels):
                    writer.ack(parcels)
            self._let_go()

    def _let_go(self) -> None:
        """Give up the folders that are empty, or take the room of others."""
        done = [writer for writer in self._adopted.writers if not writer.signals]
        for writer in (*done, *self._adopted.surplus()):
            if any(self._flying_of(lane) for lane in writer.lanes.values()):
                continue
            self._adopted.writers.remove(writer)
            for lane in writer.lanes.values():
                self.adopted_items[lane.signal] -= lane.waiting
            self._retire(writer)

    def _retire(self, writer: Writer) -> None:
        self._damaged += sum(lane.damaged for lane in writer.lanes.values())
        writer.close()

    def adopt(self) -> int:
        """Take over what dead processes left; how many items that is.

        Of very many folders some are left for the next time. See `has_more`.
        """
        items = 0
        # Not under the lock, which others need while this reads a whole backlog.
        with self._adopting:
            for writer in self._adopted.take_over():
                with self._lock:
                    self._adopted.writers.append(writer)
                    for lane in writer.lanes.values():
                        self.adopted_items[lane.signal] += lane.waiting
                        items += lane.waiting
                    self._let_go()
        self._notices.say()
        return items

    @property
    def has_more(self) -> bool:
        """Whether `adopt` left something, and has room for it now."""
        return any(self._adopted.has_more(signal) for signal in SIGNALS)

    # --- what no receiver wants

    def quarantine(self, parcels: Sequence[Parcel], code: str) -> None:
        """Put ``parcels`` aside, with the receiver's ``code``, for a look at them.

        A sixteenth of the budget is for that; the oldest go first. Without a working
        disk they are gone: they are counted in any case.
        """
        frames = [parcel.frame for parcel in parcels]
        with self._lock, contextlib.suppress(OSError):
            put_aside(self.root, frames, code, self.max_bytes // 16)

    def requeue(self) -> int:
        """Line the quarantined frames up again; how many items that is.

        Raises:
            OSError: If they can't be written, or the folder can't be read.
        """
        items = requeue(self.root, self._segment_bytes, self._take_back, self._notices)
        self._notices.say()
        return items

    def _take_back(self, frames: Sequence[Frame]) -> int:
        parcels = [Parcel(frame) for frame in frames]
        items = 0
        with self._lock:
            try:
                self.append(parcels)
            finally:
                for parcel in parcels:
                    if parcel.place is not None or parcel.done:
                        self.find(parcel.frame.signal, parcel.frame.items)
                        items += parcel.frame.items
        if any(parcel.place is None and not parcel.done for parcel in parcels):
            raise OSError(errno.ENOSPC, "The spool is full", str(self.root))
        return items

    # --- the end

    def close(self) -> None:
        """Let go of all folders, for whoever comes next; delete the empty ones."""
        with self._lock:
            for writer in self._writers():
                for lane in writer.lanes.values():
                    self._left[lane.signal] += lane.waiting
                self._retire(writer)
            self._adopted.writers.clear()
            self._own = None
            with contextlib.suppress(OSError):
                self.root.rmdir()
        self._notices.say()

    def after_fork(self) -> None:
        """In the child: leave everything to the parent, and begin with nothing."""
        self._lock = threading.RLock()
        self._adopting = threading.Lock()
        for writer in self._writers():
            writer.abandon()
        self._adopted.writers.clear()
        self._notices.after_fork()
        self._homeless.clear()
        self._own, self._damaged, self.flying = None, 0, ()
        self.adopted_items.update(dict.fromkeys(SIGNALS, 0))
        self._left.update(dict.fromkeys(SIGNALS, 0))
