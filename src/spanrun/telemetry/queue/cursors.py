"""How far the logs of a folder are acknowledged, in a file that survives a crash.

The file has two slots, written in turn, each with a number and a CRC. A torn write
leaves the other slot, which is one acknowledgement behind: one batch is sent again.
Its room is taken when the folder is made, so that a disk that fills up doesn't make
delivered frames come again.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from spanrun.telemetry.queue import files
from spanrun.telemetry.queue.layout import CURSORS, KEYS

_SLOT: Final = struct.Struct(f"<4sQ{len(KEYS) * 3}Q")
_SEAL: Final = struct.Struct("<I")
_MAGIC: Final = b"SRak"
_SLOT_BYTES: Final = 512


class Cursor(NamedTuple):
    """A place in a log: bytes into a segment, and items passed until there."""

    segment: int
    offset: int
    position: int


def create(folder: Path) -> None:
    """Take the room for the file in a new ``folder``.

    Raises:
        OSError: If that can't be.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    with files.opened(folder / CURSORS, flags) as fd:
        files.write(fd, bytes(2 * _SLOT_BYTES))


def save(folder: Path, generation: int, cursors: Sequence[Cursor]) -> None:
    """Write one cursor for each key; ``generation`` rises from call to call.

    Raises:
        OSError: If the disk won't have it.
    """
    slot = _SLOT.pack(_MAGIC, generation, *(n for cursor in cursors for n in cursor))
    slot += _SEAL.pack(zlib.crc32(slot))
    with files.opened(folder / CURSORS, os.O_WRONLY | os.O_CREAT) as fd:
        os.pwrite(fd, slot, generation % 2 * _SLOT_BYTES)


def load(folder: Path) -> tuple[int, list[Cursor]]:
    """The newest cursors in ``folder``, one for each key, and their generation.

    Raises:
        OSError: The file can't be read; what was acknowledged isn't known.
    """
    newest, best = 0, [Cursor(0, 0, 0)] * len(KEYS)
    try:
        with files.opened(folder / CURSORS) as fd:
            data = files.read(fd, 0, 2 * _SLOT_BYTES)
    except FileNotFoundError:
        return newest, best
    for at in (0, _SLOT_BYTES):
        slot = data[at : at + _SLOT.size]
        seal = data[at + _SLOT.size :][: _SEAL.size]
        if len(seal) < _SEAL.size or _SEAL.unpack(seal)[0] != zlib.crc32(slot):
            continue
        magic, generation, *numbers = _SLOT.unpack(slot)
        if magic == _MAGIC and generation > newest:
            newest = generation
            best = [Cursor(*numbers[i : i + 3]) for i in range(0, len(numbers), 3)]
    return newest, best
