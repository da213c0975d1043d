"""`Gradient`: the concurrency at which a service is busy, but hardly queues.

A service that can do ``C`` calls at once takes ``s`` seconds for each of
``L ≤ C``, and ``s · L / C`` for each of ``L > C``, on average, however unlike
its calls are. So two limits take turns: if the calls are no slower at the
higher one, it pays; if they are slower in proportion, they only queue.

The gradient limits of Netflix's concurrency-limits (Gradient2Limit, 2018) and
of Envoy's adaptive-concurrency filter compare in this way too, with a baseline
that is older or measured at a far lower limit.
"""

from __future__ import annotations

import math
from typing import Final

TOLERANCE: Final = 1.15
"""Calls may take this much longer than those that nothing stands in front of."""
SLOW: Final = 1.5
"""Calls that take this much longer aren't so by chance."""
STEEPEST: Final = 0.5
"""Slowness never cuts the limit below this part of it in one window."""
REFUSED: Final = 0.8
"""Refusals never cut the limit below this part of it in one window."""
FASTEST: Final = 1.5
"""The limit never grows by more than this factor, once the search is over."""
PROBE: Final = 0.75
"""The lower limit, as a part of the limit."""
PROBE_EVERY: Final = 5
"""Windows after a probe before the one that the next probe is compared with."""
PAYS: Final = 0.85
"""A halved limit at which calls take no more than this part was far too high."""
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

    def __init__(self, since: float, limit: int, enough: int) -> None:
        self.since = since
        self.answered = self.refused = self.peak = 0
        self._limit = self._left_out = limit
        self._enough = max(FEWEST, enough, 2 * limit)
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
        return self.answered >= self._enough

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

    @property
    def needed(self) -> int:
        """How many calls as unlike as these give a mean of `PRECISION`."""
        square = self._sum * self._sum
        variance = self.answered * self._squares / square - 1 if square else 0.0
        return round(min(MOST, max(FEWEST, variance / PRECISION**2)))


class Gradient:
    """The limit as a function of what calls have taken. It knows no clock or task.

    At the end of each `Window` the limit is multiplied by::

        √(TOLERANCE · baseline / mean) · (1 - share refused)

    The root halves what chance does to it; calls that are `SLOW` cut it by the
    whole ratio. It grows only if it was used in full and few calls were refused,
    and faster the more windows in a row it has grown in.

    The baseline is the mean of calls that nothing stands in front of. After
    every `PROBE_EVERY` windows a probe measures it, a window at `PROBE` of the
    limit. As the limit comes to rest at `TOLERANCE` times what the service can
    do, both are near it. A window at no more than the limit of the last
    measurement measures it too, so the limit can't fall on and on because a
    probe saw short calls by chance. Half of the baseline is from before, unless
    a probe is `SLOW` itself: the service has changed, or the limit is far too
    high. Then it is halved, and again as long as that makes calls faster.

    At the beginning, and when it has fallen to its minimum, it searches: it
    doubles until calls are slow or refused. Before the first search it is
    halved in the same way.

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
        self._clear = 0  # windows in a row in which the limit has grown
        self._search = True
        self._enough = FEWEST
        self._calm = 0  # the limit at which the baseline was measured
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
            window = self._window = Window(now, self.limit, FEWEST)
        window.peak = max(window.peak, used)
        if not window.add(since, seconds):
            return False
        limit = self.limit
        self._exact *= max(REFUSED, window.passed)
        if window.refused:
            self._clear, self._search = 0, False
        if self._probed:
            self._probe(window)
        else:
            self._update(window)
        # less shows whether to double it
        enough = self._enough // 2 if self._search else self._enough
        self._window = Window(now, self.limit, enough)
        return self.limit != limit

    def _update(self, window: Window) -> None:
        mean, lowest = window.mean, self.limit == self._least
        refuses = window.passed <= REFUSED
        if refuses and self.baseline < math.inf:  # tells as much as a probe
            self._probe_in = PROBE_EVERY
        if mean is None:
            mean = self.baseline
        elif window.peak * 2 < self.limit or lowest:
            self._measure(mean, window)
            self._probe_in = PROBE_EVERY
            self._search = self._search or (lowest and not window.refused)
        elif self._probe_in <= 0:
            self._probed = [mean]
            known = self.baseline < math.inf
            part = PROBE if known else 0.5
            self._set(min(self.limit - 1, self.limit * part))
            return
        elif self.limit <= self._calm and mean <= SLOW * self.baseline:
            self._measure(mean, window)
        self._probe_in -= 1
        grow = window.full and not refuses
        if not self._search:
            self._adjust(mean, STEEPEST, grow=grow)
        elif mean > SLOW * self.baseline or self.limit == self._most:
            self._search, self._probe_in = False, 0
            self._adjust(mean, STEEPEST, grow=False)
        elif grow:
            if self.limit > self._calm:
                self._measure(mean, window)
            self._probe_in = PROBE_EVERY
            self._settle(2 * self._exact)

    def _probe(self, window: Window) -> None:
        before = self._probed[-1]
        mean = before if window.mean is None else window.mean
        if self.baseline < math.inf and len(self._probed) == 1:
            lower = mean > SLOW * self.baseline
        else:
            lower = mean <= PAYS * before
        if lower and self.limit > self._least:
            self._probed.append(mean)
            self._set(self.limit / 2)
            return
        self._measure(mean, window)
        self._probe_in = PROBE_EVERY
        if self._search:
            self._settle(min(self._exact, 2.0 * self.limit))
        else:
            self._adjust(self._probed[0], 0.0, grow=False)
        self._probed = []

    def _measure(self, mean: float, window: Window) -> None:
        """Take ``mean`` as what calls take that nothing stands in front of."""
        if mean <= SLOW * self.baseline < math.inf:
            mean = (self.baseline + mean) / 2
        self.baseline, self._calm = mean, self.limit
        if window.mean is not None:
            self._enough = window.needed

    def _adjust(self, mean: float, steepest: float, *, grow: bool) -> None:
        """Change the limit, at which calls took ``mean`` seconds."""
        fits = TOLERANCE * self.baseline / mean if 0 < mean < math.inf else 1.0
        slow = mean > SLOW * self.baseline
        factor = max(steepest, fits) if slow else math.sqrt(fits)
        limit = self._exact
        self._clear = self._clear + 1 if grow and factor >= 1 else 0
        if self._clear:
            factor *= TOLERANCE ** ((self._clear - 1) / 2)
            limit = max(limit + 0.5, limit * min(FASTEST, factor))
        self._settle(limit if self._clear else limit * min(1.0, factor))

    def _settle(self, limit: float) -> None:
        self._exact = min(float(self._most), max(float(self._least), limit))
        self._set(limit)

    def _set(self, limit: float) -> None:
        self.limit = min(self._most, max(self._least, round(limit)))
