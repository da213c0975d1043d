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

from spanrun.telemetry.frames import Damage, Found, Frame, Signal, scan
from spanrun.telemetry.parcel import Cursor
from spanrun.telemetry.quarantine import quarantined
from spanrun.telemetry.writer import KEYS, PREFIX, is_live, lane_name, read_cursors

_QUARANTINED: Final = re.compile(r"(\d+)-(.+)-[0-9a-f]+\.frames")


@dataclass(frozen=True, slots=True)
class WriterSurvey:
    """What one process has in the spool.

    Attributes:
        name: Of its folder.
        pid: Its number, when it lived on this machine.
        live: Whether it still has its lock. Else the next process takes over.
        frames: Frames that wait.
        items: Items that wait, by signal.
        kept: How many of the items are failed spans and zero points.
        bytes: Of its files.
        damaged: Places where no frame can be read.
        since: When the oldest of its files was begun, seconds since the epoch.
    """

    name: str
    pid: int
    live: bool
    frames: int
    items: Mapping[Signal, int]
    kept: int
    bytes: int
    damaged: int
    since: float


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
    """
    writers = [_writer(path) for path in sorted(root.glob(f"{PREFIX}*"))]
    files = quarantined(root)
    quarantine = [found for path in files if (found := _quarantined(path))]
    return Survey(root, tuple(writers), tuple(quarantine))


def waiting_frames(folder: Path) -> Iterator[Frame]:
    """The frames that wait in the folder of one process, lane by lane."""
    for piece in _pieces(folder):
        if isinstance(piece, Found):
            yield piece.frame


def quarantined_frames(path: Path) -> Iterator[Frame]:
    """The frames in one file of the quarantine."""
    for piece in scan(_bytes(path)):
        if isinstance(piece, Found):
            yield piece.frame


def _writer(folder: Path) -> WriterSurvey:
    items: Counter[Signal] = Counter()
    frames = kept = damaged = 0
    for piece in _pieces(folder):
        if isinstance(piece, Damage):
            damaged += 1
            continue
        frames += 1
        items[piece.frame.signal] += piece.frame.items
        kept += piece.frame.items if piece.frame.keep else 0
    stats: list[os.stat_result] = []
    for signal, keep in KEYS:
        for path in folder.glob(f"{lane_name(signal, keep=keep)}.*"):
            with contextlib.suppress(OSError):
                stats.append(path.stat())
    pid = folder.name.removeprefix(PREFIX).partition("-")[0]
    return WriterSurvey(
        name=folder.name,
        pid=int(pid) if pid.isdecimal() else 0,
        live=is_live(folder),
        frames=frames,
        items=dict(items),
        kept=kept,
        bytes=sum(stat.st_size for stat in stats),
        damaged=damaged,
        since=min((stat.st_ctime for stat in stats), default=0.0),
    )


def _pieces(folder: Path) -> Iterator[Found | Damage]:
    """What is behind the cursors."""
    cursors = read_cursors(folder)[1]
    for (signal, keep), cursor in zip(KEYS, cursors, strict=True):
        for path in sorted(folder.glob(f"{lane_name(signal, keep=keep)}.*")):
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
