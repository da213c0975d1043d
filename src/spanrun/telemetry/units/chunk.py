"""`ChunkUnit`: the unit of jobs that an engine sent to a worker together."""

from __future__ import annotations

from opentelemetry.context import Context

from spanrun import semconv
from spanrun.telemetry.units.recorder import JOB, Recorder
from spanrun.telemetry.units.unit import Linked, Unit


class ChunkUnit(Unit):
    """A chunk's span, which is the driver's.

    A worker that was killed could not end a span of its own, and those of the jobs that
    it did end would be orphans.

    Args:
        recorder: Where it goes.
        runner: The runner's name.
        run_id: Of their run.
        index: The chunk's place among all.
        jobs: How many are in it.
        worker: The instance id of the worker that has it.
        linked: Where it begins, in linked mode; else below the current span.
    """

    __slots__ = ()

    def __init__(
        self,
        recorder: Recorder,
        runner: str,
        run_id: str,
        index: int,
        jobs: int,
        worker: str,
        linked: Linked | None,
    ) -> None:
        attributes = {
            semconv.SPANRUN_RUNNER_NAME: runner,
            semconv.SPANRUN_RUN_ID: run_id,
            semconv.SPANRUN_CHUNK_INDEX: index,
            semconv.SPANRUN_CHUNK_JOBS: jobs,
            semconv.SPANRUN_WORKER_ID: worker,
        }
        name = f"chunk {runner}"
        super().__init__(recorder, name, attributes=attributes, linked=linked, role=JOB)

    @property
    def around(self) -> Context:
        """The context in which its jobs begin.

        That is its own, unless a sampler may drop it: then what is around it, which is
        kept.
        """
        sampled = self.told.get_span_context().trace_flags.sampled
        return self.context if sampled else self._outside
