"""`Core`: a runner's policies and telemetry, bound and put together once."""

from __future__ import annotations

import asyncio
import random
import weakref
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, Final

from spanrun.clock import Clock, SystemClock
from spanrun.errors import ConfigurationError, ShuttingDown
from spanrun.loop.lag import THRESHOLD, lag_of
from spanrun.loop.watchdog import unwatch, watch
from spanrun.policies.adaptive import AdaptiveLimit, AdaptiveSlots
from spanrun.policies.base import Binding, Layer, LayerName, Step, compose
from spanrun.policies.breaker import Breaker
from spanrun.policies.described import described
from spanrun.policies.hedge import Hedge, Hedger
from spanrun.policies.limit import Limit, Slots
from spanrun.policies.outage import Outage
from spanrun.policies.rate import Gate, RateLimit
from spanrun.policies.retry import Retry
from spanrun.policies.timeout import Bound, Timeout
from spanrun.runner.announce import announce
from spanrun.runner.cancelled import Cancellations
from spanrun.runner.job import call_step
from spanrun.runner.live import live
from spanrun.runner.nested import Nesting
from spanrun.runner.opened import OpenRun, register
from spanrun.runner.policy_metrics import counted, queue_age, readings
from spanrun.semconv import (
    METRIC_SPANRUN_JOB_REFUSALS,
    METRIC_SPANRUN_LIMIT_DECISIONS,
    SPANRUN_RUNNER_NAME,
    Metric,
)
from spanrun.telemetry import setup
from spanrun.telemetry.metrics.instruments import RunnerMetrics
from spanrun.telemetry.metrics.runners import Gauges
from spanrun.telemetry.observe import EventKind, Observer, Observers
from spanrun.telemetry.redact import redact
from spanrun.telemetry.units.recorder import Recorder

in_job: Final[ContextVar[bool]] = ContextVar("spanrun-in-job", default=False)
"""Set in every job: what it calls and runs is a part of it."""


@dataclass(frozen=True, slots=True)
class Policies:
    """What a runner was given, validated."""

    limit: Limit | AdaptiveLimit
    rate: RateLimit | None = None
    retry: Retry | None = None
    timeout: Timeout | None = None
    hedge: Hedge | None = None
    breaker: Breaker | None = None
    abandon_after: float | None = None

    def given(self) -> dict[str, object]:
        """Each by its name."""
        return {each.name: getattr(self, each.name) for each in fields(self)}


cores: Final[weakref.WeakSet[Core]] = weakref.WeakSet()
"""All that are alive. Tests look here for slots and jobs that are left."""


class Core:
    """What every job of one open runner shares.

    Attributes:
        loop: The event loop that the runner was opened on.
        name: The runner's name, as telemetry shows it.
        now: Its clock's reading, in seconds.
        slots: The concurrency limit.
        lag: What blocks its event loop.
        chain: The whole way of a job, from the outermost layer to the call.
        attempts: How many attempts a job has; None without a `Retry`.
        recorder: Where spans and metrics go; None without telemetry.
        metrics: The runner's metrics; None without telemetry.
        observers: Who else hears of runs and outcomes.
        policies: What its jobs run under, as JSON.
        cancels: By what jobs are cancelled.
        layers: Its policies, bound.
        runs: The open runs.
        draining: The program is to end: no more jobs are admitted.
        backing_off: How many jobs wait for another attempt.
    """

    def __init__(
        self,
        name: str,
        policies: Policies,
        observers: Sequence[Observer],
        clock: Clock | None,
        chance: random.Random | None = None,
    ) -> None:
        cores.add(self)
        self.loop: Final = asyncio.get_running_loop()
        self.name: Final = redact(name)
        self.recorder: Final[Recorder | None] = setup.recorder()
        if clock is None:
            clock = self.recorder.clock if self.recorder else SystemClock()
        self.clock: Final = clock
        self.now: Final = self.clock.now
        self.observers: Final[Observers] = setup.observers(observers)
        self.backing_off = 0
        self._with_progress: Observers | None = None
        self.runs: Final[set[OpenRun]] = set()
        self.draining = False
        register(self)
        self.lag: Final = lag_of(self.loop)
        self.lag.threshold = _threshold()
        chance = chance or random.Random()  # noqa: S311 -- jitter
        self.cancels: Final = Cancellations(
            self.name, self.loop, policies.abandon_after
        )
        binding = Binding(name, self.clock, chance, self.lag.within, self.cancels)
        self.slots: Final[Slots] = policies.limit.bind(binding)
        self.slots.on_growth = self._refill
        self.slots.on_wait = Nesting(
            self.name, self.runs, certain=_is_rigid(policies)
        ).waits
        self.attempts: Final = policies.retry.attempts if policies.retry else None
        layers = _layers(policies, binding, self.slots)
        announce(layers, self.name, self.now, self._tell, self._note, self.count)
        self.slots.on_resize = self._resized
        if isinstance(self.slots, AdaptiveSlots):
            self.slots.on_decision = partial(self.count, METRIC_SPANRUN_LIMIT_DECISIONS)
        self.layers: Final = layers
        self._counted: Final = tuple(counted(policies))
        self.chain: Final[Step] = compose(layers, call_step(self.lag, self.now))
        self.metrics: Final[RunnerMetrics | None] = (
            self.recorder.runner(self.name, self.gauges) if self.recorder else None
        )
        self.cancels.metrics = self.metrics
        self.cancels.observers = self.observers
        self.job_name: Final = f"job {self.name}"
        self.attributes: Final[Mapping[str, Any]] = {SPANRUN_RUNNER_NAME: self.name}
        self.policies: Final = described(policies.given()) if self.recorder else ""

    def _tell(self, event: str, **attributes: Any) -> None:
        for run in tuple(self.runs):
            if run.unit is not None:
                run.unit.event(event, **attributes)

    def _note(self, kind: EventKind, **value: Any) -> None:
        for run in tuple(self.runs):
            run.happened(kind, **value)

    def count(self, metric: Metric, value: str) -> None:
        """Count a decision of a policy."""
        if self.metrics is not None:
            self.metrics.policies.count(metric, value)

    def _resized(self, limit: int) -> None:
        self._note("limit", limit=limit)

    def gauges(self) -> Gauges:
        """What the runner is doing at this moment; from any thread."""
        running = self.slots.used
        jobs = sum(map(len, tuple(self.runs))) + self.cancels.abandoned
        return Gauges(
            limit=self.slots.limit,
            running=running,
            queued=max(0, jobs - running - self.backing_off),
            backing_off=self.backing_off,
            stuck=self.cancels.stuck,
            queue_age=queue_age(self.layers, self.slots, self.now()),
            policies=readings(self.layers),
        )

    def watching(self, *, progress: bool) -> Observers:
        """Who hears of a run: the observers and, if it asks for it, one `Progress`."""
        if not progress:
            return self.observers
        if self._with_progress is None:
            from spanrun.runner.progress import Progress  # noqa: PLC0415 -- tqdm: 20 ms

            shown = () if self.observers.has(Progress) else [Progress()]
            self._with_progress = self.observers + shown
        return self._with_progress

    def open(self) -> None:
        """The runner is open: report its metrics, and what blocks its loop."""
        if self.metrics is not None:
            self.metrics.open(self._counted)
            self.lag.recorder = self.recorder
            self.lag.observers = self.observers
            watch(self.loop, self.lag, self, live.look)

    def check(self, runner: str, *, nested: bool) -> None:
        """Refuse what can't run here; ``nested`` is a job's, and has its grace.

        Raises:
            ConfigurationError: It is on another event loop.
            ShuttingDown: The program is to end.
        """
        if asyncio.get_running_loop() is not self.loop:
            raise ConfigurationError(
                f"{runner} is open on another event loop: make a Runner of its own "
                "where this code runs"
            )
        if self.draining and not nested:
            self.count(METRIC_SPANRUN_JOB_REFUSALS, "shutdown")
            raise ShuttingDown(
                f"{runner}: the program is to end, and no more jobs are admitted"
            )

    def _refill(self) -> None:
        for run in tuple(self.runs):
            run.refill()

    async def end(self) -> None:
        """All runs are over: end what runs elsewhere."""

    def close(self) -> None:
        """The runner is closed: stop its timers, and the metrics of its state."""
        for layer in self.layers.values():
            if isinstance(layer, Gate | Hedger | Bound | Outage):
                layer.close()
        self.cancels.close()
        if self.metrics is not None:
            unwatch(self.lag, self)
            self.metrics.close()


def _is_rigid(policies: Policies) -> bool:
    """Whether nothing but a job's end frees a slot, or ends a job without one."""
    given = (policies.timeout, policies.hedge, policies.breaker)
    return isinstance(policies.limit, Limit) and not any(given)


def _threshold() -> float:
    configured = setup.telemetry()
    return configured.settings.loop_threshold if configured else THRESHOLD


def _layers(
    policies: Policies, binding: Binding, slots: Slots
) -> dict[LayerName, Layer]:
    layers: dict[LayerName, Layer] = {"slot": slots}
    if policies.rate is not None or policies.retry is not None:
        gate = policies.rate.bind(binding) if policies.rate else Gate(binding)
        layers["token"] = gate
        if policies.retry is not None:
            outage = policies.retry.outage_layer(binding, slots)
            if outage is not None:
                layers["outage"], layers["standby"] = outage, outage.standby
            between = outage or policies.breaker or policies.hedge
            direct = not between and type(slots) is Slots
            if direct:
                del layers["slot"]
            held = slots if direct else None
            layers["retry"] = policies.retry.bind(binding, gate, held, outage)
    if policies.hedge is not None:
        hedger = policies.hedge.bind(binding)
        layers["hedge"], layers["start"] = hedger, hedger.start
    if policies.breaker is not None:
        circuit = policies.breaker.bind(binding)
        layers["breaker"], layers["fuse"] = circuit, circuit.fuse
    if policies.timeout is not None:
        if outer := policies.timeout.deadline_layer(binding):
            layers["deadline"] = outer
        if inner := policies.timeout.attempt_layer(binding):
            layers["timeout"] = inner
    return layers
