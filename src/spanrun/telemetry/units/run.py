"""`RunUnit`: the unit of a run, above its batches and jobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from spanrun import semconv
from spanrun.semconv import SpanrunJobOutcome
from spanrun.telemetry.units.recorder import RUN, Recorder
from spanrun.telemetry.units.unit import Unit

_COUNT_KEYS: Final[dict[SpanrunJobOutcome, str]] = {
    "ok": semconv.SPANRUN_RUN_JOBS_OK,
    "failed": semconv.SPANRUN_RUN_JOBS_FAILED,
    "timed_out": semconv.SPANRUN_RUN_JOBS_TIMED_OUT,
    "cancelled": semconv.SPANRUN_RUN_JOBS_CANCELLED,
    "skipped": semconv.SPANRUN_RUN_JOBS_SKIPPED,
}


class RunUnit(Unit):
    """A run's span. A sampler keeps it, and decides on its jobs one by one.

    Args:
        recorder: Where it goes.
        runner: The name of the runner, or of a pipeline.
        run_id: Names the run.
        attributes: More of its span.
    """

    __slots__ = ()

    def __init__(
        self,
        recorder: Recorder,
        runner: str,
        run_id: str,
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        given = {
            semconv.SPANRUN_RUNNER_NAME: runner,
            semconv.SPANRUN_RUN_ID: run_id,
            **(attributes or {}),
        }
        super().__init__(recorder, f"run {runner}", attributes=given, role=RUN)

    def end(
        self, error: BaseException | None, counts: Mapping[SpanrunJobOutcome, int]
    ) -> None:
        """End it, by ``error`` if there is one, with the outcomes of its jobs."""
        for outcome, count in counts.items():
            if count:
                self.set(_COUNT_KEYS[outcome], count)
        self.finish(error, failed=isinstance(error, Exception))
