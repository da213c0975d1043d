"""The part of spanrun that is in C, and what stands in for it where it isn't there.

It is missing where no compiler was at hand, in an interpreter without a lock, and
where ``SPANRUN_PURE_PYTHON`` is set. All works the same then, at a higher cost.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

__all__ = [
    "FAST",
    "Attempt",
    "CallStep",
    "Drive",
    "FirstAttempts",
    "FirstStep",
    "Lag",
    "OkFields",
    "Seconds",
    "Slots",
    "drive",
    "filled",
]

_fast = not os.environ.get("SPANRUN_PURE_PYTHON")

if _fast:
    try:
        from spanrun._native import (
            Attempt,
            CallStep,
            Drive,
            FirstAttempts,
            FirstStep,
            Lag,
            OkFields,
            Seconds,
            Slots,
            drive,
            filled,
        )
    except ImportError:
        _fast = False

FAST: Final = _fast
"""Whether the part in C is in use."""

if not TYPE_CHECKING and not FAST:
    drive = None

    class Seconds:
        """Where a job's time went, in seconds."""

        # The zeros stand on the class: most jobs never wait for most things.
        queue = limit = rate_limit = backoff = busy = loop_lag = 0.0
        duration = submitted = 0.0

        def begin(self, now: float) -> None:
            """The job's task runs: it was queued until ``now``."""
            self.queue = now - self.submitted

        def end(self, now: float) -> None:
            """The job is over at ``now``."""
            self.duration = now - self.submitted

        def parts(self) -> tuple[float, ...]:
            """The seconds of each phase, in the order in which a job meets them."""
            queue, limit, rate_limit = self.queue, self.limit, self.rate_limit
            backoff, busy, loop_lag = self.backoff, self.busy, self.loop_lag
            known = queue + limit + rate_limit + backoff + busy + loop_lag
            service = self.duration - known
            service = service if service > 0 else 0.0
            return queue, limit, rate_limit, backoff, busy, loop_lag, service

    class OkFields:
        """What an `Ok` holds."""

        __slots__ = ("attempts", "index", "key", "timings", "trace_id", "value")

    def filled(kind: type, *fields: object) -> object:
        """An object of a class of `OkFields`."""
        return kind(*fields)

    class CallStep:
        """There are none."""

    class Drive:
        """There are none."""

    class Attempt:
        """There are none."""

    class Lag:
        """What a job's driver looks at."""

        stepping = None

    class FirstAttempts:
        """There are none."""

    class FirstStep:
        """Takes one step when it is awaited: a tuple's iterator is the cheapest way."""

        def __await__(self) -> Iterator[None]:
            return iter((None,))

    class Slots:
        """How many slots there are, and how many are taken."""

        def take(self) -> bool:
            """Take a slot, if one is free and nobody waits for it."""
            if self.used < self.limit and not self.places:
                self.used += 1
                return True
            return False

        def release(self) -> None:
            """Give a slot back, or to the first that waits."""
            self.used -= 1
            if self.places:
                self.wake()
