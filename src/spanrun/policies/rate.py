"""`Gate`: the pause that a service asked for, obeyed by every job of a runner."""

from __future__ import annotations

import asyncio
from typing import Any

from spanrun.policies.base import Binding, Step, Work


class Gate:
    """Holds calls back until the pause that a service asked for is over.

    One job's ``Retry-After`` is news for all: without the gate the others go
    on calling a service that has just said when it wants to be called again.
    """

    def __init__(self, binding: Binding) -> None:
        self._now = binding.clock.now
        self._closed_until = 0.0

    def pause(self, seconds: float) -> None:
        """Hold every call back for ``seconds`` from now, or longer if it is so."""
        self._closed_until = max(self._closed_until, self._now() + seconds)

    def wrap(self, inner: Step) -> Step:
        """Let a job into ``inner`` when the gate is open."""

        async def gated(job: Work) -> Any:
            if self._closed_until:
                await self._wait(job)
            return await inner(job)

        return gated

    async def _wait(self, job: Work) -> None:
        since = self._now()
        try:
            while (left := self._closed_until - self._now()) > 0:
                await asyncio.sleep(left)
        finally:
            job.timings.rate_limit += self._now() - since
