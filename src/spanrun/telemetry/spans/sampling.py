"""Tail sampling: of the traces that weren't drawn, keep those worth looking at.

`HeadSampler` draws a ratio of the traces when they begin. A drawn trace passes on
span by span. Of any other the spans wait here until their *local root* ends, which
is the topmost span of the trace in this process, and then the trace is

- kept whole, when a span of it failed (``error``), was retried (``retried``) or
  became an exemplar of a metric (``exemplar``), or when the root was slow
  (``slow``); the root says which, as ``spanrun.sampling.reason``;
- sampled out else, and its spans counted.

It is wired between a provider and its sink::

    tail = TailSampling(sink, sampled_out=count)
    head = HeadSampler.of(os.environ, tail.opened)
    NativeTracerProvider(tail, sampler=head, takes="recorded")

and the metrics call `TailSampling.pin` before they take an exemplar. Where
``head`` is None all traces are treated alike, and the sink goes into the provider
without this stage.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Final

from opentelemetry.trace import SpanContext, TraceFlags

from spanrun import semconv
from spanrun.semconv import SpanrunSamplingReason
from spanrun.telemetry.forks import tell_after_fork
from spanrun.telemetry.log import Log
from spanrun.telemetry.spans.recorded import Recorded
from spanrun.telemetry.spans.worth import Verdict, Worth

_log: Final = Log(__name__)


def _complain(error: Exception) -> None:
    _log.warning("tail sampling failed inside and goes on", error=error)


class TailSampling:
    """Takes ended spans, and hands on those of the traces that are kept.

    Never waits, so it may be called from any thread, and by the garbage collector
    in the middle of a call: whoever finds it at work leaves the span to whom it
    finds there.

    Memory is bounded. When too much waits, the trace that has waited longest is
    given up: its spans so far are sampled out, and what comes later of it begins
    anew, so that a failure is still seen.

    Args:
        sink: Takes the spans that are kept, of a trace in the order they ended.
        slow: Seconds from which a local root is slow. One that takes longer than
            99 % of those with its name is slow in any case.
        sampled_out: Told how many spans were left out, each once.
        failed: Told of what the sink raises.
        max_traces: So many may be open: have spans that wait, or an exemplar.
        max_spans: So many may wait in all.
        max_closed: So many decisions, at least, are remembered for spans that end
            after their root.
    """

    def __init__(
        self,
        sink: Callable[[Recorded], object],
        *,
        slow: float | None = None,
        sampled_out: Callable[[int], object] = lambda _: None,
        failed: Callable[[Exception], object] = _complain,
        max_traces: int = 10_000,
        max_spans: int = 20_000,
        max_closed: int = 10_000,
    ) -> None:
        self._sink: Final = sink
        self._worth: Final = Worth(slow)
        self._sampled_out: Final = sampled_out
        self._failed: Final = failed
        self._max_traces = max_traces
        self._max_spans = max_spans
        self._max_closed: Final = max_closed
        self._begin()
        tell_after_fork(self)

    def _begin(self) -> None:
        self._at_work = threading.Lock()
        self._arrived: deque[Recorded | int] = deque()
        self._open: OrderedDict[int, _Open] = OrderedDict()
        self._waiting = 0
        # Two generations: what was decided lately, and what before that.
        self._closed: dict[int, Verdict] = {}
        self._closed_before: dict[int, Verdict] = {}

    def __call__(self, span: Recorded) -> None:
        """Take a span that has ended."""
        if span.inherited[0] & TraceFlags.SAMPLED:
            self._sink(span)
            if type(span.above) is bytes or not span.is_local_root:
                return
        self._arrived.append(span)
        self._work()

    def opened(self, trace_id: int) -> None:
        """A local root has begun in a trace that came from elsewhere.

        Of such a trace there may be several here, also one after the other. They
        are decided upon together when they overlap, else each by itself.
        """
        self._arrived.append(trace_id)
        self._work()

    def pin(self, span: SpanContext) -> bool:
        """Keep the trace of ``span``, which becomes an exemplar.

        Returns:
            Whether it is kept. False when it is too late, or when this is at work
            at this moment: then the exemplar should not be taken.
        """
        if span.trace_flags.sampled:
            return True
        if not self._at_work.acquire(blocking=False):
            return False
        kept: list[Recorded] = []
        try:
            is_kept = self._pin(span.trace_id, kept)
            out = self._make_room()
        finally:
            self._at_work.release()
        self._hand_on(kept, out)
        self._work()
        return is_kept

    def close(self) -> None:
        """Sample out what waits, and from now on what has no reason to be kept."""
        with self._at_work:
            self._max_spans = self._max_traces = 0
            out = self._make_room()
        self._hand_on([], out)
        self._work()

    def after_fork(self) -> None:
        """In a child process: what waits is the parent's."""
        self._begin()

    def _work(self) -> None:
        """Deal with what has arrived, unless somebody is at it already."""
        while self._arrived and self._at_work.acquire(blocking=False):
            kept: list[Recorded] = []
            out = 0
            try:
                for _ in range(len(self._arrived)):
                    item = self._arrived.popleft()
                    if isinstance(item, int):
                        self._reopen(item)
                    else:
                        out += self._take(item, kept)
                out += self._make_room()
            finally:
                self._at_work.release()
            if kept or out:
                self._hand_on(kept, out)

    def _hand_on(self, kept: list[Recorded], out: int) -> None:
        for span in kept:
            try:
                self._sink(span)
            except Exception as error:  # noqa: BLE001 -- the others go on
                self._failed(error)
        if out:
            self._sampled_out(out)

    # --- while at work

    def _take(self, span: Recorded, kept: list[Recorded]) -> int:
        """Decide on ``span``, or let it wait; returns how many are sampled out."""
        trace_id = span.trace_id
        is_root = type(span.above) is not bytes and span.is_local_root
        is_slow = is_root and self._worth.is_slow(span)
        if span.inherited[0] & TraceFlags.SAMPLED:
            return 0  # it has passed already, and only its time is of interest
        why: Verdict = self._worth.of(span) or ("slow" if is_slow else None)
        trace = self._open.get(trace_id)
        if trace is None:
            if is_root or self._is_closed(trace_id):
                return self._take_late(span, why, kept)
            trace = self._open[trace_id] = _Open()
        if why is not None:
            self._keep(trace, why, kept)
        if trace.why is None:
            trace.spans.append(span)
            self._waiting += 1
        else:
            kept.append(_marked(span, trace.why))
        if is_root:
            trace.roots -= 1
            if trace.roots <= 0:
                del self._open[trace_id]
                self._close(trace_id, trace.why)
                self._waiting -= len(trace.spans)
                return len(trace.spans)
        return 0

    def _take_late(self, span: Recorded, why: Verdict, kept: list[Recorded]) -> int:
        """Decide on a span for which none waits: a root alone, or one that is late.

        One that is late follows its trace; but with a reason of its own it is
        kept, and what comes after it.
        """
        why = self._verdict(span.trace_id) or why
        self._close(span.trace_id, why)
        if why is None:
            return 1
        kept.append(_marked(span, why))
        return 0

    def _pin(self, trace_id: int, kept: list[Recorded]) -> bool:
        trace = self._open.get(trace_id)
        if trace is None:
            if self._is_closed(trace_id):
                return self._verdict(trace_id) is not None
            trace = self._open[trace_id] = _Open()
        self._keep(trace, "exemplar", kept)
        return True

    def _keep(
        self, trace: _Open, why: SpanrunSamplingReason, kept: list[Recorded]
    ) -> None:
        if trace.why is None:
            trace.why = why
            kept += trace.spans
            self._waiting -= len(trace.spans)
            trace.spans = []

    def _reopen(self, trace_id: int) -> None:
        trace = self._open.get(trace_id)
        if trace is None:
            trace = self._open[trace_id] = _Open()
            trace.why = self._verdict(trace_id)
        trace.roots += 1

    def _make_room(self) -> int:
        out = 0
        while len(self._open) > self._max_traces or self._waiting > self._max_spans:
            trace_id, trace = self._open.popitem(last=False)
            if trace.why is not None:
                self._close(trace_id, trace.why)
            self._waiting -= len(trace.spans)
            out += len(trace.spans)
        return out

    def _is_closed(self, trace_id: int) -> bool:
        return trace_id in self._closed or trace_id in self._closed_before

    def _verdict(self, trace_id: int) -> Verdict:
        newest = self._closed.get(trace_id)
        return newest or self._closed_before.get(trace_id)

    def _close(self, trace_id: int, why: Verdict) -> None:
        self._closed[trace_id] = why
        if len(self._closed) >= self._max_closed:
            self._closed_before, self._closed = self._closed, {}


class _Open:
    """A trace whose local root has not ended.

    Attributes:
        roots: How many local roots are known to have begun.
        spans: Those that have ended and wait.
        why: Why it is kept, once that is known; then none waits.
    """

    __slots__ = ("roots", "spans", "why")

    def __init__(self) -> None:
        self.roots = 0
        self.spans: list[Recorded] = []
        self.why: Verdict = None


def _marked(span: Recorded, why: SpanrunSamplingReason) -> Recorded:
    if span.is_local_root:
        span.raw[semconv.SPANRUN_SAMPLING_REASON] = why
    return span
