"""Columns of integers, and the one table of their texts."""

from __future__ import annotations

from typing import Final

MICRO: Final = 1_000_000


class Texts:
    """Each text once; a column has its place. The first is none."""

    def __init__(self) -> None:
        self.all: Final[list[str]] = [""]
        self._places: Final[dict[str, int]] = {"": 0}

    def place(self, text: str | None) -> int:
        """Where ``text`` is in the table; it is added if it is new."""
        if not text:
            return 0
        found = self._places.setdefault(text, len(self.all))
        if found == len(self.all):
            self.all.append(text)
        return found


class Columns:
    """Rows of integers, kept column by column.

    Args:
        names: Those of the columns.
    """

    def __init__(self, *names: str) -> None:
        self._columns: Final[dict[str, list[int]]] = {name: [] for name in names}
        self._appends: Final = [column.append for column in self._columns.values()]

    def add(self, *row: int) -> None:
        """Add a row, in the order of the names."""
        for append, number in zip(self._appends, row, strict=True):
            append(number)

    def __len__(self) -> int:
        return len(next(iter(self._columns.values())))

    def put(self, name: str, row: int, number: int) -> None:
        """Replace a number of one row."""
        self._columns[name][row] = number

    def since(self, row: int) -> dict[str, list[int]]:
        """Each column from ``row`` on, by its name."""
        return {name: column[row:] for name, column in self._columns.items()}

    def as_dict(self) -> dict[str, list[int]]:
        """Each column by its name."""
        return self._columns


def micro(seconds: float) -> int:
    """Seconds as whole microseconds."""
    return round(seconds * MICRO)


def parts(seconds: tuple[float, ...]) -> list[int]:
    """Parts in whole microseconds whose sum is the rounded sum of ``seconds``."""
    out: list[int] = []
    total = 0.0
    before = 0
    for each in seconds:
        total += each
        after = micro(total)
        out.append(after - before)
        before = after
    return out
