"""`NativeJob`: a job as a native span: the unit in the shortest way.

It does what `JobUnit` does, for a recorder that has a provider of its own: the unit is
the span itself. Where nothing happened that few jobs have, it encodes itself when it
ends, so no object waits for the exporter and the garbage collector. When something
does, a `JobUnit` takes over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from opentelemetry.context import Context
from opentelemetry.trace import DEFAULT_TRACE_STATE, SpanKind

from spanrun.outcome import CancelledBy, Timings
from spanrun.semconv import SpanrunJobOutcome
from spanrun.telemetry.current import make_current
from spanrun.telemetry.open_units import Submitted
from spanrun.telemetry.span_events import fail
from spanrun.telemetry.spans import template
from spanrun.telemetry.spans.recorded import Inherited
from spanrun.telemetry.spans.span import NativeSpan
from spanrun.telemetry.unit import ATTEMPT_COLUMNS, JobUnit

if TYPE_CHECKING:
    from spanrun.telemetry.native_jobs import NativeJobs

_INTERNAL: Final = SpanKind.INTERNAL
_MOST: Final = template.MOST


class NativeJob(NativeSpan):
    """A job's span and metrics or, where attempts have spans, the first one's span.

    That one tells of the job as well, whose own span is made when it is needed.
    """

    __slots__ = (
        "_ended",
        "_job_above",
        "_job_own",
        "_jobs",
        "_outside",
        "_unit",
        "index",
        "submitted",
    )

    raw: dict[str, Any]
    _unit: JobUnit | None

    def __init__(
        self,
        jobs: NativeJobs,
        job: Submitted,
        outside: Context,
        trace: bytes,
        above: bytes | None,
        inherited: Inherited,
    ) -> None:
        # Not super().__init__(): a code of its own stays specialised on its class,
        # which makes it several times as fast (`make bench`).
        own = (jobs.bits(64) or 1).to_bytes(8)
        self._jobs = jobs
        self._outside = outside
        self._unit = None
        self._ended = 0
        self._job_own = own
        self._job_above = above
        self.index = job.index
        self.submitted = job.submitted
        self.origin = jobs.origin
        self.trace = trace
        self.inherited = inherited
        self.span_name = jobs.span_name
        self.span_kind = _INTERNAL
        if jobs.attempts:
            self.own = (jobs.bits(64) or 1).to_bytes(8)
            self.above = own
            self.start_ns = 0
            self.raw_links = ()
        else:
            self.own = own
            self.above = above
            self.start_ns = jobs.zero + int(job.submitted * 1e9)
            self.raw_links = jobs.links
        self.end_ns = None
        self.raw = {}
        self.row = None
        self.rare = None
        self._made = None

    @property
    def key(self) -> None:
        """None: a job with a key has a `JobUnit` from the start."""
        return

    def begin_attempt(self, number: int) -> None:
        """As `JobUnit.begin_attempt`. The first one's span is current already."""
        if number > 1:
            self._take_over().begin_attempt(number)
            return
        jobs = self._jobs
        self.start_ns = jobs.zero + int(jobs.now() * 1e9)

    def end_attempt(self, number: int, error: BaseException | None) -> None:
        """As `JobUnit.end_attempt`."""
        if number > 1:
            self._take_over().end_attempt(number, error)
            return
        jobs = self._jobs
        self._ended = jobs.zero + int(jobs.now() * 1e9)
        if error is not None:
            if self.end_ns is None:  # else it was abandoned, and has ended with its job
                if isinstance(error, Exception):
                    fail(jobs.recorder, self, error)
                self.end(self._ended)
            self._take_over()  # its span is current between attempts

    def end(self, end_time: int | None = None) -> None:
        """End it, unless it says what it has to say together with the job."""
        jobs = self._jobs
        if jobs.attempts and self.row is None:
            self.row = ATTEMPT_COLUMNS, (jobs.metrics.name, 1)
        super().end(end_time)

    def event(self, name: str, **attributes: Any) -> None:
        """As `JobUnit.event`."""
        self._take_over().event(name, **attributes)

    def retried(self, error: Exception, delay: float) -> None:
        """As `JobUnit.retried`."""
        self._take_over().retried(error, delay)

    def hedged(self, after: float) -> None:
        """As `JobUnit.hedged`."""
        self._take_over().hedged(after)

    def succeed(self, timings: Timings, attempts: int) -> None:
        """As `JobUnit.succeed`."""
        jobs, wire, index = self._jobs, self.origin.wire, self.index
        if (
            wire is None
            or self._unit is not None
            or self.end_ns is not None
            or self.rare is not None
            or self.raw
            or self.span_name is not jobs.span_name
            or index >= _MOST
            or self.inherited[1] is not DEFAULT_TRACE_STATE
        ):
            self.conclude(timings, "ok", attempts, None, None)
            return
        try:
            submitted, seconds = self.submitted, timings.duration
            parts = timings.parts()
            end_ns = jobs.zero + int((submitted + seconds) * 1e9)
            self.end_ns = ended = self._ended or end_ns
            encode = jobs.encode or jobs.learn()
            encoded = encode(
                self.trace,
                self._job_own,
                self._job_above or b"",
                jobs.zero + int(submitted * 1e9),
                end_ns,
                index & 0x7F
                | index << 1 & 0x7F00
                | index << 2 & 0x7F0000
                | index << 3 & 0x7F000000
                | 0x808080,
                parts,
                self.own,
                self.start_ns,
                ended,
            )
            wire((encoded, jobs.spans))
            jobs.count(seconds, parts, self)
        except Exception as broken:  # noqa: BLE001 -- counted: breaks no job
            jobs.recorder.failed("traces", broken)

    def conclude(
        self,
        timings: Timings,
        outcome: SpanrunJobOutcome,
        attempts: int,
        error: BaseException | None,
        cancelled_by: CancelledBy | None,
    ) -> None:
        """As `JobUnit.conclude`."""
        if self._ended and self.end_ns is None:
            self.end(self._ended)
        unit = self._take_over()
        unit.conclude(timings, outcome, attempts, error, cancelled_by)

    def _take_over(self) -> JobUnit:
        """The unit that does the rest. Its span is the current one."""
        if self._unit is None:
            jobs = self._jobs
            make_current(self._outside)
            self._unit = JobUnit(jobs.recorder, jobs.kind, self, self._job())
            self._unit.enter()
        return self._unit

    def _job(self) -> NativeSpan:
        """The job's span."""
        jobs = self._jobs
        if not jobs.attempts:
            return self
        raw: dict[str, Any] = {}
        return NativeSpan(
            *(self.origin, self.trace, self._job_own, self._job_above, self.inherited),
            *(jobs.name, _INTERNAL, jobs.zero + int(self.submitted * 1e9), raw),
            jobs.links,
        )
