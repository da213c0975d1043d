"""`Backoff`: when to ask a receiver again, for one signal."""

from __future__ import annotations

import random
from typing import Final

from spanrun.telemetry.export.outcome import Outcome

_BASE: Final = 0.5
_CAP: Final = 10.0
_PROBE: Final = 60.0


class Backoff:
    """The time before which nothing is sent.

    It doubles from 0.5 s to 10 s with half of it random, so that a thousand
    processes don't come back as one. What a server asks for with
    ``Retry-After`` is waited for in full. A misconfigured destination is asked
    once a minute.

    Args:
        chance: Where the jitter comes from.
        base: Seconds after the first failure.
        cap: Seconds at most.
    """

    def __init__(
        self,
        chance: random.Random,
        *,
        base: float = _BASE,
        cap: float = _CAP,
    ) -> None:
        self.failures = 0
        self.until = 0.0
        self.ordered = False
        self._chance: Final = chance
        self._base: Final = base
        self._cap: Final = cap

    def fail(self, outcome: Outcome, now: float) -> None:
        """``outcome`` was no delivery: wait for what it asks for."""
        wait = min(self._cap, self._base * 2 ** min(self.failures, 30))
        wait *= 0.5 + self._chance.random() / 2
        if outcome.verdict == "misconfigured":
            wait = max(wait, _PROBE)
        if outcome.after is not None:
            wait = max(wait, outcome.after)
        self.failures += 1
        self.ordered = outcome.after is not None
        self.until = now + wait

    def succeed(self) -> None:
        """The receiver answers again."""
        self.failures = 0
        self.until = 0.0
        self.ordered = False

    def hurry(self) -> None:
        """Somebody waits: ask at once, but not against the server's own word."""
        if not self.ordered:
            self.until = 0.0


def default_backoff() -> Backoff:
    """A back-off with the usual times."""
    return Backoff(random.Random())  # noqa: S311 -- jitter is no secret
