"""`remote`: the runs of `map`, `stream` and batches, with their jobs in workers.

It is the same run: what is pulled when, in which order outcomes are handed out, what an
error does and what a checkpoint keeps. Only a job's task is somewhere else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextvars import Context
from typing import Any, Final, cast

from opentelemetry import context as otel_context

from spanrun.checks import wrong
from spanrun.errors import ConfigurationError
from spanrun.outcome import CancelledBy
from spanrun.runner.batches import BatchRun, Part
from spanrun.runner.calls import Calls
from spanrun.runner.carrier import carrier_of
from spanrun.runner.core import Core, Policies
from spanrun.runner.engine import Done, Engine, Item, RunSpec
from spanrun.runner.engine_core import EngineCore
from spanrun.runner.feed import FedRun
from spanrun.runner.job import Abandoned, Job
from spanrun.runner.pickled import dumps, error_of, loads
from spanrun.runner.run import Call, Source
from spanrun.semconv import SPANRUN_ENGINE
from spanrun.telemetry.observe import Observer
from spanrun.telemetry.units.chunk import ChunkUnit
from spanrun.telemetry.units.remote import RemoteUnit
from spanrun.text import line_of


class EngineRun(FedRun):
    """Sends its jobs to workers; see `spanrun.runner.dispatch`."""

    def __init__(
        self, core: EngineCore, call: Call, source: Source, **options: Any
    ) -> None:
        super().__init__(core, call, source, **options)
        self._engine: Final = core.engine
        self._dispatcher: Final = core.dispatcher
        self._function: Final = self._pickled(call)
        self._carriers: Final[dict[int, dict[str, str]]] = {}

    def _pickled(self, call: Call) -> bytes:
        """What workers call.

        Raises:
            ConfigurationError: It can't be sent.
        """
        try:
            return self._engine.dumps(self.remote_call)
        except Exception as error:
            hint = (
                f"can't be sent to a worker, {error}: define it at the top of a module"
            )
            raise wrong(self.method, "function", call, hint) from error

    @property
    def remote_call(self) -> Call:
        """The function that workers call with what `payload_of` gives."""
        return self._call

    def payload_of(self, job: Job) -> Any:
        """What the function is called with."""
        return job.item

    def open(self, *, span: bool = True) -> None:
        """Begin, and put together what workers must know."""
        super().open(span=span)
        self.spec = RunSpec(
            self.info.id,
            self._function,
            self._inside.run(_carrier),
            linked=self._linked is not None and self.links_jobs,
            shows_times=self._shown,
            curious=self.curious,
        )
        if self.unit is not None:
            self.unit.set(SPANRUN_ENGINE, self._engine.name)

    def launch(
        self,
        item: Any,
        call: Call,
        key: Any = None,
        priority: float = 0,
        context: Context | None = None,
    ) -> Job:
        """Make the next job, and have it sent."""
        index = self._submitted
        self._submitted = index + 1
        job = Job(self, index, item, call, self.now(), self._lag.mark, key, priority)
        core = self.core
        if core.metrics is not None and core.recorder is not None:
            # It has the part of a unit that is of use here.
            job.unit = cast("Any", RemoteUnit(core.metrics, core.recorder.errors))
        if context is not None:
            self._carriers[index] = context.run(_carrier)
        self.active.add(job)
        self._dispatcher.add(self, job)
        return job

    def item_of(self, job: Job) -> Item:
        """A job as it is sent."""
        place, key = job.index, job.key
        name = None if key is None else line_of(key)
        payload = dumps(self.payload_of(job))
        return Item(place, payload, name, job.priority, self._carriers.get(place))

    def open_chunk(self, index: int, jobs: int, worker: str) -> ChunkUnit | None:
        """Open the unit of a chunk; batches have one already."""
        recorder = self.core.recorder
        if recorder is None or not self.links_jobs:
            return None
        given = (recorder, self.core.name, self.info.id, index, jobs, worker)
        return self._inside.copy().run(ChunkUnit, *given, self._linked)

    def carrier_in(self, unit: ChunkUnit | None) -> dict[str, str]:
        """What a worker is told of the context that the chunk's jobs begin in."""
        return self._inside.run(_carrier) if unit is None else carrier_of(unit.around)

    def returned(self, job: Job, done: Done) -> None:
        """``job`` has come back: it ends as it ended there."""
        timings = job.timings
        timings.queue, timings.limit, timings.rate_limit = done.seconds[:3]
        timings.backoff, timings.busy, timings.loop_lag = done.seconds[3:6]
        timings.duration = done.seconds[6]
        job.attempts = done.attempts
        if job.unit is not None:
            unit = cast("RemoteUnit", job.unit)
            unit.trace_id, unit.span_id = done.trace_id, done.span_id
        self._carriers.pop(job.index, None)
        value: Any = None
        error: BaseException | None = None
        if done.ended == "ok":
            try:
                value = loads(done.payload)
            except Exception as broken:  # noqa: BLE001 -- the job's own
                error = broken
        elif done.ended in ("cancelled", "abandoned"):
            if done.by != "self":
                job.cancelled_by = job.cancelled_by or done.by
            gone = done.ended == "abandoned"
            error = Abandoned() if gone else asyncio.CancelledError()
        else:
            error = error_of(done.payload)
        self.done(job, value, error)

    def stop(self, by: CancelledBy) -> None:
        """Admit no more jobs, and cancel those that run."""
        super().stop(by)
        self._dispatcher.stop(self, by)

    def broken(self, error: Exception) -> None:
        """End: there are no workers any more."""
        self._fail(error)

    def close(self, error: BaseException | None = None) -> None:
        """End: the workers may forget it."""
        super().close(error)
        self._dispatcher.forget(self.spec)


class EngineBatchRun(EngineRun, BatchRun):
    """A batch is a job that is sent with all its items."""

    @property
    def remote_call(self) -> Call:
        """The function, with the check of what it gives."""
        return self.batch_call

    def payload_of(self, job: Job) -> Any:
        """The items."""
        part: Part = job.item
        return part.items


class NoCalls(Calls):
    """Single calls are made here, and not sent."""

    async def call(self, call: Call, priority: float = 0) -> Any:  # noqa: ARG002 -- none
        """Refuse it.

        Raises:
            ConfigurationError: Always.
        """
        raise ConfigurationError(
            f"Runner({self.core.name!r}).call: an engine runs what is mapped: use map "
            "or stream, or a Runner without an engine"
        )


async def opened(
    engine: Engine, name: str, policies: Policies, observers: Sequence[Observer]
) -> tuple[Core, Calls]:
    """Start the workers of a runner that is being opened."""
    core = await EngineCore.opened(engine, name, policies, observers)
    return core, NoCalls(core)


_kinds: Final[dict[type[FedRun], Any]] = {}


def remote(kind: type[FedRun]) -> Any:
    """The same kind of run, with its jobs in workers."""
    found = _kinds.get(kind)
    if found is None:
        base = EngineBatchRun if issubclass(kind, BatchRun) else EngineRun
        found = _kinds[kind] = type(f"Engine{kind.__name__}", (base, kind), {})
    return found


def _carrier() -> dict[str, str]:
    return carrier_of(otel_context.get_current())
