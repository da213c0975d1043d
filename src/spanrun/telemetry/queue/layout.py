"""The names of what is in a spool.

::

    spool/
      w-PID-ID/                   the folder of one process
        lock                      held by that process, or by who took it over
        ack                       how far each log is acknowledged
        traces.00000001           a segment: frames, one behind the other
        traces-keep.00000001
        metrics.00000001
        metrics-keep.00000001
        logs.00000001
        logs-keep.00000001
        metrics.LATEST            the newest snapshot, if none of those has it
      quarantine/
        TIME-CODE-ID.frames       what a receiver refused
        TIME-CODE-ID.unusable     what is no file, and was in a process's folder
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

from spanrun.telemetry.queue.frame import HEADER, MAX_PAYLOAD
from spanrun.telemetry.signals import SIGNALS, Signal

Key: TypeAlias = tuple[Signal, bool]

PREFIX: Final = "w-"
LOCK: Final = "lock"
CURSORS: Final = "ack"
UNFINISHED: Final = "unfinished"
"""The newest snapshot, while it is written."""
LATEST: Final = 10**18
"""The number of the segment that is one: no other comes so far."""
QUARANTINE: Final = "quarantine"

# In the order in which room is made: ordinary spans go first, failed ones last.
KEYS: Final[tuple[Key, ...]] = tuple(
    (signal, keep) for keep in (False, True) for signal in SIGNALS
)

# A segment holds one frame, or several up to a smaller limit. What is behind that
# wasn't written by a spool.
LONGEST: Final = HEADER + MAX_PAYLOAD

# No more digits than the cursors have room for.
_SEGMENT: Final = re.compile(r"([a-z-]+)\.([0-9]{8,19})")


class SegmentName(NamedTuple):
    """Whose segment a file is, and which."""

    key: Key
    number: int


def log_name(key: Key) -> str:
    """What the segments of a log are called, up to their number."""
    signal, keep = key
    return f"{signal}-keep" if keep else signal


def segment_file(key: Key, number: int) -> str:
    """What a segment is called."""
    return f"{log_name(key)}.{number:08}"


def segment_name(file: str) -> SegmentName | None:
    """Read the name of a segment; None for any other name."""
    parts = _SEGMENT.fullmatch(file)
    key = _LOGS.get(parts[1]) if parts is not None else None
    if parts is None or key is None:
        return None
    found = SegmentName(key, int(parts[2]))
    return found if found.number and segment_file(*found) == file else None


def segments(folder: Path, *, latest: bool = True) -> dict[Key, list[tuple[int, Path]]]:
    """The segments in the folder of a process by log, in their order.

    Args:
        folder: Of the process.
        latest: Also the one that is sent only if the process is killed.

    Raises:
        OSError: The folder can't be read.
    """
    found: dict[Key, list[tuple[int, Path]]] = {key: [] for key in KEYS}
    for file in os.listdir(folder):  # noqa: PTH208 -- the names are enough
        name = segment_name(file)
        if name is not None and (latest or name.number != LATEST):
            found[name.key].append((name.number, folder / file))
    for log in found.values():
        log.sort()
    return found


_LOGS: Final[Mapping[str, Key]] = {log_name(key): key for key in KEYS}
