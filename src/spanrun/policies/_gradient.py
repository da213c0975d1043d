"""`Gradient`: the concurrency at which a service is busy, but nothing queues in it.

After the gradient limits of Netflix's concurrency-limits (Gradient2Limit, 2018)
and of Envoy's adaptive-concurrency filter. A service that can do ``C`` calls at
once takes ``s`` seconds for each of ``L ≤ C``, and ``s · L / C`` for each of
``L > C``. So ``L · s / seconds`` is what it can do, once ``s`` is known.
"""

from __future__ import annotations

import math
from typing import Final

TOLERANCE: Final = 1.1
"""Calls may take this much longer than those that nothing stood in front of."""
STEEPEST: Final = 0.5
"""Slowness never cuts the limit below this part of it in one window."""
REFUSED: Final = 0.7
"""Refusals never cut the limit below this part of it in one window."""
RAMP: Final = 1.5
"""The limit grows by this factor until the first sign of queueing."""
PAYS: Final = 0.75
"""A halved limit at which calls take no more than this part was far too high."""
PROBE_EVERY: Final = 30
"""Windows from one probe to the next."""
SURE=.1
MOST=400
FEWEST: Final = 20
"""Calls in a window, at least; otherwise it is two for each slot."""


class Gradient:
    """The limit as a function of what calls have taken. It knows no clock or task.

    Calls are taken in windows, of those which began after the last change and so
    show its effect. At a window's end the limit becomes::

        L · min(1, TOLERANCE · baseline / median) · (1 - share refused) + √L / 2

    The last term only if the limit was used in full. The limit grows by `RAMP`
    instead at the start, and after a fall until half of what it was before.

    The baseline, the median of calls that nothing stood in front of, can't be
    seen at a limit that is too high. So every `PROBE_EVERY` windows the limit
    is halved for one, and again as long as that makes calls faster.

    Attributes:
        limit: How many calls there may be at once now.
        baseline: Seconds of a call that nothing stands in front of.
    """

    def __init__(self, start: int, least: int, most: int, now: float = 0.0) -> None:
        self.limit = start
        self.baseline = math.inf
        self._least: Final = least
        self._most: Final = most
        self._exact = float(start)
        self._ramp_to = math.inf
        self._falling = False
        self._probe_in = 0  # the first window is followed by a probe
        self._before_probe = 0.0
        self._last_probe = 0.0
        self._begin(now)

    def learn(self, since: float, now: float, seconds: float | None, used: int) -> bool:
        """Take in a call that began at ``since`` and ended ``now``.

        Args:
            since: When it began; a call older than the window is left out.
            now: When it ended.
            seconds: How long it took; None when it was refused.
            used: How many calls there were at once, this one included.

        Returns:
            Whether `limit` has changed.
        """
        if used > self._peak:
            self._peak = used
        if since < self._since:
            return False
        self._calls += 1
        if seconds is not None:
            self._answered += 1
            self._sum += seconds
            self._squares += seconds * seconds
        limit = self.limit
        enough = max(FEWEST, 2 * limit)
        if self._answered >= enough:
            if not self._sure():
                return False
        elif self._calls - self._answered < enough:
            return False
        self._exact *= max(REFUSED, self._answered / self._calls)
        if self._before_probe:
            self._go_on_probing()
        else:
            self._update()
        self._begin(now)
        return self.limit != limit

    def _begin(self, now: float) -> None:
        self._since = now
        self._calls = self._answered = self._peak = 0
        self._sum = self._squares = 0.0

    def _sure(self) -> bool:
        """Whether the mean is known well enough (its standard error)."""
        if self._calls >= MOST:
            return True
        spread = self._squares - self._sum * self._sum / max(1, self._answered)
        return spread <= (SURE * self._sum) ** 2

    def _mean(self) -> float | None:
        few = self._answered < max(FEWEST, 2 * self.limit)
        return None if few else self._sum / self._answered

    def _update(self) -> None:
        mean = self._mean()
        seconds = mean or self.baseline
        if mean and self._peak * 2 < self.limit:  # so few that nothing can stand in front
            self.baseline = seconds
            self._probe_in = PROBE_EVERY
        elif self._probe_in <= 0 and mean:
            self._before_probe = self._last_probe = seconds
            self._probe_at(self.limit)
            return
        self._probe_in -= 1
        self._apply(seconds, STEEPEST)

    def _apply(self, seconds: float, steepest: float) -> None:
        """Set the limit, at which calls took ``seconds``."""
        fits = TOLERANCE * self.baseline / seconds if seconds < math.inf else 1.0
        limit = self._exact * max(steepest, min(1.0, fits))
        falling = limit < self.limit
        if falling and not self._falling:
            self._ramp_to = self.limit / 2
        self._falling = falling
        if self._peak >= self.limit:
            ramps = not falling and limit < self._ramp_to
            limit = limit * RAMP if ramps else limit + math.sqrt(limit) / 2
        self._exact = min(float(self._most), max(float(self._least), limit))
        self.limit = round(self._exact)

    def _probe_at(self, limit: int) -> None:
        self.limit = max(self._least, limit // 2)

    def _go_on_probing(self) -> None:
        seconds = self._mean() or self._last_probe
        if seconds <= PAYS * self._last_probe and self.limit > self._least:
            self._last_probe = seconds
            self._probe_at(self.limit)
            return
        self.baseline = seconds
        self._probe_in = PROBE_EVERY
        before, self._before_probe = self._before_probe, 0.0
        self._apply(before, 0.0)
