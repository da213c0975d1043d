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
"""Calls may take this much longer than those that nothing stands in front of."""
STEEPEST: Final = 0.5
"""Slowness never cuts the limit below this part of it in one window."""
REFUSED: Final = 0.8
"""Refusals never cut the limit below this part of it in one window."""
RAMP: Final = 2.0
"""The limit grows by this factor until the first sign of queueing."""
PAYS: Final = 0.8
"""A halved limit at which calls take no more than this part was far too high."""
PROBE_EVERY: Final = 30
"""Windows from one probe to the next."""


class Window:
    """The calls that show the effect of the limit's last change.

    It begins to count when as many calls have begun and ended since as there
    are slots. From then on it counts all that end: only those that have begun
    since would be too short ones. It takes two for each slot, or more until
    their mean is known to 15 % (its standard error): 20 at least, 400 at most.
    """

    __slots__ = (
        "_enough",
        "_left_out",
        "_limit",
        "_squares",
        "_sum",
        "answered",
        "peak",
        "refused",
        "since",
    )

    def __init__(self, since: float, limit: int) -> None:
        self.since = since
        self.answered = self.refused = self.peak = 0
        self._limit = self._left_out = limit
        self._enough = max(20, 2 * limit)
        self._sum = self._squares = 0.0

    def add(self, since: float, seconds: float | None) -> bool:
        """Take in a call; None is a refusal. Returns whether that is enough."""
        if seconds is None:
            self.refused += since > self.since
            return self.refused >= self._enough
        if self._left_out:
            self._left_out -= since > self.since
            return False
        self.answered += 1
        self._sum += seconds
        self._squares += seconds * seconds
        if self.answered < self._enough:
            return False
        spread = self._squares - self._sum * self._sum / self.answered
        return spread <= (0.15 * self._sum) ** 2 or self.answered >= max(
            400, self._enough
        )

    @property
    def full(self) -> bool:
        """Whether every slot was in use at some moment."""
        return self.peak >= self._limit

    @property
    def passed(self) -> float:
        """The share of calls that weren't refused."""
        answered = self.answered + self._limit - self._left_out
        return answered / (answered + self.refused)

    @property
    def mean(self) -> float | None:
        """Seconds of a call; None when too few were answered to say."""
        few = self.answered < self._enough
        return None if few else self._sum / self.answered


class Gradient:
    """The limit as a function of what calls have taken. It knows no clock or task.

    At the end of each `Window` the limit becomes::

        L · min(1, TOLERANCE · baseline / mean) · (1 - share refused) + n · √L / 2

    The last term, by which it grows, only if the limit was used in full; ``n``
    counts the windows in a row without a sign of queueing, 1 at least. Until
    the first such sign it grows by `RAMP` instead.

    The baseline, the mean of calls that nothing stands in front of, can't be
    seen at a limit that is too high. So every `PROBE_EVERY` windows the limit
    is halved for one, and again as long as that makes calls faster.

    Attributes:
        limit: How many calls there may be at once now.
        baseline: Seconds of a call that nothing stands in front of.
    """

    def __init__(self, start: int, least: int, most: int) -> None:
        self.limit = start
        self.baseline = math.inf
        self._least: Final = least
        self._most: Final = most
        self._exact = float(start)
        self._clear = 0  # windows in a row without a sign of queueing
        self._ramp = True
        self._probe_in = 0  # the first window is followed by a probe
        self._probed: list[float] = []  # the means so far, from the full limit down
        self._window: Window | None = None

    def learn(self, since: float, now: float, seconds: float | None, used: int) -> bool:
        """Take in a call that began at ``since`` and ended ``now``.

        Args:
            since: When it began.
            now: When it ended.
            seconds: How long it took; None when it was refused.
            used: How many calls there were at once, this one included.

        Returns:
            Whether `limit` has changed.
        """
        window = self._window
        if window is None:  # the calls that all began at once tell nothing
            window = self._window = Window(now, self.limit)
        window.peak = max(window.peak, used)
        if not window.add(since, seconds):
            return False
        limit = self.limit
        self._exact *= max(REFUSED, window.passed)
        if self._probed:
            self._probe(window)
        else:
            self._update(window)
        self._window = Window(now, self.limit)
        return self.limit != limit

    def _update(self, window: Window) -> None:
        mean, self._probe_in = window.mean, self._probe_in - 1
        if mean is None:
            mean = self.baseline
        elif window.peak * 2 < self.limit:  # so few: nothing stood in front of them
            self.baseline, self._probe_in = mean, PROBE_EVERY
        elif self._probe_in < 0:
            self._probed = [mean]
            self._set(self.limit / 2)
            return
        if window.refused:
            self._clear, self._ramp = 0, False
        self._apply(mean, STEEPEST, grow=window.full and window.passed > REFUSED)

    def _probe(self, window: Window) -> None:
        mean = self._probed[-1] if window.mean is None else window.mean
        if mean <= PAYS * self._probed[-1] and self.limit > self._least:
            self._probed.append(mean)
            self._set(self.limit / 2)
            return
        self.baseline, self._probe_in = mean, PROBE_EVERY
        self._apply(self._probed[0], 0.0, grow=False)
        self._probed = []

    def _apply(self, mean: float, steepest: float, *, grow: bool) -> None:
        """Set the limit, at which calls took ``mean`` seconds."""
        fits = TOLERANCE * self.baseline / mean if 0 < mean < math.inf else 1.0
        limit = self._exact * max(steepest, min(1.0, fits))
        if fits < 1 or not grow:
            self._clear, self._ramp = 0, self._ramp and fits >= 1
        if grow:
            self._clear += 1
            step = math.sqrt(limit) / 2 * self._clear
            limit = limit * RAMP if self._ramp else limit + step
        self._set(limit)
        self._exact = min(float(self._most), max(float(self._least), limit))

    def _set(self, limit: float) -> None:
        self.limit = min(self._most, max(self._least, round(limit)))
