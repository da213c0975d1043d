"""`survey`: what is in a spool folder, whoever wrote it. Reads, and changes nothing."""

from __future__ import annotations

import contextlib
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from spanrun.telemetry.delivery.contents import waiting_since
from spanrun.telemetry.delivery.frames import Damage, Found, Frame, Signal, scan
from spanrun.telemetry.delivery.parcel import Cursor
from spanrun.telemetry.delivery.quarantine import quarantined
from spanrun.telemetry.delivery.writer import (
    KEYS,
    PREFIX,
    is_live,
    lane_name,
    read_cursors,
)

_QUARANTINED: Final = re.compile(r"(\d+)-(.+)-[0-9a-f]+\.frames")


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
class WriterSurvey:
    """What one process has in the spool.

    Attributes:
        path: Of its folder.
        pid: Its number, when it lived on this machine.
        live: Whether somebody has its lock: itself, or who took it over. Else the
            next process does that.
        signals: What waits.
        damaged: Places where no frame can be read.
        trouble: Why the folder can't be read; empty when it can.
    """

    path: Path
    pid: int
    live: bool
    signals: Mapping[Signal, Waiting]
    damaged: int
    trouble: str

    @property
    def items(self) -> dict[Signal, int]:
        """Items that wait, by signal."""
        return {signal: each.items for signal, each in self.signals.items()}


@dataclass(frozen=True, slots=True)
class QuarantineSurvey:
    """One file of what a receiver refused.

    Attributes:
        path: Of the file.
        code: What the receiver answered.
        at: When, seconds since the epoch.
        items: What is in it, by signal.
        bytes: Of the file.
    """

    path: Path
    code: str
    at: float
    items: Mapping[Signal, int]
    bytes: int


@dataclass(frozen=True, slots=True)
class Survey:
    """All that is in a spool folder."""

    root: Path
    writers: tuple[WriterSurvey, ...]
    quarantine: tuple[QuarantineSurvey, ...]


def survey(root: Path) -> Survey:
    """Look at the spool in ``root``; an empty one if there is none.

    Others may write and delete meanwhile: it is as good as a photograph.

    Raises:
        OSError: It is there, and can't be read.
    """
    with contextlib.suppress(FileNotFoundError), os.scandir(root):
        pass
    writers = [_writer(path) for path in sorted(root.glob(f"{PREFIX}*"))]
    files = quarantined(root)
    quarantine = [found for path in files if (found := _quarantined(path))]
    return Survey(root, tuple(writers), tuple(quarantine))


def waiting_frames(folder: Path) -> Iterator[Frame]:
    """The frames that wait in the folder of one process, lane by lane."""
    for lane in _lanes(folder):
        for piece in lane:
            if isinstance(piece, Found):
                yield piece.frame


def quarantined_frames(path: Path) -> Iterator[Frame]:
    """The frames in one file of the quarantine."""
    for piece in scan(_bytes(path)):
        if isinstance(piece, Found):
            yield piece.frame


def _writer(folder: Path) -> WriterSurvey:
    signals: dict[Signal, Waiting] = {}
    damaged = 0
    for (signal, keep), lane in zip(KEYS, _lanes(folder), strict=True):
        told = Waiting()
        for piece in lane:
            if isinstance(piece, Damage):
                damaged += 1
                continue
            frame = piece.frame
            if not told.frames:
                told.since = waiting_since(frame)
            told.frames += 1
            told.items += frame.items
            told.kept += frame.items if frame.keep else 0
        told.bytes = _size(folder, f"{lane_name(signal, keep=keep)}.*")
        if told.frames:
            signals[signal] = _sum(signals.get(signal), told)
    pid = folder.name.removeprefix(PREFIX).partition("-")[0]
    return WriterSurvey(
        path=folder,
        pid=int(pid) if pid.isdecimal() else 0,
        live=is_live(folder),
        signals=signals,
        damaged=damaged,
        trouble=_trouble(folder),
    )


def _sum(one: Waiting | None, other: Waiting) -> Waiting:
    if one is None:
        return other
    return Waiting(
        frames=one.frames + other.frames,
        items=one.items + other.items,
        kept=one.kept + other.kept,
        bytes=one.bytes + other.bytes,
        since=min(filter(None, (one.since, other.since)), default=0.0),
    )


def _size(folder: Path, pattern: str) -> int:
    size = 0
    for path in folder.glob(pattern):
        with contextlib.suppress(OSError):
            size += path.stat().st_size
    return size


def _trouble(folder: Path) -> str:
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                with open(entry.path, "rb"):  # noqa: PTH123 -- entries have a text
                    pass
    except FileNotFoundError:
        return ""  # delivered meanwhile
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _lanes(folder: Path) -> list[Iterator[Found | Damage]]:
    """What is behind the cursors, for each key."""
    try:
        cursors = read_cursors(folder)[1]
    except OSError:
        return [iter(()) for _ in KEYS]
    return [
        _lane(folder, lane_name(signal, keep=keep), cursor)
        for (signal, keep), cursor in zip(KEYS, cursors, strict=True)
    ]


def _lane(folder: Path, name: str, cursor: Cursor) -> Iterator[Found | Damage]:
    for path in sorted(folder.glob(f"{name}.*")):
        start = _start(path, cursor)
        if start is not None:
            yield from scan(_bytes(path), start)


def _start(path: Path, cursor: Cursor) -> int | None:
    """From where on the file is to be read; None where it is done with."""
    number = path.suffix[1:]
    if not number.isdecimal() or int(number) < cursor.segment:
        return None
    return cursor.offset if int(number) == cursor.segment else 0


def _quarantined(path: Path) -> QuarantineSurvey | None:
    parts = _QUARANTINED.fullmatch(path.name)
    if parts is None:
        return None
    items: Counter[Signal] = Counter()
    for frame in quarantined_frames(path):
        items[frame.signal] += frame.items
    return QuarantineSurvey(
        path=path,
        code=parts[2],
        at=int(parts[1]) / 1e9,
        items=dict(items),
        bytes=len(_bytes(path)),
    )


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
