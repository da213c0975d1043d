"""`NativeJobs`: opens the units of a run's jobs as native spans, where that can be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from opentelemetry.context import Context
from opentelemetry.trace import Link

from spanrun.speed import Jobs
from spanrun.telemetry.current import ATTEMPT, CURRENT_SPAN, current, make_current
from spanrun.telemetry.metrics.c_cells import Group, Histogram
from spanrun.telemetry.native_job import NativeJob
from spanrun.telemetry.open_units import OpenJob, Submitted
from spanrun.telemetry.spans import template
from spanrun.telemetry.spans.recorded import Recorded
from spanrun.telemetry.unit import ATTEMPT_COLUMNS, JOB_COLUMNS, JobKind, job_units

if TYPE_CHECKING:
    from spanrun.telemetry.native import NativeRecorder


class NativeJobs(Jobs):
    """Opens the units of a run's jobs."""

    def __init__(self, recorder: NativeRecorder, kind: JobKind) -> None:
        metrics, linked = kind.metrics, kind.linked
        self.recorder: Final = recorder
        self.kind: Final = kind
        self.metrics: Final = metrics
        self.attempts: Final = kind.attempts
        self.spans: Final = 2 if kind.attempts else 1
        self.links: Final[Sequence[Link]] = () if linked is None else linked.links
        self.name: Final = f"job {metrics.name}"
        # Of the span that a job's unit is; compared by identity.
        first = f"attempt {metrics.name}"
        self.span_name: Final = first if kind.attempts else self.name
        self.now: Final = recorder.now
        self.zero: Final = recorder.zero
        self.origin: Final = recorder.tracer.origin
        self.bits: Final = recorder.tracer.bits
        count, duration, phases = metrics.of_success()
        aggregator = recorder.aggregator
        self.count: Final = aggregator.job_cells(count, duration, phases).add
        self.encode: template.Encode | None = None
        self._tracer: Final = recorder.tracer
        self._open_other: Final = job_units(recorder, kind)
        group = aggregator.group
        self.is_armed: Final = (
            recorder.is_bound and kind.timed and isinstance(duration, Histogram)
        )
        if self.is_armed and isinstance(group, Group):
            self.arm(
                self.origin,
                self._tracer,
                linked and linked.context,
                self.links,
                self.span_name,
                self.now,
                self.bits,
                self.zero,
                self.attempts,
                (count, duration, tuple(phases)),
                group.gate,
            )

    def open(self, job: Submitted) -> OpenJob:
        """The unit of a job. Its span is the current one, or the first attempt's."""
        linked, tracer = self.kind.linked, self._tracer
        if self.origin.wire is None or not self.kind.timed or job.key is not None:
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
        unit = NativeJob(self, job, outside, trace, parent, inherited)
        number = {ATTEMPT: 1} if self.attempts else {}
        make_current(Context({**outside, CURRENT_SPAN: unit, **number}))
        return unit

    def learn(self) -> template.Encode:
        """How to encode jobs that succeed at the first attempt, and that attempt."""
        top = None if self.kind.linked else template.ABOVE
        job = template.example(self.origin, template.OWN, top, self.name, self.links)
        numbers = template.INDEX, *template.SECONDS
        job.row = JOB_COLUMNS, (self.metrics.name, "ok", 1, *numbers)
        attempt = None
        if self.attempts:
            ids = template.ATTEMPT, template.OWN
            attempt = template.example(self.origin, *ids, self.span_name)
            attempt.row = ATTEMPT_COLUMNS, (self.metrics.name, 1)
        found = template.job_template(job, attempt)
        if self.is_armed:
            self.teach(found.text, found.at)
        encode = self.encode = template.job_encoder(found, attempt=self.attempts)
        return encode
