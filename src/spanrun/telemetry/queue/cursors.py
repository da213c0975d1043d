"""How far the logs of a folder are acknowledged, in a file that survives a crash.

The file has two slots, written in turn, each with a number and a CRC. A torn write
leaves the other slot, which is one acknowledgement behind: one batch is sent again.
Its room is taken when the folder is made, so that a disk that fills up doesn't make
delivered frames come again.

Releases before logs were a signal wrote shorter slots, without cursors for them. Which
of the two a slot is shows where its CRC is right.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from spanrun.telemetry.queue import files
from spanrun.telemetry.queue.layout import CURSORS, KEYS, Key

_WITHOUT_LOGS: Final = tuple(key for key in KEYS if key[0] != "logs")
_SLOTS: Final[Sequence[tuple[Sequence[Key], struct.Struct]]] = [
    (keys, struct.Struct(f"<4sQ{len(keys) * 3}Q")) for keys in (KEYS, _WITHOUT_LOGS)
]
"""Of which logs a slot has cursors: the one that is written, and the one before."""
_SLOT: Final = _SLOTS[0][1]
_SEAL: Final = struct.Struct("<I")
_MAGIC: Final = b"SRak"
_SLOT_BYTES: Final = 512


class Cursor(NamedTuple):
    """A place in a log: bytes into a segment, and items passed until there."""

    segment: int
    offset: int
    position: int


_NOTHING: Final = Cursor(0, 0, 0)


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
    newest, best = 0, dict.fromkeys(KEYS, _NOTHING)
    try:
        with files.opened(folder / CURSORS) as fd:
            data = files.read(fd, 0, 2 * _SLOT_BYTES)
    except FileNotFoundError:
        return newest, list(best.values())
    for at in (0, _SLOT_BYTES):
        generation, found = _read(data[at : at + _SLOT_BYTES])
        if generation > newest:
            newest = generation
            best = {key: found.get(key, _NOTHING) for key in KEYS}
    return newest, list(best.values())


def _read(data: bytes) -> tuple[int, dict[Key, Cursor]]:
    """The generation of a slot, and its cursors; 0 and none where it isn't whole."""
    for keys, layout in _SLOTS:
        slot, seal = data[: layout.size], data[layout.size :][: _SEAL.size]
        if len(seal) < _SEAL.size or _SEAL.unpack(seal)[0] != zlib.crc32(slot):
            continue
        magic, generation, *numbers = layout.unpack(slot)
        if magic == _MAGIC:
            places = (Cursor(*numbers[i : i + 3]) for i in range(0, len(numbers), 3))
            return generation, dict(zip(keys, places, strict=True))
    return 0, {}
