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
import os
import threading
import time
from collections.abc import Container, Iterable, Sequence
from heapq import merge
from itertools import groupby
from pathlib import Path
from typing import Final

from spanrun.telemetry.delivery.frames import HEADER, SIGNALS, Found, Signal, scan
from spanrun.telemetry.delivery.lane import DAMAGED, Lane, Lost
from spanrun.telemetry.delivery.parcel import Parcel
from spanrun.telemetry.delivery.quarantine import put_aside, quarantined
from spanrun.telemetry.delivery.writer import KEYS, PREFIX, Key, Writer, create, orphans

_MEASURE: Final = 1.0  # seconds that the size of the others' files is believed


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
        self._metric_segments: Final = 2 if cumulative else None
        self._lock = threading.RLock()
        self._adopting = threading.Lock()
        self._own: Writer | None = None
        self._adopted: Final[list[Writer]] = []
        self._others = 0
        self._measured = float("-inf")
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

    def _lanes(self) -> list[Lane]:
        # Without the lock: who asks must not wait for a slow disk.
        return [lane for writer in self._writers() for lane in writer.lanes.values()]

    def _writers(self) -> tuple[Writer, ...]:
        own = self._own
        return (*self._adopted, *(() if own is None else (own,)))

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
            own = self._writer()
            try:
                for key, of_lane in groupby(sorted(parcels, key=_key), _key):
                    for run in self._runs(list(of_lane)):
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
                self._lost(key[0], parcel.frame.items, "queue_full")

    def _runs(self, parcels: list[Parcel]) -> list[list[Parcel]]:
        """``parcels`` in pieces that fill a segment or less."""
        runs: list[list[Parcel]] = []
        size = self._segment_bytes
        for parcel in parcels:
            size += HEADER + len(parcel.frame.payload)
            if size > self._segment_bytes:
                runs.append([])
                size = HEADER + len(parcel.frame.payload)
            runs[-1].append(parcel)
        return runs

    def _writer(self) -> Writer:
        if self._own is None or not self._own.path.is_dir():
            if self._own is not None:
                self._bury(self._own)
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            path, lock = create(self.root)
            self._own = self._open(path, lock)
        return self._own

    def _bury(self, writer: Writer) -> None:
        """Somebody deleted the folder: what was in it is lost."""
        for lane in writer.lanes.values():
            if lane.waiting:
                self._lost(lane.signal, lane.waiting, DAMAGED)
        self._retire(writer)

    def _open(self, path: Path, lock: int) -> Writer:
        return Writer(
            path,
            lock,
            self._lost,
            self._held,
            segment_bytes=self._segment_bytes,
            metric_segments=self._metric_segments,
        )

    def _held(self, lane: Lane) -> Container[int]:
        return {
            parcel.place.end.segment
            for parcel in self.flying
            if parcel.place is not None and parcel.place.lane is lane
        }

    def _make_room(self, size: int, *, keep: bool) -> bool:
        """Evict until ``size`` more bytes fit. Whether they do."""
        now = time.monotonic()
        if now - self._measured > _MEASURE:
            ours = {writer.path for writer in self._writers()}
            self._others = _bytes_below(self.root, ours)
            self._measured = now
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
                taken = _upto(limit, merge(*(x.peek(limit) for x in lanes), key=_order))
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
        )

    def ack(self, parcels: Sequence[Parcel]) -> None:
        """``parcels`` are delivered, or given up: they need not be kept."""
        with self._lock:
            for writer in self._writers():
                lanes = writer.lanes.values()
                if any(p.place and p.place.lane in lanes for p in parcels):
                    writer.ack(parcels)
            self._let_go()

    def _let_go(self) -> None:
        for writer in list(self._adopted):
            if not any(lane.segments for lane in writer.lanes.values()):
                self._adopted.remove(writer)
                self._retire(writer)

    def _retire(self, writer: Writer) -> None:
        self._damaged += sum(lane.damaged for lane in writer.lanes.values())
        with contextlib.suppress(OSError):
            writer.close()

    def adopt(self) -> int:
        """Take over what dead processes left; how many items that is."""
        items = 0
        # Not under the lock, which others need while this reads a whole backlog.
        with self._adopting:
            for path, lock in orphans(self.root):
                writer = self._open(path, lock)
                try:
                    items += writer.load()
                except OSError:
                    writer.abandon()
                    continue
                with self._lock:
                    self._adopted.append(writer)
                    for (signal, _), lane in writer.lanes.items():
                        self.adopted_items[signal] += lane.waiting
                    self._let_go()
        return items

    # --- what no receiver wants

    def quarantine(self, parcels: Sequence[Parcel], code: str) -> None:
        """Put ``parcels`` aside, with the receiver's ``code``, for a look at them.

        A sixteenth of the budget is for that; the oldest go first. Without a
        working disk they are gone: the caller has counted them in any case.
        """
        frames = [parcel.frame for parcel in parcels]
        with self._lock, contextlib.suppress(OSError):
            put_aside(self.root, frames, code, self.max_bytes // 16)

    def requeue(self) -> int:
        """Line the quarantined frames up again; how many items that is.

        Raises:
            OSError: If they can't be read or written.
        """
        items = 0
        for path in quarantined(self.root):
            data = path.read_bytes()
            found = [p.frame for p in scan(data) if isinstance(p, Found)]
            with self._lock:
                self.append([Parcel(frame) for frame in found])
                path.unlink(missing_ok=True)
            for frame in found:
                self.adopted_items[frame.signal] += frame.items
                items += frame.items
        return items

    # --- the end

    def close(self) -> None:
        """Let go of all folders, for whoever comes next; delete the empty ones."""
        with self._lock:
            for writer in self._writers():
                for lane in writer.lanes.values():
                    self._left[lane.signal] += lane.waiting
                self._retire(writer)
            self._adopted.clear()
            self._own = None
            with contextlib.suppress(OSError):
                self.root.rmdir()

    def after_fork(self) -> None:
        """In the child: leave everything to the parent, and begin with nothing."""
        self._lock = threading.RLock()
        self._adopting = threading.Lock()
        for writer in self._writers():
            with contextlib.suppress(OSError):
                writer.abandon()
        self._adopted.clear()
        self._own = None
        self._damaged = 0
        self.flying = ()
        self.adopted_items.update(dict.fromkeys(SIGNALS, 0))
        self._left.update(dict.fromkeys(SIGNALS, 0))


def _key(parcel: Parcel) -> tuple[Signal, bool]:
    return parcel.frame.signal, parcel.frame.keep


def _order(parcel: Parcel) -> int:
    return parcel.frame.order


def _upto(limit: int, parcels: Iterable[Parcel]) -> list[Parcel]:
    taken: list[Parcel] = []
    size = 0
    for parcel in parcels:
        size += len(parcel.frame.payload)
        if taken and size > limit:
            break
        taken.append(parcel)
    return taken


def _bytes_below(root: Path, but: Container[Path]) -> int:
    """Of the frames of other processes."""
    total = 0
    for folder in root.glob(f"{PREFIX}*"):
        if folder in but:
            continue
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            frames = (e for e in entries if e.name.startswith(SIGNALS))
            total += sum(entry.stat().st_size for entry in frames)
    return total
