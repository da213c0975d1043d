"""The spool's file format: frames that each stand alone.

A file is frames one behind the other and nothing else::

    magic 4 · version 1 · signal 1 · rank 1 · pad 1 · items 4 · length 4
    · order 8 · before 8 · CRC-32 of the payload 4 · CRC-32 of these 36 bytes 4
    · payload (an OTLP export request, protobuf)

all little-endian. Each frame has its own magic, so a reader finds the next one
behind a torn tail or a flipped bit, and its own CRC over the header, so that a
magic inside some payload is never taken for a frame. ``before`` counts the
items that were written to this log ahead of the frame. Where a header
is unreadable, the next good one tells how many items were lost with it.

The CRC guards against accidents, not against someone who may write the folder.

Magic and version stand first in every version of the format. What a later one wrote
is left to those that can read it.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from typing import Final

from spanrun.telemetry.signals import SIGNALS, Signal

# 0xf5 and 0x9d never stand like this in UTF-8: no text holds a magic.
MAGIC: Final = b"\xf5SR\x9d"
VERSION: Final = 1
MAX_PAYLOAD: Final = 64 * 1024 * 1024

_HELD: Final = 5 * 1024
_MOST: Final = 1 << 53  # items ahead of a frame: no sum of such runs over
_HEAD: Final = struct.Struct("<4sBBBxIIQQI")
_SEAL: Final = struct.Struct("<I")
HEADER: Final = _HEAD.size + _SEAL.size
_AT: Final = len(MAGIC)  # where the version stands


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One encoded export request.

    Attributes:
        signal: What is in it.
        payload: An ``ExportTraceServiceRequest`` or its like for another signal.
        items: Spans, data points or log records in it.
        keep: Given up last when room runs out: failed spans, zero points, logged
            errors.
        order: Rises from frame to frame in a process.
    """

    signal: Signal
    payload: bytes
    items: int
    keep: bool = field(default=False, kw_only=True)
    order: int = field(default=0, kw_only=True)


@dataclass(frozen=True, slots=True)
class Header:
    """What is written ahead of a payload; ``crc`` is the payload's."""

    signal: Signal
    keep: bool
    items: int
    length: int
    order: int
    before: int
    crc: int


def encode(frame: Frame, before: int) -> bytes:
    """The frame as bytes; ``before`` items were written ahead of it.

    Raises:
        ValueError: If the payload is longer than `MAX_PAYLOAD`.
    """
    payload = frame.payload
    if len(payload) > MAX_PAYLOAD:
        raise ValueError(f"payload of {len(payload)} bytes: at most {MAX_PAYLOAD}")
    head = _HEAD.pack(
        MAGIC,
        VERSION,
        SIGNALS.index(frame.signal),
        frame.keep,
        frame.items,
        len(payload),
        frame.order,
        before,
        checksum(payload),
    )
    return b"".join((head, _SEAL.pack(zlib.crc32(head)), payload))


def checksum(payload: bytes) -> int:
    """The CRC-32 of ``payload``.

    Over more than 5 KiB at once zlib lets the interpreter lock go, and beside a
    busy event loop gets it back after 5 ms only: for each frame that is written.
    """
    if len(payload) <= _HELD:
        return zlib.crc32(payload)
    crc, view = 0, memoryview(payload)
    for at in range(0, len(view), _HELD):
        crc = zlib.crc32(view[at : at + _HELD], crc)
    return crc


def read_header(data: bytes) -> Header | None:
    """The header that ``data`` begins with; None where it begins with none."""
    head, seal = data[: _HEAD.size], data[_HEAD.size : HEADER]
    if not head.startswith(MAGIC) or len(seal) < _SEAL.size:
        return None
    if _SEAL.unpack(seal)[0] != zlib.crc32(head):
        return None
    fields: tuple[bytes, int, int, int, int, int, int, int, int] = _HEAD.unpack(head)
    _, version, signal, rank, items, length, order, before, crc = fields
    if version != VERSION or signal >= len(SIGNALS):
        return None
    if length > MAX_PAYLOAD or before > _MOST:
        return None
    return Header(SIGNALS[signal], bool(rank), items, length, order, before, crc)


def later_version(data: bytes) -> int:
    """The version of the frame that ``data`` begins with, if it is a later one; or 0.

    A bit that flipped in the version isn't taken for one: with the version of today
    that header is sound.
    """
    if len(data) <= _AT or not data.startswith(MAGIC) or data[_AT] <= VERSION:
        return 0
    today = data[:_AT] + bytes((VERSION,)) + data[_AT + 1 :]
    return 0 if read_header(today) is not None else data[_AT]
