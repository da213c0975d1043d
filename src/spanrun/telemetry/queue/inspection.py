"""`inspect_spool`: what is in a spool folder, whoever wrote it. It changes nothing."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from spanrun.telemetry.queue import cursors, files, locks
from spanrun.telemetry.queue.contents import waiting_since
from spanrun.telemetry.queue.cursors import Cursor
from spanrun.telemetry.queue.frame import HEADER, Frame, later_version
from spanrun.telemetry.queue.layout import (
    CURSORS,
    KEYS,
    LOCK,
    LONGEST,
    PREFIX,
    UNFINISHED,
    Key,
    segment_name,
    segments,
)
from spanrun.telemetry.queue.quarantine import (
    UNUSABLE,
    Kept,
    is_readable,
    named,
    quarantined,
    quarantined_frames,
)
from spanrun.telemetry.queue.scan import Damage, Found, scan
from spanrun.telemetry.signals import Signal

_OURS: Final = {LOCK, CURSORS, UNFINISHED}


@dataclass(slots=True)
class Waiting:
    """What waits of one signal.

    Attributes:
        frames: Requests.
        items: Spans, or data points.
        kept: How many of the items are failed spans and zero points.
        bytes: Of their files.
        since: When the oldest item was made, seconds since the epoch; 0 where
            nothing says so.
    """

    frames: int = 0
    items: int = 0
    kept: int = 0
    bytes: int = 0
    since: float = 0.0


@dataclass(frozen=True, slots=True)
class FolderInspection:
    """What one process has in the spool.

    Attributes:
        path: Of its folder.
        pid: Its number, when it lived on this machine.
        live: Whether somebody has its lock: itself, or who took it over. Else the
            next process does that.
        signals: What waits.
        damaged: Places where no frame can be read.
        later: The format, where a later release wrote it; or 0.
        trouble: What can't be read, and why; empty when all can.
    """

    path: Path
    pid: int
    live: bool
    signals: Mapping[Signal, Waiting]
    damaged: int
    later: int
    trouble: str

    @property
    def items(self) -> dict[Signal, int]:
        """Items that wait, by signal."""
        return {signal: each.items for signal, each in self.signals.items()}


@dataclass(frozen=True, slots=True)
class QuarantinedFile:
    """One file of what a receiver refused.

    Attributes:
        path: Of the file.
        code: What the receiver answered.
        at: When, seconds since the epoch.
        items: What is in it, by signal.
        bytes: Of the file.
        trouble: Why it can't be read; empty when it can.
    """

    path: Path
    code: str
    at: float
    items: Mapping[Signal, int]
    bytes: int
    trouble: str


@dataclass(frozen=True, slots=True)
class Inspection:
    """All that is in a spool folder.

    Attributes:
        root: The folder.
        writers: By process.
        quarantine: What a receiver refused, and files that nobody could read.
        unusable: What is no file at all, and was moved out of the way.
    """

    root: Path
    writers: tuple[FolderInspection, ...]
    quarantine: tuple[QuarantinedFile, ...]
    unusable: tuple[Kept, ...] = ()


def inspect_spool(root: Path) -> Inspection:
    """Look at the spool in ``root``; an empty one if there is none.

    Others may write and delete meanwhile: it is as good as a photograph.

    Raises:
        OSError: It is there, and can't be read.
    """
    writers = tuple(_writer(path) for path in sorted(locks.folders(root)))
    refused = filter(None, map(named, quarantined(root)))
    aside = tuple(filter(None, map(named, quarantined(root, UNUSABLE))))
    return Inspection(root, writers, tuple(map(_quarantined, refused)), aside)


def waiting_frames(folder: Path) -> Iterator[Frame]:
    """The frames that wait in the folder of one process, log by log."""
    look = _Look(folder)
    for key in KEYS:
        for piece in look.log(key):
            if isinstance(piece, Found):
                yield piece.frame


def refused_frames(path: Path) -> Iterator[Frame]:
    """The frames in one file of the quarantine, as far as it can be read."""
    with contextlib.suppress(OSError):
        yield from quarantined_frames(path)


class _Look:
    """What is in one folder, and what can't be read in it.

    Attributes:
        live: Whether somebody has its lock. Its newest snapshot doesn't wait then.
        later: The format of a file that a later release wrote; or 0.
        trouble: The first that was found.
    """

    def __init__(self, folder: Path) -> None:
        self.later = 0
        self.trouble = ""
        self._folder: Final = folder
        self._cursors = dict.fromkeys(KEYS, Cursor(0, 0, 0))
        self._segments: dict[Key, list[tuple[int, Path]]] = {}
        self.live: Final = locks.is_live(folder)
        with self._noting(folder):
            for name in sorted(os.listdir(folder)):  # noqa: PTH208 -- as all here
                self._look_at(folder / name)
            if not self.later:
                self._segments = segments(folder, latest=not self.live)
        with self._noting(folder / CURSORS):
            self._cursors = dict(zip(KEYS, cursors.load(folder)[1], strict=True))
        if why := locks.lock_trouble(folder):
            self._note(folder / LOCK, why)

    def _look_at(self, path: Path) -> None:
        """Whether it is a file of a spool, and this release can read it."""
        with self._noting(path), files.opened(path) as fd:
            version = later_version(files.read(fd, 0, HEADER))
            self.later = self.later or version
            if segment_name(path.name) is None and path.name not in _OURS:
                self._note(path, "Not a file of a spool")

    def log(self, key: Key) -> Iterator[Found | Damage]:
        """What is behind the cursor of a log."""
        cursor = self._cursors[key]
        for number, path in self._segments.get(key, ()):
            if number < cursor.segment:
                continue
            start = cursor.offset if number == cursor.segment else 0
            with self._noting(path), files.opened(path) as fd:
                size = min(os.fstat(fd).st_size, LONGEST)
                yield from scan(files.reader(fd), start, size)

    def size(self, key: Key) -> int:
        """Bytes of the files of a log."""
        total = 0
        for _, path in self._segments.get(key, ()):
            with contextlib.suppress(OSError):
                total += os.lstat(path).st_size
        return total

    @contextlib.contextmanager
    def _noting(self, path: Path) -> Generator[None]:
        try:
            yield
        except FileNotFoundError:
            pass  # delivered meanwhile
        except OSError as error:
            self._note(path, files.reason(error))

    def _note(self, path: Path, what: str) -> None:
        name = "" if path == self._folder else f"{path.name}: "
        self.trouble = self.trouble or f"{name}{what}"


def _writer(folder: Path) -> FolderInspection:
    signals: dict[Signal, Waiting] = {}
    damaged = 0
    look = _Look(folder)
    for key in KEYS:
        first = True
        for piece in look.log(key):
            if isinstance(piece, Damage):
                damaged += 1
                continue
            frame = piece.frame
            told = signals.setdefault(key[0], Waiting())
            if first:
                since = told.since, waiting_since(frame)
                told.since = min(filter(None, since), default=0.0)
                told.bytes += look.size(key)
                first = False
            told.frames += 1
            told.items += frame.items
            told.kept += frame.items if frame.keep else 0
    pid = folder.name.removeprefix(PREFIX).partition("-")[0]
    return FolderInspection(
        path=folder,
        pid=int(pid) if pid.isdecimal() else 0,
        live=look.live,
        signals=signals,
        damaged=damaged,
        later=look.later,
        trouble="" if look.later else look.trouble,
    )


def _quarantined(kept: Kept) -> QuarantinedFile:
    items: Counter[Signal] = Counter()
    size, trouble = 0, ""
    try:
        size = os.lstat(kept.path).st_size
        if is_readable(kept.path):
            for frame in quarantined_frames(kept.path):
                items[frame.signal] += frame.items
        else:
            trouble = "Written by a later release"
    except OSError as error:
        trouble = files.reason(error)
    return QuarantinedFile(
        kept.path, kept.code, kept.at, dict(items), bytes=size, trouble=trouble
    )
