"""`Tail`: decides which of the traces that weren't drawn are kept.

The encoded spans of such a trace wait until its *topmost* one in this process ends. It
is kept whole when a span of it failed, was retried, or became an exemplar of a metric,
or when the topmost one was slow. For the first, the second and the last there is a
budget each.

Below a run's span each job, or batch, is decided on by itself, when it ends. What is
kept keeps the spans above it, up to the root, and the run that it is linked to.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from spanrun.semconv import SpanrunSamplingReason
from spanrun.telemetry.span import encode
from spanrun.telemetry.span.budget import Budget
from spanrun.telemetry.span.buffer import ERROR, RETRIED, SLOW
from spanrun.telemetry.span.local import ANY, LocalTrace, Reason, Wanted
from spanrun.telemetry.span.quantile import Slowness

if TYPE_CHECKING:  # its scope has a tail
    from spanrun.telemetry.span.record import Record

_MAX_NAMES: Final = 256
_MAX_REMOTE: Final = 10_000

_Kept: TypeAlias = list[tuple["Record", Reason]]
_Out: TypeAlias = Counter[str]


class Tail:
    """See ``_core.pyi``.

    It never waits, as the garbage collector may end a span in the middle of it: what
    has happened stands in a queue, which the thread that finds nobody at work empties.
    """

    def __init__(
        self,
        slow: float | None,
        sampled_out: Callable[[int, Any], object],
        max_spans: int,
        reason_key: str,
        reasons: tuple[float, float],
        runs: tuple[float, float],
    ) -> None:
        self._slow: Final = slow
        self._budgets: Final[dict[SpanrunSamplingReason, Budget]] = {
            "error": Budget(*reasons),
            "retried": Budget(*reasons),
            "slow": Budget(*reasons),
        }
        self._runs: Final = Budget(*runs)
        self._sampled_out: Final = sampled_out
        self._max_spans = max_spans
        self._reason_key: Final = reason_key
        self._durations: Final[dict[str, Slowness]] = {}
        self._begin()

    def _begin(self) -> None:
        self._at_work = threading.Lock()
        self._happened: deque[Record | LocalTrace | Wanted] = deque()
        self._waiting = 0
        self._in_order: OrderedDict[LocalTrace, None] = OrderedDict()
        # Traces of which there may be several local roots, also one after the other.
        self._remote: OrderedDict[int, LocalTrace] = OrderedDict()
        self._kept_remote: OrderedDict[int, Reason] = OrderedDict()

    def close(self) -> None:
        """Leave out what waits and, from now on, what has no reason to be kept."""
        self._max_spans = 0
        out: _Out = Counter()
        with self._at_work:
            self._make_room(out)
        self._hand_over([], out)
        self._work()

    def after_fork(self) -> None:
        """Forget what waits: it is the parent's."""
        self._begin()

    def begin(
        self,
        trace_id: int,
        role: int = ANY,
        above: tuple[LocalTrace, int] | None = None,
        *,
        is_remote: bool,
    ) -> LocalTrace:
        """A local root has begun in a trace that wasn't drawn."""
        trace = LocalTrace(self, trace_id, role, above)
        if is_remote:
            self._happened.append(trace)
            self._work()
        return trace

    def want(self, trace: LocalTrace, span_id: int, *, is_run: bool = False) -> None:
        """Keep a span of ``trace``, and those above it; a run's within its budget."""
        self._happened.append(Wanted(trace, span_id, is_run))
        self._work()

    def end(self, span: Record) -> None:
        """Decide on a span that has ended, or let it wait."""
        self._happened.append(span)
        self._work()

    def pin(self, trace: LocalTrace) -> bool:
        """Keep ``trace`` for an exemplar.

        Returns:
            Whether it is kept. False when it is too late, or when another call is at
            work at this moment: then the exemplar should not be taken.
        """
        self._work()
        if not self._at_work.acquire(blocking=False):
            return False
        kept: _Kept = []
        try:
            trace = trace.joined
            if trace.roots > 0 and trace.reason is None:
                trace.reason = "exemplar"
                self._release(trace, kept)
            is_kept = trace.reason is not None
        finally:
            self._at_work.release()
        self._hand_over(kept, Counter())
        self._work()
        return is_kept

    def _work(self) -> None:
        while self._happened and self._at_work.acquire(blocking=False):
            kept: _Kept = []
            out: _Out = Counter()
            try:
                for _ in range(len(self._happened)):
                    item = self._happened.popleft()
                    # Not by `isinstance`, which a span has say in.
                    if type(item) is LocalTrace:
                        self._join(item)
                    elif type(item) is Wanted:
                        if not item.is_run or self._affords_run(item.trace):
                            _want(item.trace, item.span_id)
                    else:
                        self._decide(cast("Record", item), kept, out)
                self._make_room(out)
            finally:
                self._at_work.release()
            if kept or out:
                self._hand_over(kept, out)

    def _hand_over(self, kept: _Kept, out: _Out) -> None:
        for span, reason in kept:
            try:
                buffer = span.scope.buffer
                if buffer is None:
                    continue
                data = span.encoded()
                if reason is not None and span.is_top:
                    data += encode.attribute(self._reason_key, reason)
                buffer.put(span, data)
            except Exception as error:  # noqa: BLE001 -- the others go on
                span.scope.failed(error)
        for why, spans in out.items():
            self._sampled_out(spans, why)

    # --- while at work

    def _decide(self, ended: Record, kept: _Kept, out: _Out) -> None:
        """Keep ``ended``, or let it wait, or leave it out."""
        is_top = ended.is_top
        if is_top and self._is_slow(ended.name, ended.duration):
            ended.flags |= SLOW
        if ended.trace is None:
            return
        trace = ended.trace.joined
        before = trace.reason
        self._look_for_reason(trace, ended)
        is_wanted = ended.span_id in trace.wanted
        if is_wanted:
            trace.wanted.discard(ended.span_id)
            if not is_top and (parent := ended.parent_id) is not None:
                trace.wanted.add(parent)
        closes = is_top and trace.roots == 1
        if closes and trace.wanted:
            # What is wanted has ended before, or ends later: which others are above it
            # isn't known.
            trace.reason = trace.reason or "path"
        if before is None and trace.reason is not None:
            self._release(trace, kept)
        waits = trace.roots > 0 and not closes
        self._place(ended, trace, kept, out, is_wanted=is_wanted, waits=waits)
        if is_top and trace.roots > 0:
            trace.roots -= 1
        if closes:
            self._close(trace, out)

    def _look_for_reason(self, trace: LocalTrace, ended: Record) -> None:
        """Let ``ended`` be a reason to keep all of its trace, within the budget."""
        reason = _reason(ended.flags)
        if trace.reason == "exemplar" and reason is not None:
            # It is kept whatever happens: then what has happened is what is said.
            trace.reason = reason
        if reason is None or trace.reason is not None or trace.refused is not None:
            return
        if self._budgets[reason].take(time.monotonic()):
            trace.reason = reason
        else:
            trace.refused = reason

    def _place(
        self,
        ended: Record,
        trace: LocalTrace,
        kept: _Kept,
        out: _Out,
        *,
        is_wanted: bool,
        waits: bool,
    ) -> None:
        """Put ``ended`` where it belongs; it ``waits`` if nothing is decided."""
        if trace.reason is not None:
            kept.append((ended, trace.path if trace.reason == "path" else trace.reason))
        elif is_wanted:
            kept.append((ended, trace.path))
        elif waits:
            trace.waiting.append(ended)
            self._waiting += 1
            self._in_order[trace] = None
        else:
            out[trace.refused or "none"] += 1

    def _affords_run(self, trace: LocalTrace) -> bool:
        trace.is_run_kept = self._runs.take(time.monotonic())
        return trace.is_run_kept

    def _close(self, trace: LocalTrace, out: _Out) -> None:
        """All its roots have ended: leave out what still waits."""
        if self._remote.get(trace.trace_id) is trace:
            del self._remote[trace.trace_id]
            if trace.reason is not None:
                self._kept_remote[trace.trace_id] = trace.reason
                if len(self._kept_remote) > _MAX_REMOTE:
                    self._kept_remote.popitem(last=False)
        self._leave_out(trace, out)

    def _release(self, trace: LocalTrace, kept: _Kept) -> None:
        """Keep the spans of ``trace`` that wait, and those above them."""
        kept.extend((ended, trace.reason) for ended in self._clear(trace))
        if trace.above is not None:
            _want(*trace.above)

    def _leave_out(self, trace: LocalTrace, out: _Out) -> None:
        if spans := len(self._clear(trace)):
            out[trace.refused or "none"] += spans

    def _clear(self, trace: LocalTrace) -> list[Record]:
        """Take the spans of ``trace`` that wait."""
        self._in_order.pop(trace, None)
        waiting, trace.waiting = trace.waiting, []
        self._waiting -= len(waiting)
        return waiting

    def _join(self, trace: LocalTrace) -> None:
        """One that began by a call from elsewhere belongs to those that are open."""
        open_one = self._remote.get(trace.trace_id)
        if open_one is not None:
            open_one.roots += 1
            trace.joined = open_one
            return
        trace.reason = self._kept_remote.get(trace.trace_id)
        self._remote[trace.trace_id] = trace
        if len(self._remote) > _MAX_REMOTE:
            self._remote.popitem(last=False)

    def _make_room(self, out: _Out) -> None:
        """Give up the trace that waits longest; what comes of it later begins anew."""
        while self._waiting > self._max_spans:
            self._leave_out(next(iter(self._in_order)), out)

    def _is_slow(self, name: str, duration: int) -> bool:
        """Whether it took long, by those of its name."""
        durations = self._durations.get(name)
        if durations is None:
            if len(self._durations) >= _MAX_NAMES:
                self._durations.clear()  # what comes often is soon back
            durations = self._durations[name] = Slowness(self._slow)
        return durations.is_slow(duration / 1e9)


def _want(trace: LocalTrace, span_id: int) -> None:
    """Keep a span of ``trace`` when it ends, and those above it up to the root."""
    above: tuple[LocalTrace, int] | None = (trace, span_id)
    while above is not None:
        trace, span_id = above[0].joined, above[1]
        if trace.reason is not None or span_id in trace.wanted:
            return  # and so are those above
        trace.wanted.add(span_id)
        above = trace.above


def _reason(flags: int) -> SpanrunSamplingReason | None:
    """What can be told from the span alone."""
    if flags & ERROR:
        return "error"
    if flags & RETRIED:
        return "retried"
    return "slow" if flags & SLOW else None
