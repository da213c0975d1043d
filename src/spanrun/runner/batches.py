"""Batches: items grouped by size and time, and a poisoned item found by halving."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar, cast

from opentelemetry import context as otel_context

from spanrun import semconv
from spanrun.errors import Rejected
from spanrun.outcome import Err, Ok, Outcome
from spanrun.policies.base import above, at_least
from spanrun.policies.retry import Retry
from spanrun.runner.core import Core
from spanrun.runner.job import Job
from spanrun.runner.run import Call, Source
from spanrun.runner.stream import StreamRun
from spanrun.telemetry.unit import BatchUnit

T = TypeVar("T")


def batches(
    items: Iterable[T] | AsyncIterable[T], size: int, max_wait: float | None = None
) -> Iterator[list[T]] | AsyncIterator[list[T]]:
    """Group ``items`` into lists of ``size``; the last one may be shorter.

    Args:
        items: Gives an iterator for an iterable, an async one for an async one.
        size: Items in a full group.
        max_wait: Seconds after which a group that has begun is given out though
            it isn't full. Only an async source can keep one waiting.

    Raises:
        ConfigurationError: For ``size`` below 1 or ``max_wait`` not above 0.
    """
    at_least("batches", "size", size, 1)
    if max_wait is not None:
        above("batches", "max_wait", max_wait, 0)
    if isinstance(items, AsyncIterable):
        return _batches_async(items, size, max_wait)
    return _batches(items, size)


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    group: list[T] = []
    for item in items:
        group.append(item)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


async def _batches_async(
    items: AsyncIterable[T], size: int, max_wait: float | None
) -> AsyncIterator[list[T]]:
    iterator = aiter(items)
    loop = asyncio.get_running_loop()
    group: list[T] = []
    until = 0.0
    coming: asyncio.Future[T] | None = None
    try:
        while True:
            if coming is None:
                coming = asyncio.ensure_future(_next(iterator))
            left = max(0.0, until - loop.time()) if group and max_wait else None
            await asyncio.wait([coming], timeout=left)
            if not coming.done():
                yield group
                group = []
                continue
            try:
                item = coming.result()
            except StopAsyncIteration:
                break
            finally:
                coming = None
            if not group and max_wait:
                until = loop.time() + max_wait
            group.append(item)
            if len(group) == size:
                yield group
                group = []
        if group:
            yield group
    finally:
        if coming is not None:
            coming.cancel()
            await asyncio.wait([coming])
        close = getattr(iterator, "aclose", None)
        if close is not None:
            await close()


async def _next(iterator: AsyncIterator[T]) -> T:
    return await anext(iterator)


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
        )
        otel_context.attach(unit.context)
        return unit

    def _start(self, part: _Part) -> None:
        part.batch.pending += 1
        job = self.submit(part, self._call_part)
        self.admit(job, part.batch.context.copy())

    async def _call_part(self, part: _Part) -> list[Any]:
        values: Any = await self._call(part.items)
        if not hasattr(values, "__len__") or len(values) != len(part.items):
            found = len(values) if hasattr(values, "__len__") else type(values).__name__
            raise ValueError(
                f"{self.core.name!r} gave {found} for {len(part.items)} items: a "
                "batch's function returns one value for each item, in order"
            )
        return cast("list[Any]", values)

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
        transient = self._retry is not None and self._retry.wants(error)
        return outcome.outcome == "failed" and not (
            transient or isinstance(error, Rejected | TimeoutError)
        )
