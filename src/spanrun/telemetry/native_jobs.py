"""`NativeJobs`: opens the units of a run's jobs as native spans, where that can be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, cast

from opentelemetry.context import Context
from opentelemetry.trace import Link

from spanrun.telemetry.current import CURRENT_SPAN, current, make_current
from spanrun.telemetry.job_cells import JobCells
from spanrun.telemetry.metrics import RunnerMetrics
from spanrun.telemetry.native_job import NativeJob, NativeTry
from spanrun.telemetry.open_units import OpenJob, Submitted
from spanrun.telemetry.spans import template
from spanrun.telemetry.spans.recorded import Recorded
from spanrun.telemetry.unit import ATTEMPT_COLUMNS, JOB_COLUMNS, Linked, job_units

if TYPE_CHECKING:
    from spanrun.telemetry.native import NativeRecorder


class NativeJobs:
    """Opens the units of a run's jobs.

    Args:
        recorder: Theirs.
        metrics: Of their runner.
        linked: Where they begin, in linked mode.
        attempts: Whether each attempt has a span.
        timed: Whether the jobs are timed by the recorder's clock.
    """

    def __init__(
        self,
        recorder: NativeRecorder,
        metrics: RunnerMetrics,
        linked: Linked | None,
        *,
        attempts: bool,
        timed: bool,
    ) -> None:
        self.recorder: Final = recorder
        self.metrics: Final = metrics
        self.linked: Final = linked
        self.links: Final[Sequence[Link]] = () if linked is None else linked.links
        self.name: Final = f"job {metrics.name}"
        self.attempt_name: Final = f"attempt {metrics.name}"
        self.now: Final = recorder.now
        self.zero: Final = recorder.zero
        self.origin: Final = recorder.tracer.origin
        self.bits: Final = recorder.tracer.bits
        number, seconds, phases = cast("Any", metrics.of_success())
        cells = JobCells(recorder.aggregator.gate, number, seconds, phases)
        self.count: Final = cells.add
        self.encode: template.Encode | None = None
        self._tracer: Final = recorder.tracer
        self._attempts: Final = attempts
        self._timed: Final = timed
        self._open_other: Final = job_units(recorder, metrics, linked, timed=timed)

    def open(self, job: Submitted) -> OpenJob:
        """The unit of a job. Its span is the current one, until an attempt has one."""
        linked, tracer = self.linked, self._tracer
        if self.origin.wire is None or not self._timed or job.key is not None:
            return self._open_other(job)
        if linked is None:
            outside = current()
            above = outside.get(CURRENT_SPAN)
            if not (tracer.follow and isinstance(above, Recorded)):
                return self._open_other(job)
            trace, parent, inherited = above.trace, above.own, above.inherited
        else:
            if tracer.root is None:
                return self._open_other(job)
            trace, parent = (self.bits(128) or 1).to_bytes(16), None
            outside, inherited = linked.context, tracer.root
        own = (self.bits(64) or 1).to_bytes(8)
        if self._attempts:
            return NativeTry(self, job, outside, trace, own, parent, inherited)
        unit = NativeJob(self, job, outside, trace, own, parent, inherited)
        make_current(Context({**outside, CURRENT_SPAN: unit}))
        return unit

    def learn(self) -> template.Encode:
        """How to encode jobs that succeed at the first attempt, and that attempt."""
        top = None if self.linked else template.ABOVE
        job = template.example(self.origin, template.OWN, top, self.name, self.links)
        numbers = template.INDEX, *template.SECONDS
        job.row = JOB_COLUMNS, (self.metrics.name, "ok", 1, *numbers)
        attempt = None
        if self._attempts:
            ids = template.ATTEMPT, template.OWN
            attempt = template.example(self.origin, *ids, self.attempt_name)
            attempt.row = ATTEMPT_COLUMNS, (self.metrics.name, 1)
        encode = self.encode = template.job_encoder(job, attempt)
        return encode
