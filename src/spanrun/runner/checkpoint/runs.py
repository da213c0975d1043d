"""`map`, `stream` and batches with a checkpoint: the same runs, and what it adds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Final

from opentelemetry.trace import SpanContext, TraceFlags

from spanrun import semconv
from spanrun.errors import JobCancelled, RemoteJobError
from spanrun.outcome import CancelledBy, Err, Ok, Outcome, Timings
from spanrun.runner.batches import BatchRun, Part
from spanrun.runner.checkpoint.admission import Admission, Unit
from spanrun.runner.checkpoint.checkpoint import Checkpoint
from spanrun.runner.checkpoint.identity import Ticket, ticket_of
from spanrun.runner.checkpoint.kept import Kept
from spanrun.runner.checkpoint.rows import DEAD, Stored
from spanrun.runner.core import Core
from spanrun.runner.feed import FedRun
from spanrun.runner.job import Job
from spanrun.runner.map import MapRun
from spanrun.runner.run import Call, Source
from spanrun.runner.siblings import Sibling, attach
from spanrun.runner.stream import StreamRun
from spanrun.runner.tasks import discard
from spanrun.telemetry.log import Log

_log: Final = Log(__name__)

_BURST: Final = 500
"""Outcomes that are handed out of the file until other tasks have their turn."""


class CheckpointedRun(FedRun):
    """Hands out what the file has, runs the rest, and keeps what becomes of it."""

    def __init__(
        self,
        core: Core,
        call: Call,
        source: Source,
        *,
        checkpoint: Checkpoint,
        **options: Any,
    ) -> None:
        super().__init__(core, call, source, **options)
        self.kept: Final = Kept(checkpoint, call, self)
        self._only_failed: Final = checkpoint.only_failed
        self._admission: Final = Admission(self, self.kept)
        self._next = 0
        self._burst = 0
        self._pauses = False
        self._by_signal = False

    async def prepare(self) -> None:
        """Have the file opened."""
        await super().prepare()
        kept = self.kept
        try:
            await kept.open()
        except BaseException:
            self.closing = True  # or the last commit, which makes room, would begin it
            raise
        self._admission.is_open = not kept.careful and not kept.suspects

    def open(self, *, span: bool = True) -> None:
        """Begin, and say which run this one goes on from."""
        super().open(span=span)
        unit, info = self.unit, self.info
        context = None if unit is None else unit.told.get_span_context()
        self.kept.began(info.id, info.trace_id, context.span_id if context else 0)
        earlier = self.kept.earlier
        if earlier is None:
            return
        if unit is not None:
            unit.set(semconv.SPANRUN_RUN_RESUMED_FROM, earlier.run)
            unit.set(semconv.SPANRUN_RUN_RESUMED_RESULTS, self.kept.stored)
            if earlier.span_id:
                flags = TraceFlags(TraceFlags.SAMPLED)
                trace, span_id = int(earlier.trace_id, 16), int(earlier.span_id, 16)
                unit.span.add_link(SpanContext(trace, span_id, True, flags))  # noqa: FBT003 -- OTel's
        self.happened("resumed", earlier=earlier.run, results=self.kept.stored)

    async def finish(self) -> None:
        """Have all written, and the file closed."""
        await self.kept.close()
        if self._by_signal:
            _log.warning("%s", self.kept.safe)
        await super().finish()

    @property
    def over(self) -> bool:
        """Whether nothing of the run is left to wait for."""
        return super().over and not self._admission.waits

    def _space(self) -> int:
        admission = self._admission
        if self._pauses or self.kept.writer.is_behind:
            return 0
        if not admission.is_open and admission.is_shut:
            return 0
        return super()._space()

    def refill(self) -> None:
        """Admit what there is room for now."""
        if not self._admission.is_open:
            self._admission.go_on()
        super().refill()

    def stop(self, by: CancelledBy) -> None:
        """Admit no more jobs, and cancel those that run."""
        self._by_signal = self._by_signal or by == "signal"
        self._lost = self._admission.drop() or self._lost
        super().stop(by)

    def drain(self) -> bool:
        """Admit no more jobs, and let those that run end."""
        if not self.feeders:
            self._by_signal = True
            self._lost = self._admission.drop() or self._lost
        return super().drain()

    def committed(self) -> None:
        """More of it is safe: there may be room again."""
        if not self.closing and not self._exhausted:
            self.refill()

    def broken(self, error: BaseException) -> None:
        """End: nothing more can be kept."""
        self._fail(error)
        self._admission.drop()
        self.ended()
        self.settle()

    def _settled(self, place: int, item: Any) -> Ticket | None:
        """See to the item at ``place``; its ticket, if it has to be run."""
        ticket, stored = self.kept.look(place, item)
        if stored is not None and self.kept.is_final(stored):
            self._restore(self._outcome_of(place, self._name(item), stored))
            return None
        suspect = self.kept.suspects.get(ticket.item)
        if suspect is not None and self.kept.is_dead(suspect):
            text = (
                f"the process died {suspect.crashes} times while this item ran, "
                f"{suspect.alone} times while it ran alone"
            )
            error = RemoteJobError("Crash", text)
            dead = Err(place, error, Timings(), ticket.attempts, self._name(item))
            self.kept.begin([ticket])
            self.kept.failed(place, dead, DEAD)
            self._restore(dead)
            return None
        if self._only_failed and (stored is None or stored.outcome == "cancelled"):
            why = JobCancelled("not run: nothing is but what failed before")
            key = self._name(item)
            self._restore(Err(place, why, Timings(), 0, key, 0, "skipped"))
            return None
        return ticket

    def _lose(self, *items: Any) -> None:
        """Run none of them: an error that was handed out has just ended the run."""
        self._lost = True
        for item in items:
            discard(item)

    def _name(self, item: Any) -> Any:
        return None if self._key is None else self._key(item)

    def _outcome_of(self, place: int, key: Any, stored: Stored) -> Outcome[Any]:
        attempts, trace_id = stored.attempts, stored.trace_id
        if stored.outcome == "ok":
            value = self.kept.decode(stored)
            return Ok(place, value, Timings(), attempts, key, trace_id)
        error, ended = stored.error, stored.ended
        return Err(place, error, Timings(), attempts, key, trace_id, ended)

    def _restore(self, outcome: Outcome[Any]) -> None:
        """Hand ``outcome`` out. No room is taken, so more may be pulled at once."""
        self.info.restored += 1
        self.hand_out(outcome)
        self._burst += 1
        if self._burst < _BURST:
            self._again = True
        elif not self._pauses:
            self._pauses = True
            self.loop.call_soon(self._after_burst)

    def _after_burst(self) -> None:
        self._pauses, self._burst = False, 0
        self.refill()
        self.settle()

    def hand_out(self, outcome: Outcome[Any]) -> None:
        """Give an outcome that no job of this run has."""
        raise NotImplementedError


class _OfItems(CheckpointedRun):
    """Each job has one item."""

    def _admit(self, item: Any) -> None:
        if self.closing:
            self._lose(item)
            return
        place = self._next
        self._next = place + 1
        if self.kept.is_new and not self._only_failed:
            key = self.kept.checkpoint.key
            self.kept.running[place] = ticket_of(place, item, key)
            super()._admit(item)
            return
        ticket = self._settled(place, item)
        if ticket is None:
            return
        if self._admission.is_open:
            self.kept.running[place] = ticket
            self._start_job(place, item)
        else:
            alone = ticket.item in self.kept.suspects
            start = partial(self._start_job, place, item)
            self._admission.offer(Unit((ticket,), start, alone))

    def _start_job(self, place: int, item: Any) -> None:
        self._submitted = place
        super()._admit(item)

    def done(self, job: Job, value: Any, error: BaseException | None) -> None:
        """``job`` ended: it is kept, and its outcome told to all."""
        if error is None and job in self.active:
            try:
                data = self.kept.dumps(value)
            except Exception as broken:  # noqa: BLE001 -- the codec's, and the job's
                value, error = None, self.kept.refused(value, broken)
            else:
                trace_id = 0 if job.unit is None else job.unit.trace_id
                self.kept.succeeded(job.index, data, job.attempts or 1, trace_id)
        super().done(job, value, error)

    def deliver(self, job: Job, outcome: Outcome[Any]) -> None:
        """Keep an error, too."""
        if isinstance(outcome, Err):
            self.kept.failed(outcome.index, outcome)
        super().deliver(job, outcome)

    def hand_out(self, outcome: Outcome[Any]) -> None:
        """Give an outcome that no job of this run has."""
        place: Any = None  # what is told apart by the job alone has none here
        super().deliver(place, outcome)


class CheckpointedMap(_OfItems, MapRun):
    """`map` with a checkpoint."""

    async def results(self) -> list[Any]:
        """Run to the end; all is written then."""
        error: BaseException | None = None
        try:
            await self.prepare()
            found = await super().results()
        except BaseException as raised:
            error = raised
            raise
        finally:
            await self.finish()
            attach(error or self.fatal, self.unseen(), self.core.name)
        if self.fatal is not None:  # by the last commit
            raise self.fatal
        return found

    def unseen(self, first: BaseException | None = None) -> list[Sibling]:
        """Errors of which one comes out at most."""
        lost = [] if self.fatal is None else [Sibling("the checkpoint", self.fatal)]
        return [*super().unseen(first), *lost]


class CheckpointedStream(_OfItems, StreamRun):
    """`stream` with a checkpoint."""


class CheckpointedBatches(CheckpointedRun, BatchRun):
    """`stream_batches` with a checkpoint. What is kept is each item's outcome."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._encoded: dict[int, Any] = {}

    def _admit(self, item: list[Any]) -> None:
        if self.closing:
            self._lose(*item)
            return
        first = self._next
        self._next = first + len(item)
        to_run: list[tuple[Ticket, Any]] = []
        for place, each in enumerate(item, first):
            ticket = self._settled(place, each)
            if ticket is not None:
                to_run.append((ticket, each))
        for group, alone in self._groups(to_run):
            places = [ticket.place for ticket, _ in group]
            start = partial(self._start_batch, places, [each for _, each in group])
            tickets = [ticket for ticket, _ in group]
            self._admission.offer(Unit(tickets, start, alone))

    def _groups(
        self, to_run: Sequence[tuple[Ticket, Any]]
    ) -> Iterator[tuple[Sequence[tuple[Ticket, Any]], bool]]:
        """What becomes a batch each, and whether it is of suspects.

        Suspects were in flight together. They are tried together once more, and by
        halves after each crash in which they were alone.
        """
        suspects = {
            pair[0].place: suspect
            for pair in to_run
            if (suspect := self.kept.suspects.get(pair[0].item)) is not None
        }
        others = [pair for pair in to_run if pair[0].place not in suspects]
        if others:
            yield others, False
        suspected = [pair for pair in to_run if pair[0].place in suspects]
        while suspected:
            crashes = suspects[suspected[0][0].place].crashes
            size = max(1, self.weight >> crashes)
            yield suspected[:size], True
            suspected = suspected[size:]

    def done(self, job: Job, value: Any, error: BaseException | None) -> None:
        """``job`` ended: its values are written, and told to all."""
        if error is None and job in self.active:
            part: Part = job.item
            for place, each in zip(part.places, value, strict=True):
                try:
                    self._encoded[place] = self.kept.dumps(each)
                except Exception as broken:  # noqa: BLE001 -- the codec's
                    value, error = None, self.kept.refused(each, broken)
                    break
        super().done(job, value, error)

    def _emit(self, outcome: Outcome[Any]) -> None:
        place = outcome.index
        if isinstance(outcome, Ok):
            data = self._encoded.pop(place)
            attempts, trace_id = outcome.attempts, outcome.trace_id
            self.kept.succeeded(place, data, attempts, trace_id)
        else:
            self.kept.failed(place, outcome)
        super()._emit(outcome)

    def hand_out(self, outcome: Outcome[Any]) -> None:
        """Give an outcome that no job of this run has."""
        super()._emit(outcome)
