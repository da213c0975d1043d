"""`Leased`: what a worker may do by its driver's leave.

The other end is `spanrun.runner.leases`.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Final

from spanrun.policies.base import Binding
from spanrun.policies.rate import Gate, RateLimit, Tokens, lateness
from spanrun.policies.retry import Retrier
from spanrun.runner.core import Core, Policies

Ask = Callable[..., None]
"""Says something to the driver."""


class LeasedTokens(Tokens):
    """Tokens of the driver's, one for each call that waits for one.

    A token that comes too late is lost: used then, with those that others were given
    meanwhile, it would be one too many. Clocks of two machines differ, so what counts
    is how much later it comes than the fastest one did.
    """

    def __init__(self, binding: Binding, rate: RateLimit, ask: Ask) -> None:
        super().__init__(binding, None)
        self.paused = True  # each call has to wait for its token
        self._ask: Final = ask
        self._latest: Final = lateness(rate)
        self._behind = math.inf
        self._taken = self._told = 0
        self._tells = False

    def serve(self) -> None:
        """Ask for as many tokens as are waited for, soon."""
        if not self._tells:
            self._tells = True
            asyncio.get_running_loop().call_soon(self._tell)

    def grant(self, tokens: int, sent: float) -> None:
        """So many tokens have come, which the driver sent at that time of its own."""
        self._taken += tokens
        behind = self._now() - sent
        late = behind - min(self._behind, behind)
        # A way that has become slower is no way on which all are late for ever.
        self._behind = min(self._behind + late / 2, behind)
        if late <= self._latest:
            while tokens and self.line.first():
                self.line.serve()
                tokens -= 1
        self.serve()

    def _tell(self) -> None:
        self._tells = False
        total = self._taken + len(self.line)
        if total != self._told:
            self._told = total
            self._ask("tokens", total)


@dataclass(frozen=True, slots=True)
class _LeasedRate(RateLimit):
    """Calls begin when the driver lets them."""

    leased: Leased | None = field(default=None, compare=False, repr=False)

    def bind(self, binding: Binding) -> Gate:
        """A gate whose tokens are the driver's."""
        assert self.leased is not None  # noqa: S101 -- see `Leased.policies`
        self.leased.tokens = LeasedTokens(binding, self, self.leased.ask)
        return Gate(binding, None, self.leased.tokens)


class Leased:
    """Has the layers of a worker ask its driver.

    Args:
        ask: Says something to the driver.

    Attributes:
        ask: The same.
        tokens: Of its rate, if there is one.
    """

    def __init__(self, ask: Ask) -> None:
        self.ask: Final = ask
        self.tokens: LeasedTokens | None = None
        self._gate: Gate | None = None
        self._numbers: Final = count()
        self._asked: Final[dict[int, asyncio.Future[bool]]] = {}

    def policies(self, policies: Policies) -> Policies:
        """``policies`` for which the driver is asked."""
        rate, retry = policies.rate, policies.retry
        if rate is not None:
            rate = _LeasedRate(rate.rate, rate.per, rate.burst, leased=self)
        if retry is not None and retry.budget is not None:
            retry = replace(retry, budget=None)
        return replace(policies, rate=rate, retry=retry)

    def attach(self, core: Core, policies: Policies) -> None:
        """Have the layers of ``core``, which were made of `policies`, ask."""
        gate, retrier = core.layers.get("token"), core.layers.get("retry")
        if isinstance(gate, Gate):
            self._gate = gate
            gate.on_pause = lambda seconds: self.ask("pause", seconds)
        bounded = policies.retry is not None and policies.retry.budget is not None
        if bounded and isinstance(retrier, Retrier):
            retrier.ask = self._may_retry

    def grant(self, tokens: int, sent: float) -> None:
        """Tokens have come."""
        if self.tokens is not None:
            self.tokens.grant(tokens, sent)

    def pause(self, seconds: float) -> None:
        """A service has asked another worker for a pause."""
        if self._gate is not None:
            self._gate.tokens.pause(seconds)

    def leave(self, number: int, may: bool) -> None:  # noqa: FBT001 -- a message has no names
        """The driver says whether there may be a retry."""
        asked = self._asked.pop(number, None)
        if asked is not None and not asked.done():
            asked.set_result(may)

    async def _may_retry(self) -> bool:
        number = next(self._numbers)
        asked: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._asked[number] = asked
        self.ask("retry", number)
        try:
            return await asked
        finally:
            self._asked.pop(number, None)
