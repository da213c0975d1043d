"""`Lifecycle`: a runner is opened once, has runs while it is open, and is closed."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any, Final, Literal, Self

from spanrun.clock import Clock
from spanrun.errors import ConfigurationError, ShuttingDown
from spanrun.runner.calls import Calls
from spanrun.runner.core import Core, Policies, in_job
from spanrun.runner.engine import Engine
from spanrun.runner.feed import FedRun
from spanrun.runner.settle import settle
from spanrun.runner.stream import Stream, StreamRun
from spanrun.telemetry.observe import Observer


class Lifecycle:
    """What `Runner` is beside its methods that run jobs.

    Args:
        name: Of the runner.
        policies: What its jobs run under.
        observers: Told of every run and outcome.
        clock: What the jobs' times are read from.
        random: What their waits are drawn from.
        engine: Where they run; None: here.
    """

    def __init__(
        self,
        name: str,
        policies: Policies,
        observers: Sequence[Observer],
        clock: Clock | None,
        random: Random | None,
        engine: Engine | None,
    ) -> None:
        self._name: Final = name
        self._policies: Final = policies
        self._observers: Final = observers
        self._clock: Final = clock
        self._random: Final = random
        self._engine: Final = engine
        self._state: Literal["not open yet", "open", "closed"] = "not open yet"
        self._core: Core | None = None
        self._calls: Calls | None = None
        self._runs: set[FedRun] = set()

    def __repr__(self) -> str:
        return f"<Runner {self._name!r} {self._state}, {self._policies.limit}>"

    async def __aenter__(self) -> Self:
        if self._core is not None:
            raise ConfigurationError(f"{self!r} is open already: make another Runner")
        core, self._calls = await self._opened()
        self._core, self._state = core, "open"
        return self

    async def __aexit__(
        self, _: object, error: BaseException | None, __: object
    ) -> None:
        core, calls = self._core, self._calls
        assert core is not None and calls is not None  # noqa: S101, PT018 -- entered
        self._core, self._state = None, "closed"
        try:
            await settle([calls, *self._runs], cancel=error is not None)
        finally:
            self._calls = None
            calls.end()
            try:
                await core.end()
            finally:
                core.close()

    async def _opened(self) -> tuple[Core, Calls]:
        if self._engine is not None:
            from spanrun.runner import engine_run  # noqa: PLC0415 -- few use engines

            given = self._name, self._policies, self._observers
            return await engine_run.opened(self._engine, *given)
        core = Core(
            self._name, self._policies, self._observers, self._clock, self._random
        )
        core.open()
        return core, Calls(core)

    def _open(self) -> Core:
        if self._core is None:
            kind = ShuttingDown if self._state == "closed" else ConfigurationError
            raise kind(f"{self!r}: open it first, `async with Runner(…) as runner`")
        self._core.check(repr(self), nested=in_job.get())
        return self._core

    def _stream(self, run: StreamRun) -> Stream[Any]:
        self._runs.add(run)
        return Stream(run, self._runs.discard)
