"""Rows of one width, put on disk column by column.

Rows of the same kind differ in few of their bytes: what is the same in all of them is
kept once, and the other bytes stand together with those of the same place. Columns
that look random, such as the low bytes of times, stay as they are; the others are
compressed. That makes rows small, and costs little: zlib sees 30 bytes a job instead
of 800.

A packed table is the first row, a byte for each of its bytes that says what its column
is, and the columns that vary. How many rows there are, and how wide, is known from
elsewhere. A blob has one table or more: the length of what is compressed, that, and
then what isn't.
"""

from __future__ import annotations

import struct
import sys
import zlib
from array import array
from collections.abc import Callable
from typing import Final, Literal, TypeAlias, TypeVar

from spanrun.accelerator import core

N = TypeVar("N", int, float)

Integers: TypeAlias = Literal["B", "i", "I", "q", "Q"]
"""Of one, four and eight bytes, as `array` calls them."""

MAX_BYTES: Final = 256 * 1024 * 1024
"""Of a batch, unpacked. We write some 1 MiB; one span may be larger."""
MAX_ROWS: Final = 1 << 20
SAME, VARIES, RANDOM = range(3)
"""What a column is."""
_SAMPLE: Final = 512
_DIFFERENT: Final = 192
"""A column is random if its first 512 bytes have more than so many values."""
_LEVEL: Final = 1  # the next ones cost as much again, and save 5 %
_size: Final = struct.Struct("<I")


def pack_rows_in_python(rows: bytes, width: int, used: int) -> tuple[bytes, bytes]:
    """A table of ``rows``: what is to be compressed of it, and what isn't."""
    count = len(rows) // width
    kinds = bytearray(used)
    varying: list[bytes] = []
    random: list[bytes] = []
    for place in range(used):
        column = rows[place::width]
        if column.count(column[0]) == count:
            continue
        is_random = len(set(column[:_SAMPLE])) > _DIFFERENT
        kinds[place] = RANDOM if is_random else VARIES
        (random if is_random else varying).append(column)
    return b"".join((rows[:used], kinds, *varying)), b"".join(random)


pack_rows: Final[Callable[[bytes, int, int], tuple[bytes, bytes]]] = (
    pack_rows_in_python if core is None else core.pack_rows
)
"""The compiled version of `pack_rows_in_python`, if it was built; both do the same."""


class Table:
    """Tables on their way to the disk.

    Attributes:
        plain: What is to be compressed.
        random: What isn't.
    """

    def __init__(self) -> None:
        self.plain = bytearray()
        self.random = bytearray()

    def add(self, rows: bytes | bytearray, width: int, used: int = 0) -> None:
        """Add ``rows``, each of ``width`` bytes; the first ``used`` of these alone."""
        plain, random = pack_rows(bytes(rows), width, used or width)
        self.plain += plain
        self.random += random

    def blob(self) -> bytes:
        """All that was added."""
        return blob(self.plain, self.random)


def blob(plain: bytes | bytearray, random: bytes | bytearray = b"") -> bytes:
    """Put together what is to be compressed and what isn't."""
    compressed = zlib.compress(plain, _LEVEL)
    return b"".join((_size.pack(len(compressed)), compressed, random))


class Content:
    """What is in a blob, read from its beginning.

    Raises:
        ValueError: It is damaged, or larger than anything that we write.
        struct.error: The same.
        zlib.error: The same.
    """

    def __init__(self, stored: bytes) -> None:
        (size,) = _size.unpack_from(stored)
        reader = zlib.decompressobj()
        compressed = stored[_size.size : _size.size + size]
        self._plain: Final = reader.decompress(compressed, MAX_BYTES)
        if not reader.eof:
            raise ValueError("it is cut off, or too large")
        self._random: Final = stored[_size.size + size :]
        self._at = self._at_random = 0

    def take(self, size: int) -> bytes:
        """The next bytes of what was compressed."""
        return self._part(self._plain, self._move(size), size)

    def take_random(self, size: int) -> bytes:
        """The next bytes of what wasn't."""
        at, self._at_random = self._at_random, self._at_random + size
        return self._part(self._random, at, size)

    def rest(self) -> bytes:
        """All that is left of what was compressed."""
        return self._plain[self._at :]

    def _move(self, size: int) -> int:
        at, self._at = self._at, self._at + size
        return at

    @staticmethod
    def _part(content: bytes, at: int, size: int) -> bytes:
        if at + size > len(content):
            raise ValueError("it is cut off")
        return content[at : at + size]


class Columns:
    """A table that `Table.add` made, read from ``content``.

    Args:
        content: Where it is the next one.
        count: How many rows there are; at least one.
        width: How many bytes a row has.

    Raises:
        ValueError: It is cut off, or has more rows than we write.
    """

    def __init__(self, content: Content, count: int, width: int) -> None:
        if not 0 < count <= MAX_ROWS or count * width > MAX_BYTES:
            raise ValueError(f"{count} rows of {width} bytes can't be")
        self._count: Final = count
        self._width: Final = width
        self._first: Final = content.take(width)
        self._columns: Final[dict[int, bytes]] = {}
        for place, kind in enumerate(content.take(width)):
            if kind == VARIES:
                self._columns[place] = content.take(count)
            elif kind == RANDOM:
                self._columns[place] = content.take_random(count)

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
