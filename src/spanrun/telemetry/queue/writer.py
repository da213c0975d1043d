"""`Writer`: the spool folder of one process, which another may take over."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NoReturn
from uuid import uuid4

from spanrun.telemetry.queue import cursors, files, locks
from spanrun.telemetry.queue.frame import HEADER, later_version
from spanrun.telemetry.queue.layout import (
    CURSORS,
    KEYS,
    LOCK,
    LONGEST,
    PREFIX,
    UNFINISHED,
    Key,
    segment_name,
)
from spanrun.telemetry.queue.message import Message
from spanrun.telemetry.queue.scan import extent
from spanrun.telemetry.queue.segment import Owner, StoredSegment
from spanrun.telemetry.queue.segment_log import SegmentLog
from spanrun.telemetry.signals import Signal


class LaterFormatError(Exception):
    """A later release wrote this folder. It is left as it is."""


class Writer:
    """The logs of one process, how far they are acknowledged, and the folder's lock.

    Args:
        path: Of the folder.
        lock: On it, an open file.
        owner: Told of what becomes of the files.
        segment_bytes: Of one file.
        metric_segments: That are kept of ordinary metrics; None for all.
    """

    def __init__(
        self,
        path: Path,
        lock: int,
        owner: Owner,
        *,
        segment_bytes: int,
        metric_segments: int | None,
    ) -> None:
        self.path: Final = path
        self._lock: int | None = lock
        self._owner: Final = owner
        self._generation = 0
        self.logs: Final[dict[Key, SegmentLog]] = {}
        for key in KEYS:
            self.logs[key] = SegmentLog(
                path,
                key,
                owner,
                segment_bytes=segment_bytes,
                most=metric_segments if key == KEYS[1] else None,
            )

    @property
    def signals(self) -> set[Signal]:
        """Of which something may wait in it."""
        return {log.signal for log in self.logs.values() if log.segments}

    def load(self) -> int:
        """Read what another process left here; how many items wait.

        A file that is no segment, or can't be read, is moved out of the folder.

        Raises:
            LaterFormatError: A later release wrote it. Nothing was changed.
            OSError: It can't be read just now. Nothing was changed.
        """
        stored: dict[Key, list[StoredSegment]] = {key: [] for key in KEYS}
        strange: dict[str, str] = {}
        for name in os.listdir(self.path):  # noqa: PTH208 -- the names are enough
            if name in (LOCK, UNFINISHED):
                continue
            which = segment_name(name)
            try:
                found = _look_at(self.path / name, is_segment=which is not None)
            except OSError as error:
                # Somebody deletes files here just now, or all may be well later.
                if isinstance(error, FileNotFoundError) or files.is_passing(error):
                    raise
                strange[name] = files.reason(error)
                continue
            if which is not None:
                stored[which.key].append(found._replace(number=which.number))
            elif name != CURSORS:
                strange[name] = "Not a file of a spool"
        self._generation, known = 0, [log.cursor for log in self.logs.values()]
        with contextlib.suppress(FileNotFoundError):
            if CURSORS not in strange:
                self._generation, known = cursors.load(self.path)
        for name, why in sorted(strange.items()):
            self._owner.set_aside(self.path / name, why)
        return sum(
            log.load(cursor, sorted(stored[key], key=_number))
            for (key, log), cursor in zip(self.logs.items(), known, strict=True)
        )

    def ack(self, messages: Iterable[Message]) -> None:
        """Note on disk that ``messages`` are done with, and delete what can be."""
        messages = list(messages)
        for log in self.logs.values():
            mine = [message for message in messages if log.has(message)]
            if mine:
                log.ack(mine)
        self.sweep()

    def sweep(self) -> None:
        """Save the cursors, then delete the files that are done with."""
        self._generation += 1
        # Unsaved, they cost a batch that is sent again: no reason to fail.
        with contextlib.suppress(OSError):
            known = [log.cursor for log in self.logs.values()]
            cursors.save(self.path, self._generation, known)
        for log in self.logs.values():
            log.sweep()

    def close(self) -> None:
        """Let go of the folder; delete it when nothing waits in it."""
        for log in self.logs.values():
            log.seal()
        if not self.signals:
            _remove(self.path)
        self.abandon()

    def abandon(self) -> None:
        """Close all files, and touch nothing: also in the child of a fork.

        The child shares the lock with its parent, and closing leaves it there.
        """
        for log in self.logs.values():
            log.seal()
        if self._lock is not None:
            files.close(self._lock)
        self._lock = None


def create(root: Path) -> tuple[Path, int]:
    """Make a folder of our own below ``root``; its path, and its lock.

    Raises:
        OSError: If that can't be.
    """
    name = f"{os.getpid()}-{uuid4().hex[:12]}"
    # Made under another name: a folder that can be seen is a locked one.
    new = root / f"new-{name}"
    new.mkdir(mode=0o700)
    lock: int | None = None
    try:
        lock = files.open_file(new / LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        if not locks.acquire(lock):
            _no_locks()
        cursors.create(new)
        return new.rename(root / f"{PREFIX}{name}"), lock
    except OSError:
        _remove(new)
        if lock is not None:
            files.close(lock)
        raise


def _no_locks() -> NoReturn:
    raise OSError("the spool needs a file system with locks")


def _look_at(path: Path, *, is_segment: bool) -> StoredSegment:
    """What is in a file of another process.

    Raises:
        LaterFormatError: What this release can't read.
        OSError: It can't be read.
    """
    with files.opened(path) as fd:
        version = later_version(files.read(fd, 0, HEADER))
        if version:
            raise LaterFormatError(version)
        size = min(os.fstat(fd).st_size, LONGEST)
        inside = extent(files.reader(fd), size) if is_segment else None
    return StoredSegment(0, path, size, inside)


def _number(stored: StoredSegment) -> int:
    return stored.number


def _remove(folder: Path) -> None:
    """Delete a folder without frames. The lock goes last."""
    with contextlib.suppress(OSError):
        # What is here besides would be left without a lock, and to nobody.
        ours = (UNFINISHED, CURSORS, LOCK)
        if set(os.listdir(folder)) <= set(ours):  # noqa: PTH208 -- as above
            for name in ours:
                (folder / name).unlink(missing_ok=True)
            folder.rmdir()
