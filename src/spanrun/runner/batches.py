"""`BatchRun`: jobs that take a list each, and a poisoned item found by halving."""

from __future__ import annotations

import contextvars
from collections.abc import Iterable
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Final, cast

from opentelemetry import context as otel_context

from spanrun import semconv
from spanrun.errors import Rejected, ServiceError
from spanrun.outcome import Err, Ok, Outcome
from spanrun.policies.retry import Retry
from spanrun.runner.core import Core
from spanrun.runner.groups import batches
from spanrun.runner.job import Job
from spanrun.runner.map import Errors
from spanrun.runner.run import Call, Source
from spanrun.runner.stream import Stream, StreamRun
from spanrun.telemetry.unit import BatchUnit


@dataclass(slots=True)
class _Batch:
    """A group on its way: one job at first, more when it had to be halved."""

    unit: BatchUnit | None
    context: contextvars.Context
    pending: int = 0
    error: Exception | None = field(default=None)


@dataclass(slots=True)
class _Part:
    """The items of one job of a batch, and the place of the first in the run."""

    batch: _Batch
    first: int
    items: list[Any]


class BatchRun(StreamRun):
    """A stream whose jobs each take a list of items and give a list of values.

    ``run ⊃ batch ⊃ job``: a batch has one job, unless that fails by an error
    which says something of its items. Then its halves are tried, until the
    poisoned items stand alone. An error that `Retry` names as transient, a
    refusal and a timeout say nothing of the items, and are not halved.
    """

    links_jobs = False

    def __init__(
        self,
        core: Core,
        call: Call,
        source: Source,
        *,
        size: int,
        max_wait: float | None,
        retry: Retry | None,
        ordered: bool,
        **options: Any,
    ) -> None:
        groups = batches(cast("Iterable[Any]", source), size, max_wait)
        super().__init__(core, call, groups, ordered=ordered, **options)
        self._retry: Final = retry
        self.weight = size
        self._items_seen = 0
        self._batches_seen = 0

    def _admit(self, item: list[Any]) -> None:
        context = self._inside.copy()
        unit = context.run(self._open_batch, item)
        batch = _Batch(unit, context)
        part = _Part(batch, self._items_seen, item)
        self._items_seen += len(item)
        self._start(part)

    def _open_batch(self, items: list[Any]) -> BatchUnit | None:
        core = self.core
        if core.recorder is None or core.metrics is None:
            return None
        attributes = {
            **core.attributes,
            semconv.SPANRUN_BATCH_INDEX: self._batches_seen,
            semconv.SPANRUN_BATCH_ITEMS: len(items),
        }
        self._batches_seen += 1
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

    def _start(self, part: _Part) -> None:
        part.batch.pending += 1
        self.launch(part, self._call_part, context=part.batch.context.copy())

    async def _call_part(self, part: _Part) -> list[Any]:
        answer: Any = await self._call(part.items)
        found: object = type(answer).__name__
        if hasattr(answer, "__len__"):
            values = list(answer)
            found = len(values)
            if found == len(part.items):
                return values
        raise ValueError(
            f"{self.core.name!r} gave {found} for {len(part.items)} items: a "
            "batch's function returns one value for each item, in order"
        )

    def deliver(self, job: Job, outcome: Outcome[Any]) -> None:
        """Give each item its outcome, or try the halves of a failed part."""
        part: _Part = job.item
        batch = part.batch
        if isinstance(outcome, Ok):
            for offset, value in enumerate(outcome.value):
                self._emit(
                    Ok(
                        part.first + offset,
                        value,
                        outcome.timings,
                        outcome.attempts,
                        None,
                        outcome.trace_id,
                    )
                )
        elif len(part.items) > 1 and self._halves(outcome) and not self.closing:
            middle = len(part.items) // 2
            self._start(_Part(batch, part.first, part.items[:middle]))
            self._start(_Part(batch, part.first + middle, part.items[middle:]))
        else:
            batch.error = outcome.error
            for offset in range(len(part.items)):
                self._emit(
                    Err(
                        part.first + offset,
                        outcome.error,
                        outcome.timings,
                        outcome.attempts,
                        None,
                        outcome.trace_id,
                        outcome.outcome,
                    )
                )
        batch.pending -= 1
        if not batch.pending and batch.unit is not None:
            cancelled = isinstance(outcome, Err) and outcome.outcome == "cancelled"
            batch.unit.end(batch.error, failed=not cancelled)

    def _halves(self, outcome: Err) -> bool:
        error = outcome.error
        if isinstance(error, ServiceError) and not error.blames_request:
            return False
        transient = self._retry is not None and _wants(self._retry, error)
        return outcome.outcome == "failed" and not (
            transient or isinstance(error, Rejected | TimeoutError)
        )


async def collected(outcomes: Stream[Any], errors: Errors) -> list[Any]:
    """All outcomes in the items' order or, with ``errors="raise"``, their values.

    Raises:
        Exception: Then, the first error.
    """
    results: list[Any] = []
    async with outcomes:
        async for outcome in outcomes:
            if errors == "raise" and isinstance(outcome, Err):
                raise outcome.error
            results.append(outcome)
    if errors == "collect":
        return results
    results.sort(key=attrgetter("index"))
    return [outcome.value for outcome in results]


def _wants(retry: Retry, error: Exception) -> bool:
    try:
        return retry.wants(error)
    except Exception:  # noqa: BLE001 -- the user's predicate: `error` is its own
        return True
