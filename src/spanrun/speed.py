"""The part of spanrun that is in C, and what stands in for it where it isn't there.

It is missing where no compiler was at hand, in an interpreter without a lock, and
where ``SPANRUN_PURE_PYTHON`` is set. All works the same then, at a higher cost.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

__all__ = [
    "FAST",
    "Buffer",
    "Calls",
    "Drive",
    "Jobs",
    "Lag",
    "Seconds",
    "Shape",
    "bind",
    "drive",
]

_fast = not os.environ.get("SPANRUN_PURE_PYTHON")

if _fast:
    try:
        from spanrun._native import (
            Buffer,
            Calls,
            Drive,
            Jobs,
            Lag,
            Seconds,
            Shape,
            bind,
            drive,
        )
    except ImportError:
        _fast = False

FAST: Final = _fast
"""Whether the part in C is in use."""

if not TYPE_CHECKING and not FAST:
    bind = drive = None
    Calls = Jobs = object

    class Seconds:
        """Where a job's time went, in seconds."""

        # The zeros stand on the class: most jobs never wait for most things.
        queue = limit = rate_limit = backoff = busy = loop_lag = duration = 0.0

        def parts(self) -> tuple[float, ...]:
            """The seconds of each phase, in the order in which a job meets them."""
            queue, limit, rate_limit = self.queue, self.limit, self.rate_limit
            backoff, busy, loop_lag = self.backoff, self.busy, self.loop_lag
            told = queue + limit + rate_limit + backoff + busy + loop_lag
            service = max(self.duration - told, 0.0)
            return queue, limit, rate_limit, backoff, busy, loop_lag, service

    class Buffer:
        """There are none."""

    class Shape:
        """There are none."""

    class Drive:
        """There are none."""

    class Lag:
        """What a job's driver looks at."""

        stepping = None
