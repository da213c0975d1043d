"""`Recovery`: what dead processes left, as far as this one has taken it over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from spanrun.telemetry.queue import files, locks
from spanrun.telemetry.queue.frame import VERSION
from spanrun.telemetry.queue.layout import segments
from spanrun.telemetry.queue.notices import Notices
from spanrun.telemetry.queue.writer import LaterFormatError, Writer
from spanrun.telemetry.signals import SIGNALS, Signal

_MOST: Final = 64  # folders with something of a signal: each has a file open


class Recovery:
    """The folders of dead processes that are locked by this one, the oldest first.

    They are taken over some at a time, for each signal by itself: what waits for a
    receiver of metrics must not keep spans from being taken over. Each folder is
    seen to by itself, too. What can't be taken over is said once, and stays.

    Args:
        root: Of the spool.
        open_writer: Makes a writer of a folder and its lock.
        notices: Told of folders that can't be taken over.
    """

    def __init__(
        self,
        root: Path,
        open_writer: Callable[[Path, int], Writer],
        notices: Notices,
    ) -> None:
        self.writers: Final[list[Writer]] = []
        self._root: Final = root
        self._open: Final = open_writer
        self._notices: Final = notices
        self._unreadable: Final[set[Path]] = set()
        self._left: set[Signal] = set()

    def take_over(self) -> Iterator[Writer]:
        """Lock and read folders whose process is gone, as far as there is room.

        Whoever gets a writer has it in `writers` before it asks for the next one.
        """
        left: set[Signal] = set()
        for folder in self._folders():
            if not any(self._has_room(signal) for signal in SIGNALS):
                left.update(SIGNALS)
                break
            signals = self._signals(folder)
            if signals and not any(self._has_room(signal) for signal in signals):
                left |= signals
            elif folder not in self._unreadable:
                writer = self._take(folder)
                if writer is not None:
                    yield writer
        self._left = left

    def has_more(self, signal: Signal) -> bool:
        """Whether folders were left for want of room, and there is room again."""
        return signal in self._left and self._count(signal) <= _MOST // 2

    def surplus(self) -> list[Writer]:
        """The writers that take the room of others, with nothing that has room."""
        if len(self.writers) <= _MOST:
            return []
        return [
            writer
            for writer in self.writers
            if writer.signals
            and all(self._count(signal) > _MOST for signal in writer.signals)
        ]

    def _take(self, folder: Path) -> Writer | None:
        try:
            lock = locks.take(folder)
            if lock is None:
                return None
            writer = self._open(folder, lock)
            try:
                writer.load()
            except BaseException:
                writer.abandon()
                raise
        except FileNotFoundError:
            return None  # somebody deleted it just now
        except LaterFormatError as later:
            self._unreadable.add(folder)
            what = f"written in format {later}, and this release reads {VERSION}"
            self._notices.note(folder, f"{what}. It is left for a later release")
        except OSError as error:
            self._notices.note(folder, f"can't be taken over: {files.reason(error)}")
        except Exception as error:  # noqa: BLE001 -- it must not stop the other folders
            self._unreadable.add(folder)
            self._notices.note(folder, f"can't be taken over: {error!r}")
        else:
            return writer
        return None

    def _folders(self) -> list[Path]:
        try:
            return locks.folders(self._root)
        except OSError as error:
            self._notices.note(self._root, f"can't be read: {files.reason(error)}")
            return []

    def _signals(self, folder: Path) -> set[Signal]:
        """Of which something is in ``folder``; all of them where that isn't known."""
        try:
            return {key[0] for key, log in segments(folder).items() if log}
        except OSError:
            return set(SIGNALS)

    def _has_room(self, signal: Signal) -> bool:
        return self._count(signal) < _MOST

    def _count(self, signal: Signal) -> int:
        return sum(signal in writer.signals for writer in tuple(self.writers))
