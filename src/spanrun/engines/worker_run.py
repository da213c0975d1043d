"""`WorkerRun`: the jobs of a driver's run that are in this worker."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final, cast

from opentelemetry import context as otel_context
from opentelemetry.trace import get_current_span

from spanrun.engines.uncounted import UncountedMetrics
from spanrun.outcome import CancelledBy, Ok, Outcome
from spanrun.runner.carrier import context_of
from spanrun.runner.core import Core
from spanrun.runner.engine import Chunk, Done, Ended, Item, RunSpec
from spanrun.runner.job import Abandoned, Job
from spanrun.runner.pickled import Finder, dumps, error_bytes
from spanrun.runner.run import Call, Run
from spanrun.telemetry.observe import EventKind
from spanrun.telemetry.units.job import JobKind, JobUnit
from spanrun.telemetry.units.recorder import Recorder
from spanrun.telemetry.units.unit import INTERNAL, Linked

Reply = Callable[[int, Done], object]
"""Sends an outcome of a chunk."""

Note = Callable[[str, EventKind, dict[str, Any]], object]
"""Tells of an event: of which run, of which kind, and what there is to say of it."""

_NOTHING: Final = (0.0,) * 7


class WorkerRun(Run):
    """Runs items in the order in which they come, as far as there are slots.

    What isn't started yet has no task and no span: it costs its bytes.

    Args:
        core: Of the worker's runner.
        spec: What the driver says of its run.
        finder: Unpickles what the driver sent.
        reply: Sends an outcome.
        metrics: Those of jobs that aren't counted here.
        note: Tells the driver of an event of a run.
    """

    hides = False

    def __init__(
        self,
        core: Core,
        spec: RunSpec,
        finder: Finder,
        reply: Reply,
        metrics: UncountedMetrics | None,
        note: Note,
    ) -> None:
        self._spec: Final = spec
        self._uncounted: Final = metrics
        super().__init__(core, total=None, trace="child")
        self.info.id = spec.id
        self.shows_times = spec.shows_times
        self.curious = spec.curious
        self._note: Final = note
        self._finder: Final = finder
        self._reply: Final = reply
        self._function: Final = self._found(spec.function)
        self._waiting: deque[tuple[Item, Chunk, otel_context.Context]] = deque()
        self._chunk_of: Final[dict[int, int]] = {}
        self._backing_off = 0
        self._is_ranked = False
        self._refilling = False
        self._fatal: BaseException | None = None
        self._payload = b""
        remote = context_of(spec.carrier)
        self._inside.run(otel_context.attach, remote)
        if spec.linked and core.recorder is not None:
            self._linked = _linked(core.recorder, remote)
        self.open(span=False)

    def _found(self, function: bytes) -> Call:
        try:
            return cast("Call", self._finder.loads(function))
        except BaseException as error:  # noqa: BLE001 -- it is each job's own
            return _raiser(error)

    def _opener(self, recorder: Recorder) -> Callable[[Any], JobUnit]:
        assert self._uncounted is not None  # noqa: S101 -- comes with the recorder
        return JobKind(
            recorder,
            self._uncounted,
            self.info.id,
            self._linked,
            attempts=self.core.attempts is not None,
            timed=True,
        ).open

    def happened(self, kind: EventKind, **told: Any) -> None:
        """Tell the driver of an event: it has the observers."""
        if self.curious:
            self._note(self.info.id, kind, told)

    @property
    def is_busy(self) -> bool:
        """Whether there is something that has no outcome."""
        return bool(self.active or self._waiting)

    def add(self, chunk: Chunk) -> None:
        """Run the items of ``chunk``, when there is room."""
        outside = context_of(chunk.carrier)
        self._waiting.extend((item, chunk, outside) for item in chunk.items)
        self._is_ranked = self._is_ranked or any(each.priority for each in chunk.items)
        if self._is_ranked:
            self._waiting = deque(
                sorted(self._waiting, key=lambda each: -each[0].priority)
            )
        self.refill()

    def refill(self) -> None:
        """Start what there is room for now."""
        if self._refilling:
            return
        self._refilling = True
        try:
            limit = self.core.slots.limit
            room = limit + min(self._backing_off, limit)
            if self._is_ranked:
                room += limit  # those who wait for a slot are who can be put in order
            while self._waiting and len(self.active) < room:
                self._begin(*self._waiting.popleft())
        finally:
            self._refilling = False

    def _begin(self, item: Item, chunk: Chunk, outside: otel_context.Context) -> None:
        call = self._function
        try:
            value = self._finder.loads(item.payload)
        except BaseException as error:  # noqa: BLE001 -- the job's own
            value, call = None, _raiser(error)
        context = self._inside.copy()
        if item.carrier is not None:
            outside = context_of(item.carrier)
        context.run(otel_context.attach, outside)
        self._submitted = item.place
        self._chunk_of[item.place] = chunk.id
        self.launch(value, call, item.key, item.priority, context)

    def backing_off(self, change: int) -> None:
        """One job more, or less, waits for another attempt."""
        super().backing_off(change)
        self._backing_off += change
        self.refill()

    def cancel(self, chunk: int, by: CancelledBy) -> None:
        """Cancel what has no outcome of ``chunk``."""
        waiting = [each for each in self._waiting if each[1].id == chunk]
        self._waiting = deque(each for each in self._waiting if each[1].id != chunk)
        for job in tuple(self.active):
            if self._chunk_of.get(job.index) == chunk and job.cancelled_by is None:
                job.cancel(by)
        for item, *_ in waiting:
            self._reply(
                chunk, Done(item.place, "cancelled", b"", 1, _NOTHING, 0, 0, by)
            )

    def done(self, job: Job, value: Any, error: BaseException | None) -> None:
        """``job`` ended: its value is pickled, or it has failed by that."""
        if error is None:
            try:
                self._payload = dumps(value)
            except Exception as broken:  # noqa: BLE001 -- whatever its class does there
                error = broken
                error.add_note(
                    f"the result, a {type(value).__qualname__}, can't be pickled, and "
                    "that is how a worker sends it: return plain values"
                )
        super().done(job, value, error)

    def _fail(self, fatal: BaseException) -> None:
        """The driver ends the run by that: it is the job's outcome here."""
        self._fatal = fatal

    def deliver(self, job: Job, outcome: Outcome[Any]) -> None:
        """Send the outcome to the driver."""
        fatal, self._fatal = self._fatal, None
        by: CancelledBy | None = None
        ended: Ended
        if isinstance(outcome, Ok):
            ended, payload = "ok", self._payload
        elif fatal is not None:
            ended, payload = "failed", error_bytes(fatal)
        elif outcome.outcome == "cancelled":
            gone = isinstance(outcome.error.__cause__, Abandoned)
            ended, payload = "abandoned" if gone else "cancelled", b""
            by = job.cancelled_by or "self"
        else:
            ended = "timed_out" if outcome.outcome == "timed_out" else "failed"
            payload = error_bytes(outcome.error)
        timings = outcome.timings
        seconds = (*timings.parts()[:-1], timings.duration)
        ids = (outcome.trace_id, _span_id(job))
        done = Done(job.index, ended, payload, outcome.attempts, seconds, *ids, by)
        self._reply(self._chunk_of.pop(job.index), done)


def _span_id(job: Job) -> int:
    """The id of a span that the driver may take for an exemplar."""
    if job.unit is None:
        return 0
    context = job.unit.told.get_span_context()
    return context.span_id if context.trace_flags.sampled else 0


def _linked(recorder: Recorder, context: otel_context.Context) -> Linked:
    """Where jobs begin that are linked to the driver's run, of which this is told."""
    # Never ended, so nobody sees it: what begins here has its place on the calendar.
    anchor = recorder.open("run", INTERNAL, otel_context.Context())
    return Linked(anchor, context, get_current_span(context).get_span_context())


def _raiser(error: BaseException) -> Call:
    """A function that raises ``error``, which came up before its job began."""

    async def could_not_be_read(_: Any) -> Any:
        raise error

    return could_not_be_read
