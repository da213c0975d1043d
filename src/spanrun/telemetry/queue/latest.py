"""`LatestSnapshot`: the newest snapshot of the metrics, on disk for the case of a kill.

It is a segment like any other to whoever takes the folder over, and its number is
higher than that of any other. So it is sent last, and earlier releases read it too.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from spanrun.telemetry.queue import files
from spanrun.telemetry.queue.frame import MAX_PAYLOAD, Frame, encode
from spanrun.telemetry.queue.layout import LATEST, UNFINISHED, segment_file
from spanrun.telemetry.queue.message import Message


class LatestSnapshot:
    """One frame on disk, which the next one replaces. `sync` alone waits for a disk.

    It goes when what is in it was delivered, or is in the queue on disk.

    Args:
        folder: Of this process in the spool, which this makes if need be.
    """

    def __init__(self, folder: Callable[[], Path]) -> None:
        self._folder: Final = folder
        self._wanted: Frame | None = None
        self._written: Frame | None = None

    @property
    def is_due(self) -> bool:
        """Whether `sync` has something to do."""
        return self._wanted is not self._written

    def put(self, frame: Frame) -> None:
        """Have ``frame`` on disk in place of the last one, unless no file takes it."""
        self._wanted = frame if len(frame.payload) <= MAX_PAYLOAD else None

    def settle(self, messages: Iterable[Message]) -> None:
        """``messages`` are on disk, or done with: they needn't be here as well."""
        wanted = self._wanted
        if wanted is not None and any(
            message.frame.payload is wanted.payload for message in messages
        ):
            self._wanted = None

    def sync(self) -> None:
        """Write or delete what is to be. The disk may refuse it: then there is none."""
        wanted, written = self._wanted, self._written
        if wanted is written:
            return
        self._written = wanted
        with contextlib.suppress(OSError):
            folder = self._folder()
            path = folder / segment_file(("metrics", False), LATEST)
            new = folder / UNFINISHED
            if wanted is not None:
                with contextlib.suppress(OSError):
                    _write(new, wanted)
                    new.replace(path)
                    return
            path.unlink(missing_ok=True)  # it is older than what was sent since
            new.unlink(missing_ok=True)

    def after_fork(self) -> None:
        """In the child: it is the parent's."""
        self._wanted = self._written = None


def _write(path: Path, frame: Frame) -> None:
    with files.opened(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as fd:
        files.write(fd, encode(frame, 0))
