"""The spool's file format: frames that each stand alone, and a scan past damage.

A file is frames one behind the other and nothing else::

    magic 4 · version 1 · signal 1 · rank 1 · pad 1 · items 4 · length 4
    · order 8 · before 8 · CRC-32 of the payload 4 · CRC-32 of these 36 bytes 4
    · payload (an OTLP export request, protobuf)

all little-endian. Each frame has its own magic, so a reader finds the next one
behind a torn tail or a flipped bit, and its own CRC over the header, so that a
magic inside some payload is never taken for a frame. ``before`` counts the
items that were written to this line of files ahead of the frame. Where a header
is unreadable, the next good one tells how many items were lost with it.

The CRC guards against accidents, not against someone who may write the folder.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from spanrun.semconv import SpanrunTelemetrySignal

Signal: TypeAlias = SpanrunTelemetrySignal

# 0xf5 and 0x9d never stand like this in UTF-8: no text holds a magic.
MAGIC: Final = b"\xf5SR\x9d"
VERSION: Final = 1
MAX_PAYLOAD: Final = 64 * 1024 * 1024
SIGNALS: Final[tuple[Signal, ...]] = ("traces", "metrics")

_HELD: Final = 5 * 1024
_HEAD: Final = struct.Struct("<4sBBBxIIQQI")
_SEAL: Final = struct.Struct("<I")
HEADER: Final = _HEAD.size + _SEAL.size


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One encoded export request.

    Attributes:
        signal: What is in it.
        payload: An ``ExportTraceServiceRequest`` or its like for metrics.
        items: Spans, or data points, in it.
        keep: Given up last when room runs out: failed spans, zero points.
        order: Rises from frame to frame in a process.
    """

    signal: Signal
    payload: bytes
    items: int
    keep: bool = field(default=False, kw_only=True)
    order: int = field(default=0, kw_only=True)


@dataclass(frozen=True, slots=True)
class Found:
    """An intact frame, and the bytes ``start`` to ``end`` where it stood."""

    frame: Frame
    before: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Damage:
    """The bytes ``start`` to ``end`` are no frame.

    Attributes:
        after: Items up to its end, when its header could still be read.
    """

    start: int
    end: int
    after: int | None


@dataclass(frozen=True, slots=True)
class _Header:
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
        _crc(payload),
    )
    return b"".join((head, _SEAL.pack(zlib.crc32(head)), payload))


def scan(data: bytes, start: int = 0) -> Iterator[Found | Damage]:
    """Every frame of ``data`` from ``start`` on, and what lies between them.

    The pieces are in order and leave no byte out. A bad frame costs itself
    alone: the scan goes on at the next magic that begins a sound header.
    """
    at = start
    while at < len(data):
        header = _header(data, at)
        if header is None:
            end = _next(data, at + 1)
            yield Damage(at, end, None)
            at = end
            continue
        body = at + HEADER
        payload = data[body : body + header.length]
        if len(payload) == header.length and _crc(payload) == header.crc:
            frame = Frame(
                header.signal,
                payload,
                header.items,
                keep=header.keep,
                order=header.order,
            )
            yield Found(frame, header.before, at, body + header.length)
            at = body + header.length
        else:
            # Not trusting the length: after a failed write the next frame may
            # begin before the end of this one.
            end = _next(data, at + 1)
            yield Damage(at, end, header.before + header.items)
            at = end


@dataclass(frozen=True, slots=True)
class Extent:
    """What the headers of a file say: items ahead of it, items up to its end."""

    first: int
    last: int


def extent(data: bytes) -> Extent | None:
    """The items in ``data``, by its headers alone; None where there is no frame."""
    first: int | None = None
    last = at = 0
    while (header := _header(data, at := _next(data, at))) is not None:
        if first is None:
            first = header.before
        last = header.before + header.items
        # A length that goes past other frames is one of a failed write.
        end = at + HEADER + header.length
        at = end if _header(data, end) is not None else at + 1
    return None if first is None else Extent(first, last)


def _crc(payload: bytes) -> int:
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


def _header(data: bytes, at: int) -> _Header | None:
    head = data[at : at + _HEAD.size]
    seal = data[at + _HEAD.size : at + HEADER]
    if not head.startswith(MAGIC) or len(seal) < _SEAL.size:
        return None
    if _SEAL.unpack(seal)[0] != zlib.crc32(head):
        return None
    fields: tuple[bytes, int, int, int, int, int, int, int, int] = _HEAD.unpack(head)
    _, version, signal, rank, items, length, order, before, crc = fields
    if version != VERSION or signal >= len(SIGNALS) or length > MAX_PAYLOAD:
        return None
    return _Header(SIGNALS[signal], bool(rank), items, length, order, before, crc)


def _next(data: bytes, at: int) -> int:
    """Where the next sound header begins, or the end of ``data``."""
    while (at := data.find(MAGIC, at)) >= 0:
        if _header(data, at) is not None:
            return at
        at += 1
    return len(data)
