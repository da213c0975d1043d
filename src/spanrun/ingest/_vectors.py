"""`Vectors`: those of one document's chunks; many of them are kept in a file."""

from __future__ import annotations

import tempfile
import threading
from array import array
from collections.abc import Iterator, Sequence
from typing import IO, Final, overload

_BOXED: Final = 32  # bytes of a number in a list: the pointer and the float
_IN_MEMORY: Final = 4 * 2**20  # bytes of one document's vectors


class Vectors:
    """Keeps the vectors of ``count`` chunks in memory, or in a temporary file.

    A vector of 256 numbers is a list of 8 KiB, eight times the text that it is of. The
    file has no name, and goes when the last vector does.
    """

    def __init__(self, count: int) -> None:
        self._count: Final = count
        self._kept: Final[list[Sequence[float]]] = [()] * count
        self._file: _File | None = None

    def put(self, index: int, vector: Sequence[float]) -> None:
        """Keep the vector of a chunk.

        Raises:
            OSError: The disk is full.
            TypeError: It isn't of numbers.
        """
        if self._file is None and self._count * len(vector) * _BOXED > _IN_MEMORY:
            self._file = _File()
        self._kept[index] = self._file.keep(vector) if self._file else vector

    def __iter__(self) -> Iterator[Sequence[float]]:
        return iter(self._kept)


class _File:
    """Numbers in a temporary file, for as long as somebody can read them."""

    def __init__(self) -> None:
        self._bytes: Final[IO[bytes]] = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 -- see __del__
        self._turn: Final = threading.Lock()  # a store reads in a thread
        self._end = 0

    def __del__(self) -> None:
        self._bytes.close()

    def keep(self, numbers: Sequence[float]) -> _Stored:
        data = array("d", numbers).tobytes()
        with self._turn:
            self._bytes.seek(self._end)
            left = memoryview(data)
            while left:
                left = left[self._bytes.write(left) :]
            stored = _Stored(self, self._end, len(numbers))
            self._end += len(data)
        return stored

    def read(self, start: int, length: int) -> array[float]:
        numbers = array("d", bytes(8 * length))
        with self._turn:
            self._bytes.seek(start)
            view = memoryview(numbers).cast("B")
            while view:
                got = self._bytes.readinto(view)  # type: ignore[attr-defined]
                if not got:
                    raise OSError("the temporary file of a document's vectors is cut")
                view = view[got:]
        return numbers


class _Stored(Sequence[float]):
    """A vector that is read when somebody looks at it."""

    __slots__ = ("_file", "_length", "_start")

    def __init__(self, file: _File, start: int, length: int) -> None:
        self._file = file
        self._start = start
        self._length = length

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[float]:
        return iter(self._file.read(self._start, self._length))

    @overload
    def __getitem__(self, place: int) -> float: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[float]: ...

    def __getitem__(self, place: int | slice) -> float | Sequence[float]:
        return self._file.read(self._start, self._length)[place]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return list(self) == list(other)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(list(self))
