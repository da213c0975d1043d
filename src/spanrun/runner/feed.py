"""`FedRun`: a run that pulls its items from a source, when there is room."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final, cast

from spanrun.errors import ConfigurationError
from spanrun.runner.core import Core
from spanrun.runner.run import Call, Run, Source, Trace, first_step, start

_END: Final = object()

Key = Callable[[Any], Any]
Priority = Callable[[Any], int]


class FedRun(Run):
    """Pulls the next item only when the window has room for it.

    The window is the concurrency limit. A job that waits for another attempt
    holds no slot, so one more may take its place, but never more than the
    limit again: a dead service doesn't fill the memory with waiting jobs.

    Attributes:
        source_error: What the source raised. No more is pulled from it.
        unread: Outcomes that the consumer has not taken yet; they fill the
            window too, up to the limit again: that is the back-pressure.
        weight: Outcomes that one job makes.
    """

    def __init__(
        self,
        core: Core,
        call: Call,
        source: Source,
        *,
        total: int | None = None,
        trace: Trace = "auto",
        key: Key | None = None,
        priority: Priority | None = None,
    ) -> None:
        known = len(source) if total is None and hasattr(source, "__len__") else total
        super().__init__(core, total=known, trace=trace)
        self._call: Final[Call] = call
        self._key: Final = key
        self._priority: Final = priority
        self._exhausted = False
        self._fed = False
        self._backing_off = 0
        self.unread = 0
        self.weight = 1
        self.source_error: BaseException | None = None
        self._items: Iterator[Any] | None = None
        self._async_items: AsyncIterator[Any] | None = None
        self._pump: asyncio.Task[None] | None = None
        self._room: asyncio.Event | None = None
        if hasattr(source, "__aiter__"):
            self._async_items = aiter(cast("Any", source))
        elif hasattr(source, "__iter__"):
            self._items = iter(cast("Any", source))
        else:
            raise ConfigurationError(
                f"items={type(source).__name__}: must be an iterable or an async "
                "iterable of the jobs' items"
            )

    def begin(self) -> None:
        """Open the run and admit the first jobs."""
        self.open()
        if self._async_items is not None:
            self._room = asyncio.Event()
            self._pump = start(
                self._pull_async(self._async_items), f"spanrun feed {self.core.name}"
            )
        self.refill()

    @property
    def over(self) -> bool:
        """Whether nothing of the run is left to wait for."""
        return not self.active and (
            self._fed or (self.closing and self._items is not None)
        )

    def refill(self) -> None:
        """Admit what there is room for now."""
        if self._items is not None:
            while self._has_room():
                # In the caller's context: a source's own spans and variables
                # must not mix with those of whichever job has just ended.
                try:
                    item = self._outside.run(next, self._items, _END)
                except BaseException as error:  # noqa: BLE001 -- raised by the consumer
                    self._fed = True
                    self._source_failed(error)
                    return
                if item is _END:
                    self._fed = True
                    self._ended()
                    return
                self._admit(item)
        elif self._room is not None and self._has_room():
            self._room.set()

    def stop(self, by: Any) -> None:
        """Admit no more jobs, and cancel those that run."""
        super().stop(by)
        pump = self._pump
        if pump is not None and not self._fed and pump is not asyncio.current_task():
            pump.cancel()

    def ended(self) -> None:
        """Called when the source has no more items, or has failed."""

    def _has_room(self) -> bool:
        if self.closing or self._exhausted:
            return False
        limit = self.core.slots.limit
        waiting = min(self._backing_off, limit)
        active = len(self.active)
        kept = active + self.unread / self.weight
        return active < limit + waiting and kept < 2 * limit + waiting

    def _admit(self, item: Any) -> None:
        job = self.submit(item, self._call)
        if self._key is not None:
            job.key = self._key(item)
        if self._priority is not None:
            job.priority = self._priority(item)
        self.admit(job)

    def backing_off(self, change: int) -> None:
        """One job more, or less, waits for another attempt."""
        super().backing_off(change)
        self._backing_off += change
        self.refill()

    def _ended(self) -> None:
        self._exhausted = True
        self.ended()

    def _source_failed(self, error: BaseException) -> None:
        self.source_error = error
        self._ended()

    async def _pull_async(self, items: AsyncIterator[Any]) -> None:
        room = self._room
        assert room is not None  # noqa: S101 -- made beside this task
        try:
            await first_step()
            while not self.closing:
                if not self._has_room():
                    room.clear()
                    await room.wait()
                    continue
                self._admit(await anext(items))
        except StopAsyncIteration:
            self._ended()
        except asyncio.CancelledError as error:
            if not self.closing:
                self._source_failed(error)
        except BaseException as error:  # noqa: BLE001 -- raised by the consumer
            self._source_failed(error)
        finally:
            try:
                await _aclose(items)
            finally:
                self._exhausted = self._fed = True
                self.ended()
                self.settle()


async def _aclose(items: AsyncIterator[Any]) -> None:
    """Close an async generator: left to the garbage collector it would run on."""
    close = getattr(items, "aclose", None)
    if close is not None:
        await close()
