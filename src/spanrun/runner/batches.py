"""`BatchRun`: jobs that take a list each, and a poisoned item found by halving."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from math import ceil, log2
from typing import Any, Final, cast

from opentelemetry import context as otel_context

from spanrun import checks, semconv
from spanrun.outcome import Err, Ok, Outcome
from spanrun.policies.overload import check_on
from spanrun.policies.retry import Retry
from spanrun.runner.blame import SplitOn, WrongAnswer, splits
from spanrun.runner.core import Core
from spanrun.runner.feed import held
from spanrun.runner.groups import batches
from spanrun.runner.job import Job
from spanrun.runner.map import ERRORS, Errors
from spanrun.runner.run import Call, Source
from spanrun.runner.stream import StreamRun
from spanrun.runner.tasks import discard
from spanrun.telemetry.units.batch import BatchUnit
from spanrun.telemetry.units.job import JobUnit
from spanrun.telemetry.units.recorder import Recorder


@dataclass(slots=True)
class Part:
    """Some items of a batch, and the places that they have in the run."""

    batch: _Batch
    places: Sequence[int]
    items: list[Any]


@dataclass(slots=True)
class _Batch:
    """A group on its way: one job at first, more when it had to be split.

    Attributes:
        index: Its place among the batches of the run.
        unit: Its span; None without telemetry.
        context: What its jobs begin with.
        calls: Jobs that were made of it.
        most: Jobs after which it is given up, if none of them succeeded.
        running: Jobs without an outcome yet.
        waiting: Parts to be tried, the next one last.
        succeeded: A job of it has.
        error: The first.
    """

    index: int
    unit: BatchUnit | None
    context: contextvars.Context
    most: int
    calls: int = 0
    running: int = 0
    waiting: list[Part] = field(default_factory=list[Part])
    succeeded: bool = False
    error: Exception | None = None


class BatchCall:
    """Calls a batch's function, and sees to it that each item has a value.

    Args:
        function: The user's.
        runner: Its runner's name.
    """

    def __init__(self, function: Call, runner: str) -> None:
        self._function: Final = function
        self._runner: Final = runner

    async def __call__(self, items: list[Any]) -> list[Any]:
        """Give the values of ``items``."""
        answer: Any = await self._function(items)
        found = type(answer).__name__
        if _is_sequence(answer):
            values = list(answer)
            if len(values) == len(items):
                return values
            found = str(len(values))
        raise WrongAnswer(
            f"{self._runner!r} gave {found} for {len(items)} items: a batch's function "
            "returns a sequence, such as a list, of one value for each item, in order"
        )


class BatchRun(StreamRun):
    """A stream whose jobs each take a list of items and give a list of values.

    ``run ⊃ batch ⊃ job``: a batch has one job, unless that fails by an error which
    may lie in its items (``split_on``). Then its halves are tried, until the poisoned
    items stand alone. An error that `Retry` names as transient is never split.

    One half is tried after the other, the first one down to its items, until a part
    succeeds: then the others follow at once. When ``2 · log2(items) + 2`` jobs have
    failed and none succeeded, all items are to blame, or none: the rest fails by the
    batch's first error.
    """

    links_jobs = False
    method = "stream_batches"

    def __init__(
        self,
        core: Core,
        call: Call,
        source: Source,
        *,
        size: int,
        max_wait: float | None,
        retry: Retry | None,
        split_on: SplitOn,
        ordered: bool,
        **options: Any,
    ) -> None:
        size = checks.whole(self.method, "size", size, 1)
        max_wait = checks.optional(checks.above)(self.method, "max_wait", max_wait, 0)
        if split_on is not None and split_on is not False:
            check_on(self.method, split_on, "split_on")
        checks.source(self.method, "items", source, "the jobs' items")
        unpulled: Iterator[Any] = iter(())
        items = cast("Iterable[Any]", source)
        if held(source):
            items = unpulled = iter(items)
        groups = batches(items, size, max_wait)
        super().__init__(core, call, groups, ordered=ordered, **options)
        self.info.batched = True
        self.info.items = dict.fromkeys(self.counts, 0)
        self.info.total_items = len(source) if isinstance(source, Sized) else None
        self._unpulled = unpulled
        self.batch_call: Final = BatchCall(self._call, core.name)
        self._retry: Final = retry
        self._split_on: Final[SplitOn] = split_on
        self.weight = size
        self._items_seen = 0
        self._batches_seen = 0

    def _admit(self, item: list[Any]) -> None:
        first = self._items_seen
        self._items_seen += len(item)
        self._start_batch(range(first, self._items_seen), item)

    def _start_batch(self, places: Sequence[int], items: list[Any]) -> None:
        context = self._inside.copy()
        unit = context.run(self._open_batch, items)
        batch = _Batch(
            self._batches_seen, unit, context, most=2 * ceil(log2(len(items))) + 2
        )
        self._batches_seen += 1
        self._start(Part(batch, places, items))

    def _open_batch(self, items: list[Any]) -> BatchUnit | None:
        core = self.core
        if core.recorder is None or core.metrics is None:
            return None
        attributes = {
            **core.attributes,
            semconv.SPANRUN_RUN_ID: self.info.id,
            semconv.SPANRUN_BATCH_INDEX: self._batches_seen,
            semconv.SPANRUN_BATCH_ITEMS: len(items),
        }
        unit = BatchUnit(
            core.recorder,
            core.metrics,
            f"batch {core.name}",
            attributes,
            items=len(items),
            linked=self._linked,
        )
        otel_context.attach(unit.context)
        return unit

    def _opener(self, recorder: Recorder) -> Callable[[Job], JobUnit]:
        opens = super()._opener(recorder)

        def open_unit(job: Job) -> JobUnit:
            """Open the unit of ``job``, which says of which batch it is."""
            part: Part = job.item
            unit = opens(job)
            told = {
                semconv.SPANRUN_BATCH_INDEX: part.batch.index,
                semconv.SPANRUN_JOB_ITEMS: len(part.items),
            }
            unit.told.set_attributes(told)
            return unit

        return open_unit

    def _start(self, part: Part) -> None:
        part.batch.calls += 1
        part.batch.running += 1
        self.launch(part, self._call_part, context=part.batch.context.copy())

    async def _call_part(self, part: Part) -> list[Any]:
        return await self.batch_call(part.items)

    def deliver(self, job: Job, outcome: Outcome[Any]) -> None:
        """Give each item its outcome, or try the halves of a failed part."""
        part: Part = job.item
        batch = part.batch
        batch.running -= 1
        if isinstance(outcome, Ok):
            batch.succeeded = True
            self._give_values(part, outcome)
        else:
            batch.error = batch.error or outcome.error
            if len(part.items) > 1 and self._splits(outcome):
                middle = len(part.items) // 2
                for half in (slice(middle, None), slice(middle)):
                    items, places = part.items[half], part.places[half]
                    batch.waiting.append(Part(batch, places, items))
            else:
                self._give_error(part, outcome, outcome.error)
            if self.closing or (not batch.succeeded and batch.calls >= batch.most):
                while batch.waiting:
                    self._give_error(batch.waiting.pop(), outcome, batch.error)
        self._go_on(batch, outcome)

    def _go_on(self, batch: _Batch, outcome: Outcome[Any]) -> None:
        """Try the next part, or all of them once one succeeded; or end the batch."""
        while batch.waiting and (batch.succeeded or not batch.running):
            self._start(batch.waiting.pop())
        if not batch.running and batch.unit is not None:
            cancelled = isinstance(outcome, Err) and outcome.outcome == "cancelled"
            batch.unit.end(batch.error, failed=not cancelled)

    def _give_values(self, part: Part, done: Ok[Any]) -> None:
        for index, value in zip(part.places, done.value, strict=True):
            self._emit(
                Ok(index, value, done.timings, done.attempts, None, done.trace_id)
            )

    def _give_error(self, part: Part, failed: Err, error: Exception) -> None:
        self.info.items[failed.outcome] += len(part.items)
        for item in part.items:
            discard(item)
        for index in part.places:
            self._emit(
                Err(
                    index,
                    error,
                    failed.timings,
                    failed.attempts,
                    None,
                    failed.trace_id,
                    failed.outcome,
                )
            )

    def _ok(self, job: Job, value: Any) -> Ok[Any]:
        # Here, so that the observers, who hear of the job first, see its items.
        self.info.items["ok"] += len(value)
        return super()._ok(job, value)

    def _splits(self, outcome: Err) -> bool:
        """Whether the halves are to be tried. What the user's predicate raises: no."""
        error = outcome.error
        if outcome.outcome in ("cancelled", "skipped"):
            return False
        try:
            transient = self._retry is not None and self._retry.wants(error)
            return not transient and splits(self._split_on, error)
        except Exception:  # noqa: BLE001 -- `error` is its own, or stands
            return False


def batches_in(where: str, items: Source, size: int, errors: Errors) -> int | None:
    """Check these of what ``where`` was given; how many batches there will be."""
    checks.one_of(where, "errors", errors, ERRORS)
    size = checks.whole(where, "size", size, 1)
    if not isinstance(items, Sequence):
        return None
    return -(-len(items) // size)


def _is_sequence(answer: object) -> bool:
    """Whether it has an order of its own; also arrays, which are no `Sequence`."""
    return (
        hasattr(answer, "__len__")
        and hasattr(answer, "__getitem__")
        and not isinstance(answer, str | bytes | bytearray | Mapping)
    )
