"""Rows of one width, put on disk column by column.

Rows of the same kind differ in few of their bytes: what is the same in all of them is
kept once, and the other bytes stand together with those of the same place. That is what
makes them small, and it costs next to nothing: zlib sees 60 bytes a job instead of 800.

Packed, rows are the first of them, a byte for each of its bytes that says whether it
varies, and the columns that vary. How many rows there are, and how wide, is known from
elsewhere.
"""

from __future__ import annotations

import sys
import zlib
from array import array
from typing import Final, Literal, TypeAlias, TypeVar

N = TypeVar("N", int, float)

Integers: TypeAlias = Literal["B", "i", "I", "q", "Q"]
"""Of one, four and eight bytes, as `array` calls them."""

MAX_BYTES: Final = 256 * 1024 * 1024
"""Of a batch, unpacked. We write some 1 MiB; one span may be larger."""
MAX_ROWS: Final = 1 << 20


def pack(rows: bytes | bytearray, width: int, used: int = 0) -> bytes:
    """``rows``, each of ``width`` bytes, column by column; the first ``used`` alone."""
    count = len(rows) // width
    used = used or width
    varies = bytearray(used)
    columns: list[bytes | bytearray] = []
    for place in range(used):
        column = rows[place::width]
        if column.count(column[0]) != count:
            varies[place] = 1
            columns.append(column)
    return b"".join((rows[:used], varies, *columns))


def unpacked(compressed: bytes) -> bytes:
    """What was compressed by zlib; no memory is taken for more than `MAX_BYTES`.

    Raises:
        zlib.error: It is something else.
        ValueError: It is larger, or cut off.
    """
    reader = zlib.decompressobj()
    content = reader.decompress(compressed, MAX_BYTES)
    if not reader.eof:
        raise ValueError("it is cut off, or too large")
    return content


class Columns:
    """What `pack` made, to be read.

    Args:
        packed: In which it stands.
        start: Where it begins there.
        count: How many rows there are; at least one.
        width: How many bytes a row has.

    Attributes:
        end: Where it ends in ``packed``.

    Raises:
        ValueError: It is cut off, or has more rows than we write.
    """

    def __init__(self, packed: bytes, start: int, count: int, width: int) -> None:
        if count > MAX_ROWS or count * width > MAX_BYTES:
            raise ValueError(f"{count} rows of {width} bytes are too many")
        self._count: Final = count
        self._width: Final = width
        self._first: Final = packed[start : start + width]
        varies = packed[start + width : start + 2 * width]
        place = start + 2 * width
        self._columns: Final[dict[int, bytes]] = {}
        for at, flag in enumerate(varies):
            if flag:
                self._columns[at] = packed[place : place + count]
                place += count
        self.end: Final = place
        if place > len(packed) or len(varies) < width:
            raise ValueError("it is cut off")

    def rows(self) -> bytearray:
        """All of it, row by row, as it was packed."""
        out = bytearray(self._first * self._count)
        for place, column in self._columns.items():
            out[place :: self._width] = column
        return out

    def field(self, offset: int, size: int) -> bytes:
        """The ``size`` bytes at ``offset`` of each row, one behind the other."""
        first = self._first[offset : offset + size]
        varying = [place for place in range(size) if offset + place in self._columns]
        if not varying:
            return first * self._count
        if size == 1:
            return self._columns[offset]
        out = bytearray(first * self._count)
        for place in varying:
            out[place::size] = self._columns[offset + place]
        return bytes(out)

    def integers(self, offset: int, kind: Integers) -> array[int]:
        """The integer at ``offset`` of each row."""
        return self._fill(array(kind), offset)

    def doubles(self, offset: int) -> array[float]:
        """The double at ``offset`` of each row."""
        return self._fill(array("d"), offset)

    def _fill(self, numbers: array[N], offset: int) -> array[N]:
        numbers.frombytes(self.field(offset, numbers.itemsize))
        if sys.byteorder == "big":
            numbers.byteswap()
        return numbers
