"""`EngineCore`: what the jobs of a runner share when they run in workers."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Self

from spanrun.checks import offers, shown
from spanrun.errors import ConfigurationError
from spanrun.policies.base import Layer, LayerName
from spanrun.policies.limit import Limit
from spanrun.runner.core import Core, Policies
from spanrun.runner.dispatch import Dispatcher
from spanrun.runner.engine import Engine, Say, WorkerSpec
from spanrun.runner.leases import Leases, hears
from spanrun.runner.pickled import where_we_are
from spanrun.runner.policy_metrics import readings
from spanrun.runner.shares import shares
from spanrun.settings import Settings
from spanrun.telemetry import setup
from spanrun.telemetry.metrics.runners import Gauges
from spanrun.telemetry.observe import EventKind, Observer

_OURS: Final = ("OTEL_", "SPANRUN_")
_RESOURCE: Final = "OTEL_RESOURCE_ATTRIBUTES"
_LEASED: Final[tuple[LayerName, ...]] = ("token", "retry")
"""Layers that are the driver's, and not each worker's."""
_EXAMPLE: Final = "an engine, such as spanrun.engines.ProcessEngine(workers=2)"


class EngineCore(Core):
    """Has workers in place of slots.

    The limit of its slots says how many jobs may be pulled, which is as many as the
    workers want to have; who runs is decided by the workers, each with its share of the
    policies.

    Attributes:
        engine: What makes the workers.
        dispatcher: What gives jobs to them.
    """

    engine: Engine
    dispatcher: Dispatcher

    @classmethod
    async def opened(
        cls,
        engine: Engine,
        name: str,
        policies: Policies,
        observers: Sequence[Observer],
    ) -> Self:
        """Start the workers, and give the core of an open runner."""
        core = cls(name, policies, observers, None)
        core.engine = engine
        parts = shares(policies, engine.workers)
        core.slots.on_resize = None  # that is no change of the limit
        pool = await engine.open([core._spec(part) for part in parts])
        leases = Leases(core.layers, pool.say, engine.workers, core.now)
        pool.hear = core._hearing(leases)
        core.dispatcher = Dispatcher(
            pool,
            [_slots(part) for part in parts],
            engine.chunk,
            leases=leases,
            lends=isinstance(policies.limit, Limit),
            now=core.now,
            cancels=core.cancels,
            runner=core.name,
            resized=core.slots.resize,
            retried=core._count_retries,
        )
        await core.dispatcher.open()
        core.open()
        return core

    def _spec(self, policies: Policies) -> WorkerSpec:
        telemetry = setup.telemetry()
        used = telemetry is not None and self.recorder is telemetry.recorder
        return WorkerSpec(
            self.name,
            policies,
            _whole(telemetry.settings) if telemetry is not None and used else None,
            {key: value for key, value in os.environ.items() if key.startswith(_OURS)},
            where_we_are(),
            self.engine.heartbeat,
            counted=self.metrics is not None,
        )

    def _hearing(self, leases: Leases) -> Say:
        known = {**hears(leases), "event": self._hear_event}

        def hear(place: int, kind: str, *what: Any) -> None:
            known[kind](place, *what)

        return hear

    def _hear_event(
        self, place: int, run_id: str, kind: EventKind, told: Mapping[str, Any]
    ) -> None:
        """Something has happened in a run's part that is in a worker."""
        worker = self.dispatcher.instance_of(place)
        for run in tuple(self.runs):
            if run.info.id == run_id:
                run.happened(kind, worker=worker, **told)

    def _count_retries(self, error_type: str, count: int) -> None:
        if self.metrics is not None:
            for _ in range(count):
                self.metrics.retry(error_type)

    def gauges(self) -> Gauges:
        """What is here; the rest is told by the workers, each of its own."""
        here: dict[LayerName, Layer] = {
            name: self.layers[name] for name in _LEASED if name in self.layers
        }
        told = readings(here)
        return Gauges(0, 0, self.dispatcher.waiting, 0, 0, policies=told)

    async def end(self) -> None:
        """End the workers; all runs are over."""
        await self.dispatcher.close()


def check(engine: Any, policies: Policies, arguments: Mapping[str, object]) -> Engine:
    """The ``engine`` of a runner, with what it can do.

    Raises:
        ConfigurationError: It can't do what is asked of it, or isn't one.
    """
    offers("Runner", "engine", engine, "open dumps workers chunk heartbeat", _EXAMPLE)
    for name, value in arguments.items():
        if value is not None:
            raise ConfigurationError(
                f"Runner({name}={shown(value)}): each worker of an engine has its own: "
                f"leave out {name}, or the engine"
            )
    shares(policies, engine.workers)
    for name, policy in policies.given().items():
        try:
            engine.dumps(policy)
        except Exception as error:
            raise ConfigurationError(
                f"Runner({name}={shown(policy)}): can't be sent to a worker, {error}: "
                "define the functions in it at the top of a module"
            ) from error
    found: Engine = engine
    return found


def _slots(policies: Policies) -> int:
    limit: Any = policies.limit
    found: int = getattr(limit, "concurrency", 0) or limit.start
    return found


def _whole(settings: Settings) -> Settings:
    """``settings`` that mean the same in another folder, and print nothing."""
    store = settings.store
    return replace(
        settings,
        store=None if store is None else Path(store).absolute(),
        spool=Path(settings.spool).absolute(),
        summary="false",
    )
