"""`Quantile`: a running quantile of the latest values."""

from __future__ import annotations

from collections import deque
from typing import Final

KEPT: Final = 200
"""Values that are remembered: it forgets, so it follows a service that changes."""
FEWEST: Final = 20
"""Values without which nothing is said."""


class Quantile:
    """The quantile ``q`` of the last `KEPT` values, computed anew now and then.

    It is sorted out after `FEWEST` values, and then whenever half as many
    more have come in.

    Attributes:
        value: The quantile; None before there are enough values.
    """

    def __init__(self, q: float) -> None:
        self.value: float | None = None
        self._q: Final = q
        self._values: Final[deque[float]] = deque(maxlen=KEPT)
        self._until_sorted = FEWEST

    def add(self, value: float) -> None:
        """Take in a value."""
        self._values.append(value)
        self._until_sorted -= 1
        if not self._until_sorted:
            ordered = sorted(self._values)
            self.value = ordered[int(self._q * len(ordered))]
            self._until_sorted = len(ordered) // 2
