"""`Budget`: how often something may be done."""

from __future__ import annotations

from typing import Final


class Budget:
    """A token bucket: so many a second in the long run, at most so many at once."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate: Final = rate
        self._burst: Final = burst
        self._tokens = burst
        self._at = 0.0

    def take(self, now: float) -> bool:
        """Whether it may be done once more, at ``now``, of the monotonic clock."""
        more = max(0.0, now - self._at) * self._rate
        self._tokens = min(self._burst, self._tokens + more)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
