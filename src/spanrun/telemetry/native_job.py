"""A job and its first attempt as native spans: the unit in the shortest way.

They do what `JobUnit` does, for a recorder that has a provider of its own: the unit
is the span itself. Where nothing happened that few jobs have, it encodes itself when
it ends, so no object waits for the exporter and the garbage collector. When something
does, a `JobUnit` takes over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from opentelemetry.context import Context
from opentelemetry.trace import DEFAULT_TRACE_STATE, SpanKind

from spanrun.outcome import CancelledBy, Timings
from spanrun.semconv import SpanrunJobOutcome
from spanrun.telemetry.current import ATTEMPT, CURRENT_SPAN, make_current
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


class _Native(NativeSpan):
    """What the two have in common: who takes over when something happens."""

    __slots__ = ("_jobs", "_outside", "_unit", "index", "submitted")

    index: int
    raw: dict[str, Any]
    submitted: float
    _jobs: NativeJobs
    _outside: Context
    _unit: JobUnit | None

    @property
    def key(self) -> None:
        """None: a job with a key has a `JobUnit` from the start."""
        return

    def begin_attempt(self, number: int) -> None:
        """As `JobUnit.begin_attempt`."""
        self.unit().begin_attempt(number)

    def end_attempt(self, number: int, error: BaseException | None) -> None:
        """As `JobUnit.end_attempt`."""
        self.unit().end_attempt(number, error)

    def update_name(self, name: str) -> None:
        """Call it ``name`` from now on."""
        self._ensure_rare()
        super().update_name(name)

    def event(self, name: str, **attributes: Any) -> None:
        """As `JobUnit.event`."""
        self.unit().event(name, **attributes)

    def retried(self, error: Exception, delay: float) -> None:
        """As `JobUnit.retried`."""
        self.unit().retried(error, delay)

    def hedged(self, after: float) -> None:
        """As `JobUnit.hedged`."""
        self.unit().hedged(after)

    def conclude(
        self,
        timings: Timings,
        outcome: SpanrunJobOutcome,
        attempts: int,
        error: BaseException | None,
        cancelled_by: CancelledBy | None,
    ) -> None:
        """As `JobUnit.conclude`."""
        self.unit().conclude(timings, outcome, attempts, error, cancelled_by)

    def unit(self) -> JobUnit:
        """What takes over. Its span is the current one."""
        if self._unit is None:
            jobs = self._jobs
            make_current(self._outside)
            self._unit = JobUnit(
                jobs.recorder, jobs.metrics, self, jobs.linked, span=self.job()
            )
            self._unit.enter()
        return self._unit

    def job(self) -> NativeSpan:
        """The job's span."""
        raise NotImplementedError


class NativeJob(_Native):
    """A job's span and metrics."""

    __slots__ = ()

    def __init__(
        self,
        jobs: NativeJobs,
        job: Submitted,
        outside: Context,
        trace: bytes,
        own: bytes,
        above: bytes | None,
        inherited: Inherited,
    ) -> None:
        # All in here, and in each class anew: that is how it is cheap (`make bench`).
        self._jobs = jobs
        self._outside = outside
        self._unit = None
        self.index = job.index
        self.submitted = submitted = job.submitted
        self.origin = jobs.origin
        self.trace = trace
        self.own = own
        self.above = above
        self.inherited = inherited
        self.span_name = jobs.name
        self.span_kind = _INTERNAL
        self.start_ns = jobs.zero + int(submitted * 1e9)
        self.end_ns = None
        self.raw = {}
        self.row = None
        self.raw_links = jobs.links
        self.rare = None
        self._made = None

    def job(self) -> NativeSpan:
        """The job's span."""
        return self

    def succeed(self, timings: Timings, attempts: int) -> None:
        """The job has its value."""
        wire, index = self.origin.wire, self.index
        if (
            wire is None
            or self._unit is not None
            or self.end_ns is not None
            or self.rare is not None
            or self.raw
            or index >= _MOST
            or self.inherited[1] is not DEFAULT_TRACE_STATE
        ):
            self.unit().succeed(timings, attempts)
            return
        jobs = self._jobs
        try:
            duration = timings.duration
            queue, limit, rate_limit = timings.queue, timings.limit, timings.rate_limit
            backoff, busy, lag = timings.backoff, timings.busy, timings.loop_lag
            service = duration - (queue + limit + rate_limit + backoff + busy + lag)
            service = max(service, 0.0)
            self.end_ns = end_ns = jobs.zero + int((self.submitted + duration) * 1e9)
            encode = jobs.encode or jobs.learn()
            encoded = encode(
                self.trace,
                self.own,
                self.above or b"",
                self.start_ns,
                end_ns,
                index & 0x7F
                | index << 1 & 0x7F00
                | index << 2 & 0x7F0000
                | index << 3 & 0x7F000000
                | 0x808080,
                queue,
                limit,
                rate_limit,
                backoff,
                busy,
                lag,
                service,
            )
            wire((encoded, 1))
            jobs.count(
                duration, queue, limit, rate_limit, backoff, busy, lag, service, self
            )
        except Exception as broken:  # noqa: BLE001 -- counted: breaks no job
            jobs.recorder.failed("traces", broken)


class NativeTry(_Native):
    """The span of a job's first attempt, which tells of the job as well."""

    __slots__ = ("_ended", "_job_above", "_job_own")

    def __init__(
        self,
        jobs: NativeJobs,
        job: Submitted,
        outside: Context,
        trace: bytes,
        own: bytes,
        above: bytes | None,
        inherited: Inherited,
    ) -> None:
        self._jobs = jobs
        self._outside = outside
        self._unit = None
        self._job_own = own
        self._job_above = above
        self._ended = 0
        self.index = job.index
        self.submitted = job.submitted
        self.origin = jobs.origin
        self.trace = trace
        self.own = (jobs.bits(64) or 1).to_bytes(8)
        self.above = own
        self.inherited = inherited
        self.span_name = jobs.attempt_name
        self.span_kind = _INTERNAL
        self.start_ns = 0
        self.end_ns = None
        self.raw = {}
        self.row = None
        self.raw_links = ()
        self.rare = None
        self._made = None

    def begin_attempt(self, number: int) -> None:
        """As `JobUnit.begin_attempt`."""
        if number > 1:
            super().begin_attempt(number)
            return
        jobs = self._jobs
        self.start_ns = jobs.zero + int(jobs.now() * 1e9)
        make_current(Context({**self._outside, CURRENT_SPAN: self, ATTEMPT: 1}))

    def end_attempt(self, number: int, error: BaseException | None) -> None:
        """As `JobUnit.end_attempt`."""
        if number > 1:
            super().end_attempt(number, error)
            return
        jobs = self._jobs
        self._ended = jobs.zero + int(jobs.now() * 1e9)
        if error is not None:
            self._end(error)
            self.unit()  # its span is current between attempts

    def _end(self, error: BaseException | None) -> None:
        """End the attempt's span by itself."""
        if isinstance(error, Exception):
            fail(self._jobs.recorder, self, error)
        self.end(self._ended)

    def end(self, end_time: int | None = None) -> None:
        """End it, unless it says what it has to say together with the job."""
        if self.row is None:
            self.row = ATTEMPT_COLUMNS, (self._jobs.metrics.name, 1)
        super().end(end_time)

    def job(self) -> NativeSpan:
        """The job's span."""
        jobs = self._jobs
        raw: dict[str, Any] = {}
        return NativeSpan(
            *(self.origin, self.trace, self._job_own, self._job_above, self.inherited),
            *(jobs.name, _INTERNAL, jobs.zero + int(self.submitted * 1e9), raw),
            jobs.links,
        )

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
            self._end(None)
        super().conclude(timings, outcome, attempts, error, cancelled_by)

    def succeed(self, timings: Timings, attempts: int) -> None:
        """The job has its value."""
        wire, index = self.origin.wire, self.index
        if (
            wire is None
            or self._unit is not None
            or self.end_ns is not None
            or self.rare is not None
            or self.raw
            or index >= _MOST
            or self.inherited[1] is not DEFAULT_TRACE_STATE
        ):
            self.conclude(timings, "ok", attempts, None, None)
            return
        jobs = self._jobs
        try:
            duration = timings.duration
            queue, limit, rate_limit = timings.queue, timings.limit, timings.rate_limit
            backoff, busy, lag = timings.backoff, timings.busy, timings.loop_lag
            service = duration - (queue + limit + rate_limit + backoff + busy + lag)
            service = max(service, 0.0)
            submitted = self.submitted
            self.end_ns = ended = self._ended
            encode = jobs.encode or jobs.learn()
            encoded = encode(
                self.trace,
                self._job_own,
                self._job_above or b"",
                jobs.zero + int(submitted * 1e9),
                jobs.zero + int((submitted + duration) * 1e9),
                index & 0x7F
                | index << 1 & 0x7F00
                | index << 2 & 0x7F0000
                | index << 3 & 0x7F000000
                | 0x808080,
                queue,
                limit,
                rate_limit,
                backoff,
                busy,
                lag,
                service,
                self.own,
                self.start_ns,
                ended,
            )
            wire((encoded, 2))
            jobs.count(
                duration, queue, limit, rate_limit, backoff, busy, lag, service, self
            )
        except Exception as broken:  # noqa: BLE001 -- counted: breaks no job
            jobs.recorder.failed("traces", broken)
