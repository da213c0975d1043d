"""`Window`: what some calls in a row say about the limit that they ran under."""

from __future__ import annotations

import math
from typing import Final

SCATTERED: Final = 0.05
"""A share of refusals that is no overload, even if none is usual."""
DEVIATIONS: Final = 2.5
"""Refusals beyond the usual by so many standard deviations aren't so by chance."""
USED: Final = 0.8
"""Slots are used in full if calls take this part of the time that they are held."""
PRECISION: Final = 0.1
"""The standard error of a window's mean, as a part of the mean."""
FEWEST: Final = 30
"""Calls in a window, however alike they are."""
MOST: Final = 400
"""Calls in a window, however unlike they are."""


class Window:
    """The calls that show the effect of the limit's last change.

    It begins to count when as many calls have begun and ended since as there
    are slots. From then on it counts all that end: only those that have begun
    since would be too short ones. It takes ``enough``, two for each slot at least.

    Attributes:
        since: When it began.
        answered: Calls that it has counted.
        refused: Calls that have begun since and were refused.
        peak: Slots that were in use at once, at most.
        silent: Whether not one call has been answered.
    """

    __slots__ = (
        "_enough",
        "_held",
        "_left_out",
        "_limit",
        "_squares",
        "_sum",
        "answered",
        "peak",
        "refused",
        "silent",
        "since",
    )

    def __init__(self, since: float, limit: int, enough: int) -> None:
        self.since = since
        self.answered = self.refused = self.peak = 0
        self.silent = True
        self._limit = self._left_out = limit
        self._enough = max(FEWEST, enough, 2 * limit)
        self._sum = self._squares = self._held = 0.0

    def add(self, since: float, now: float, seconds: float | None) -> bool:
        """Take in a call; None is a refusal. Returns whether that is enough."""
        if seconds is None:
            self.refused += since > self.since
            return self.refused >= self._enough
        self.silent = False
        if self._left_out:
            self._left_out -= since > self.since
            return False
        self.answered += 1
        self._held += now - since
        self._sum += seconds
        self._squares += seconds * seconds
        return self.answered >= self._enough

    @property
    def full(self) -> bool:
        """Whether every slot was in use at some moment, and by a call."""
        return self.peak >= self._limit and self._in_calls >= USED

    @property
    def idle(self) -> bool:
        """Whether less than half of the slots were in use by a call."""
        return 2 * self.peak * self._in_calls < self._limit

    @property
    def _in_calls(self) -> float:
        """The part of its slot's time that a call took: the rest it had to wait."""
        return min(1.0, self._sum / self._held) if self._held else 1.0

    @property
    def lost(self) -> float:
        """The share of calls that were refused."""
        return self.refused / self._ended

    @property
    def _ended(self) -> int:
        return self.answered + self._limit - self._left_out + self.refused

    def surplus(self, usual: float) -> float:
        """The share refused of the calls that usually aren't.

        Args:
            usual: The share that is refused anyway.

        Returns:
            0 where `SCATTERED` refusals or the usual ones, and chance, explain it.
        """
        expected = max(SCATTERED, usual)
        chance = math.sqrt(expected * (1 - expected) / self._ended)
        if self.lost <= expected + DEVIATIONS * chance:
            return 0.0
        return (self.lost - usual) / (1 - usual)

    @property
    def mean(self) -> float | None:
        """Seconds of a call; None when too few were answered to say."""
        few = self.answered < self._enough
        return None if few else self._sum / self.answered

    @property
    def needed(self) -> int:
        """How many calls as unlike as these give a mean of `PRECISION`."""
        square = self._sum * self._sum
        variance = self.answered * self._squares / square - 1 if square else 0.0
        return round(min(MOST, max(FEWEST, variance / PRECISION**2)))
