"""`Gradient`: the concurrency at which a service is busy, but hardly queues.

A service that can do ``C`` calls at once takes ``s`` seconds for each of
``L ≤ C``, and ``s · L / C`` for each of ``L > C``, on average, however unlike
its calls are. So two limits take turns: if the calls are no slower at the
higher one, it pays; if they are slower in proportion, they only queue. Refusals
are judged in the same way: those of an overload become fewer at a lower limit,
those that come at random don't.

The gradient limits of Netflix's concurrency-limits (Gradient2Limit, 2018) and
of Envoy's adaptive-concurrency filter compare in this way too, with a baseline
that is older or measured at a far lower limit.
"""

from __future__ import annotations

import math
from typing import Final

from spanrun.policies._window import FEWEST, Window
from spanrun.semconv import SpanrunLimitDecision

TOLERANCE: Final = 1.15
"""Calls may take this much longer than those that nothing stands in front of."""
SLOW: Final = 1.5
"""Calls that take this much longer aren't so by chance."""
STEEPEST: Final = 0.5
"""Nothing cuts the limit below this part of it in one window."""
REFUSED: Final = 0.8
"""Nor do refusals below this one, unless nothing is answered."""
MOSTLY: Final = 0.5
"""A greater share of refusals is an overload, whatever else has been seen."""
FASTEST: Final = 1.5
"""The limit never grows by more than this factor, once the search is over."""
PROBE: Final = 0.75
"""The lower limit, as a part of the limit."""
PROBE_EVERY: Final = 5
"""Windows after a probe before the one that the next probe is compared with."""
PAYS: Final = 0.85
"""Calls that take no more than this part after a cut had been in a queue."""


class Gradient:
    """The limit as a function of what calls have taken. It knows no clock or task.

    At the end of each `Window` the limit is multiplied by::

        √(TOLERANCE · baseline / mean) · (1 - surplus of refusals)

    The root halves what chance does to it; calls that are `SLOW` cut it by the
    whole ratio. It grows only if it was used in full and there is no surplus,
    and faster the more windows in a row it has grown in.

    The surplus is the share refused beyond the usual one, which is measured with
    the baseline, at a lower limit. What chance explains is no surplus, and more
    than `MOSTLY` is never usual. A cut for refusals is followed by another one
    only when the baseline's time has passed, since the calls that were under way
    may be refused as well; by a deeper one if not a single call was answered then.

    The baseline is the mean of calls that nothing stands in front of. After
    every `PROBE_EVERY` windows a probe measures it, a window at `PROBE` of the
    limit. As the limit comes to rest at `TOLERANCE` times what the service can
    do, both are near it. A window at no more than the limit of the last
    measurement measures it too, so the limit can't fall on and on because a
    probe saw short calls by chance. Half of the baseline is from before, unless
    a probe is `SLOW` itself: the service has changed, or the limit is far too
    high. Then it is halved, and again as long as that makes calls faster.

    Calls that stay `SLOW` though the limit was cut don't queue: the service itself
    is slower. Then that is the baseline, and the limit is what it was. The first
    slow window isn't compared, since the change may have come in its middle.

    At the beginning, and when it has fallen to its minimum, it searches: it
    doubles until calls are slow or refused. Before the first search it is
    halved in the same way.

    Attributes:
        limit: How many calls there may be at once now.
        baseline: Seconds of a call that nothing stands in front of.
        decision: Why the limit has changed the last time.
    """

    def __init__(self, start: int, least: int, most: int) -> None:
        self.limit = start
        self.baseline = math.inf
        self.decision: SpanrunLimitDecision = "grown"
        self._least: Final = least
        self._most: Final = most
        self._exact = float(start)
        self._usual = MOSTLY  # the share of calls that is refused at any limit
        self._cut = -math.inf  # when refusals have last lowered the limit
        # the limit before calls became slow, and their mean since
        self._slowed: tuple[float, float] | None = None
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
            seconds: How long it took, without what it waited for before it was
                sent; None when it was refused.
            used: How many calls there were at once, this one included.

        Returns:
            Whether `limit` has changed.
        """
        window = self._window
        if window is None:  # the calls that all began at once tell nothing
            window = self._window = Window(now, self.limit, FEWEST)
        window.peak = max(window.peak, used)
        if not window.add(since, now, seconds):
            return False
        surplus = window.surplus(self._usual)
        if surplus:  # wait for the last cut's effect
            early = now < self._cut + self.baseline < math.inf
        else:  # refusals as usual: wait for enough answers
            early = window.mean is None
        if early:
            return False
        limit = self.limit
        if surplus:
            down = window.silent and now - window.since >= self.baseline
            self._exact *= max(STEEPEST if down else REFUSED, 1 - surplus)
            self._clear, self._search, self._cut = 0, False, now
        probes = bool(self._probed)
        if probes:
            self._probe(window)
        else:
            self._update(window, refuses=surplus > 0)
        # less shows whether to double it
        enough = self._enough // 2 if self._search else self._enough
        self._window = Window(now, self.limit, enough)
        self._explain(limit, refused=surplus > 0, probes=probes)
        return self.limit != limit

    def _explain(self, before: int, *, refused: bool, probes: bool) -> None:
        """Say why the limit isn't ``before`` any more, if it isn't."""
        if refused and self.limit < before:
            self.decision = "refused"
        elif self._probed:
            self.decision = "probed"
        elif probes:
            self.decision = "restored"
        else:
            self.decision = "grown" if self.limit > before else "slowed"

    def _update(self, window: Window, *, refuses: bool) -> None:
        mean, lowest = window.mean, self.limit == self._least
        slowed, self._slowed = self._slowed, None
        if refuses and self.baseline < math.inf:  # tells as much as a probe
            self._probe_in = PROBE_EVERY
        if mean is None:
            mean = self.baseline
            if self.limit <= self._calm:  # else refusals cut it on and on
                self._expect(window.lost)
        elif window.idle or lowest:
            self._measure(mean, window)
            self._probe_in = PROBE_EVERY
            self._search = self._search or (lowest and not refuses)
        elif slowed and self._slow(mean):
            if mean > PAYS * slowed[1]:  # the cut was in vain: the service is slower
                self._measure(mean, window)
                self._exact, slowed = slowed[0], None
        elif self._probe_in <= 0:
            self._probed = [mean]
            part = PROBE if self.baseline < math.inf else 0.5
            self._set(min(self.limit - 1, self.limit * part))
            return
        elif self.limit <= self._calm and self._comparable(mean):
            self._measure(mean, window)
        self._probe_in -= 1
        if self._slow(mean):  # the first such window saw the change itself
            self._slowed = (slowed[0], mean) if slowed else (self._exact, math.inf)
        self._move(mean, window, grow=window.full and not refuses)

    def _move(self, mean: float, window: Window, *, grow: bool) -> None:
        if not self._search:
            self._adjust(mean, STEEPEST, grow=grow)
        elif self._slowed or self.limit == self._most:
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
        if len(self._probed) == 1 and self.baseline < math.inf:
            lower = self._slow(mean)
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

    def _slow(self, mean: float) -> bool:
        return mean > SLOW * self.baseline

    def _comparable(self, mean: float) -> bool:
        """Whether the baseline may still hold."""
        return mean <= SLOW * self.baseline < math.inf

    def _measure(self, mean: float, window: Window) -> None:
        """Take ``mean`` as what calls take that nothing stands in front of."""
        self._expect(window.lost)
        if self._comparable(mean):
            mean = (self.baseline + mean) / 2
        self.baseline, self._calm = mean, self.limit
        if window.mean is not None:
            self._enough = window.needed

    def _expect(self, lost: float) -> None:
        """Take ``lost`` as the share of calls that is refused at any limit."""
        if lost <= MOSTLY:
            known = self.baseline < math.inf
            self._usual = (self._usual + lost) / 2 if known else lost

    def _adjust(self, mean: float, steepest: float, *, grow: bool) -> None:
        """Change the limit, at which calls took ``mean`` seconds."""
        fits = TOLERANCE * self.baseline / mean if 0 < mean < math.inf else 1.0
        factor = max(steepest, fits) if self._slow(mean) else math.sqrt(fits)
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
