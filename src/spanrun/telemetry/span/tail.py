"""`Tail`: decides which of the traces that weren't drawn are kept.

The encoded spans of such a trace wait until its *local root* ends, which is its
topmost span in this process. The trace is kept whole when a span of it failed, was
retried, or became an exemplar of a metric, or when the root was slow.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from spanrun.semconv import SpanrunSamplingReason
from spanrun.telemetry.span import encode
from spanrun.telemetry.span.buffer import ERROR, RETRIED, SLOW
from spanrun.telemetry.span.quantile import RunningQuantile

if TYPE_CHECKING:  # it has a tail
    from spanrun.telemetry.span.scope import Scope

Reason: TypeAlias = SpanrunSamplingReason | None
"""Why a trace is kept; None: it is not."""

_MAX_NAMES: Final = 256
_MAX_REMOTE: Final = 10_000


class LocalTrace:
    """The spans of one trace in this process, below one local root or several.

    Attributes:
        tail: Decides on it.
        trace_id: Its id.
        roots: Local roots that have not ended.
        waiting: Spans that have ended before it is decided.
        reason: Why it is kept, once that is known; then none waits.
        joined: The trace with the same id that was open when this one began: they
            are decided together. It may be this one.
    """

    def __init__(self, tail: Tail, trace_id: int) -> None:
        self.tail: Final = tail
        self.trace_id: Final = trace_id
        self.roots = 1
        self.waiting: list[Ended] = []
        self.reason: Reason = None
        self.joined = self


class Ended(NamedTuple):
    """A span that has ended, encoded.

    Attributes:
        scope: Whose span it is.
        span: The content of a message ``Span``.
        trace: Where it belongs; None when it was drawn, and is only to be measured.
        trace_id: As 16 bytes.
        duration: In nanoseconds.
        flags: See ``_core.pyi``.
        root: The name of a local root; None for any other span.
    """

    scope: Scope
    span: bytes
    trace: LocalTrace | None
    trace_id: bytes
    duration: int
    flags: int
    root: str | None


_Kept: TypeAlias = list[tuple[Ended, Reason]]


class Tail:
    """See ``_core.pyi``.

    It never waits, as the garbage collector may end a span in the middle of it: what
    has happened stands in a queue, which the thread that finds nobody at work empties.
    """

    def __init__(
        self,
        slow: float | None,
        sampled_out: Callable[[int], object],
        max_spans: int,
        reason_key: str,
    ) -> None:
        self._slow: Final = slow
        self._sampled_out: Final = sampled_out
        self._max_spans = max_spans
        self._reason_key: Final = reason_key
        self._durations: Final[dict[str, RunningQuantile]] = {}
        self._begin()

    def _begin(self) -> None:
        self._at_work = threading.Lock()
        self._happened: deque[Ended | LocalTrace] = deque()
        self._waiting = 0
        self._in_order: OrderedDict[LocalTrace, None] = OrderedDict()
        # Traces of which there may be several local roots, also one after the other.
        self._remote: OrderedDict[int, LocalTrace] = OrderedDict()
        self._kept_remote: OrderedDict[int, Reason] = OrderedDict()

    def close(self) -> None:
        """Leave out what waits and, from now on, what has no reason to be kept."""
        self._max_spans = 0
        with self._at_work:
            out = self._make_room()
        self._hand_over([], out)
        self._work()

    def after_fork(self) -> None:
        """Forget what waits: it is the parent's."""
        self._begin()

    def begin(self, trace_id: int, *, is_remote: bool) -> LocalTrace:
        """A local root has begun in a trace that wasn't drawn."""
        trace = LocalTrace(self, trace_id)
        if is_remote:
            self._happened.append(trace)
            self._work()
        return trace

    def end(self, span: Ended) -> None:
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
            if trace.roots > 0:
                self._keep(trace, "exemplar", kept)
            is_kept = trace.reason is not None
        finally:
            self._at_work.release()
        self._hand_over(kept, 0)
        self._work()
        return is_kept

    def _work(self) -> None:
        while self._happened and self._at_work.acquire(blocking=False):
            kept: _Kept = []
            out = 0
            try:
                for _ in range(len(self._happened)):
                    item = self._happened.popleft()
                    if isinstance(item, LocalTrace):
                        self._join(item)
                    else:
                        out += self._decide(item, kept)
                out += self._make_room()
            finally:
                self._at_work.release()
            if kept or out:
                self._hand_over(kept, out)

    def _hand_over(self, kept: _Kept, out: int) -> None:
        for ended, reason in kept:
            try:
                buffer = ended.scope.buffer
                if buffer is None:
                    continue
                span = ended.span
                if reason is not None and ended.root is not None:
                    span += encode.attribute(self._reason_key, reason)
                buffer.put(
                    ended.scope, span, ended.trace_id, ended.duration, ended.flags
                )
            except Exception as error:  # noqa: BLE001 -- the others go on
                ended.scope.failed(error)
        if out:
            self._sampled_out(out)

    # --- while at work

    def _decide(self, ended: Ended, kept: _Kept) -> int:
        """Keep ``ended``, or let it wait; returns how many are left out."""
        is_slow = ended.root is not None and self._is_slow(ended.root, ended.duration)
        if ended.trace is None:
            return 0
        trace = ended.trace.joined
        if is_slow:
            ended = ended._replace(flags=ended.flags | SLOW)
        reason = _reason(ended.flags)
        if trace.roots <= 0:
            # It follows its trace. With a reason of its own it is kept all the same,
            # and what comes after it.
            trace.reason = trace.reason or reason
            if trace.reason is None:
                return 1
            kept.append((ended, trace.reason))
            return 0
        if reason is not None:
            self._keep(trace, reason, kept)
        if trace.reason is not None:
            kept.append((ended, trace.reason))
        else:
            trace.waiting.append(ended)
            self._waiting += 1
            self._in_order[trace] = None
        if ended.root is None:
            return 0
        trace.roots -= 1
        return 0 if trace.roots else self._close(trace)

    def _close(self, trace: LocalTrace) -> int:
        """All its roots have ended; returns how many spans are left out."""
        if self._remote.get(trace.trace_id) is trace:
            del self._remote[trace.trace_id]
            if trace.reason is not None:
                self._kept_remote[trace.trace_id] = trace.reason
                if len(self._kept_remote) > _MAX_REMOTE:
                    self._kept_remote.popitem(last=False)
        return len(self._clear(trace))

    def _keep(
        self, trace: LocalTrace, reason: SpanrunSamplingReason, kept: _Kept
    ) -> None:
        if trace.reason is None:
            trace.reason = reason
            kept.extend((ended, reason) for ended in self._clear(trace))

    def _clear(self, trace: LocalTrace) -> list[Ended]:
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

    def _make_room(self) -> int:
        """Give up the trace that waits longest; what comes of it later begins anew."""
        out = 0
        while self._waiting > self._max_spans:
            out += len(self._clear(next(iter(self._in_order))))
        return out

    def _is_slow(self, name: str, duration: int) -> bool:
        """Whether it took longer than allowed, or than 99 % of those named alike.

        Each is judged by those before it, and then counts itself.
        """
        seconds = duration / 1e9
        durations = self._durations.get(name)
        if durations is None:
            if len(self._durations) >= _MAX_NAMES:
                self._durations.clear()  # what comes often is soon back
            durations = self._durations[name] = RunningQuantile(0.99)
        is_slow = seconds > durations.value
        durations.add(seconds)
        return is_slow or (self._slow is not None and seconds >= self._slow)


def _reason(flags: int) -> Reason:
    """What can be told from the span alone."""
    if flags & ERROR:
        return "error"
    if flags & RETRIED:
        return "retried"
    return "slow" if flags & SLOW else None
