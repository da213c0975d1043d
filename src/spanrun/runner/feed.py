"""`FedRun`: a run that pulls its items from a source, when there is room."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sized
from contextlib import suppress
from contextvars import ContextVar, copy_context
from functools import partial
from operator import length_hint
from types import CoroutineType
from typing import Any, Final, cast

from spanrun import checks
from spanrun.errors import ShuttingDown
from spanrun.loop.watchdog import guilty_in
from spanrun.runner.checks import rank, run_options
from spanrun.runner.core import Core
from spanrun.runner.groups import aclose
from spanrun.runner.run import Call, Run, Source, Trace
from spanrun.runner.siblings import Sibling
from spanrun.runner.tasks import FIRST_STEP, discard, start

_END: Final = object()
_LEAST_WAIT: Final = 0.001
"""Seconds for an item from which on its source is waited for."""
_PLAIN: Final[tuple[type, ...]] = (type(iter([])), type(iter(())), type(iter(range(0))))
_HELD: Final[frozenset[type]] = frozenset(
    (list, tuple, set, frozenset, deque, type(dict[int, int]().values()))
)
_COROUTINE: Final[type] = CoroutineType

Key = Callable[[Any], Any]
Priority = Callable[[Any], float]


_feeding: Final[ContextVar[FedRun | None]] = ContextVar("spanrun-feeding", default=None)
"""Set in the source of a run: which one that is."""


def held(source: object) -> bool:
    """Whether all items of ``source`` exist before they are pulled.

    Not so of an iterator, which may make them, and with which its owner may go on.
    """
    return type(source) in _HELD


class FedRun(Run):
    """Pulls the next item only when the window has room for it.

    The window is the concurrency limit, twice that where the jobs have
    priorities: then as many may wait for a slot as run. A job that waits for
    another attempt holds no slot, so one more may take its place, but never
    more than the limit again: a dead service doesn't fill the memory with
    waiting jobs.

    Once it has begun, coroutines among its items are the run's own: what never ran in
    the end is closed, pulled or not. Which ones were pulled is a matter of time, so
    nobody could use the others either.

    Attributes:
        source_error: What the source raised. No more is pulled from it.
        close_error: What it raised when it was closed.
        unread: Outcomes that the consumer has not taken yet; they fill the
            window too, up to the limit again: that is the back-pressure.
        weight: Outcomes that one job makes.
        feeders: The open runs whose outcomes are this one's items.
        method: The runner's method that it is the run of, for errors.
    """

    method = "run"

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
        progress: bool = False,
    ) -> None:
        where = self.method
        checks.function(where, "function", call)
        checks.source(where, "items", source, "the jobs' items")
        known = run_options(
            where,
            total=total,
            trace=trace,
            key=key,
            priority=priority,
            progress=progress,
        )
        if known is None and isinstance(source, Sized):
            known = len(source)
        super().__init__(core, total=known, trace=trace, progress=progress)
        self._call: Final[Call] = call
        self._key: Final = key
        self._priority: Final = priority
        self._exhausted = False
        self._refilling = self._again = False
        self._fed = False
        self._lost = False
        self._backing_off = 0
        self.unread = 0
        self.weight = 1
        self._held_since: float | None = None
        self.feeders: Final[set[FedRun]] = set()
        self._inside.run(_feeding.set, None)
        self._feeds: FedRun | None = None
        self.source_error: BaseException | None = None
        self.close_error: BaseException | None = None
        self._items: Iterator[Any] | None = None
        self._unpulled: Iterator[Any] = iter(())
        self._read: Callable[[], Any] | None = None
        self._async_items: AsyncIterator[Any] | None = None
        self._pump: asyncio.Task[None] | None = None
        self._room: asyncio.Event | None = None
        if hasattr(source, "__aiter__"):
            self._async_items = aiter(cast("Any", source))
        else:
            self._items = iter(cast("Any", source))
            self._read = self._reader(self._items)
            if held(source):
                self._unpulled = self._items

    def _reader(self, items: Iterator[Any]) -> Callable[[], Any]:
        """How to get the next item: in the caller's context.

        A source's own spans and variables must not mix with those of whichever
        job has just ended. Python's own iterators have none.
        """
        if type(items) in _PLAIN:
            return partial(next, items, _END)
        return partial(self._outside.run, next, items, _END)

    async def prepare(self) -> None:
        """Do what must be done before it begins, and may take a while."""

    async def finish(self) -> None:
        """Do what must be done once it is over, and may take a while."""

    def begin(self) -> None:
        """Open the run and admit the first jobs."""
        self.open()
        self._feeds = _feeding.get()
        if self._feeds is not None:
            self._feeds.feeders.add(self)
        if self._async_items is not None:
            self._room = asyncio.Event()
            context = copy_context()
            context.run(_feeding.set, self)
            self._pump = start(
                self.loop,
                self._pull_async(self._async_items),
                f"spanrun feed {self.core.name}",
                context,
            )
        self.refill()

    @property
    def over(self) -> bool:
        """Whether nothing of the run is left to wait for."""
        return not self.active and (self._fed or (self.closing and self._pump is None))

    @guilty_in("self")
    def refill(self) -> None:
        """Admit what there is room for now."""
        read = self._read
        if read is None:
            if self._room is not None and self._space() > 0:
                self._room.set()
            return
        if self._refilling:  # by a job that ended while it was admitted
            self._again = True
            return
        self._refilling = self._again = True
        item: Any = None
        try:
            while self._again:
                self._again = False
                room = self._space()
                while room > 0:
                    room -= 1
                    item = read()
                    if item is _END:
                        self._ended()
                        break
                    self._admit(item)
        except BaseException as error:  # noqa: BLE001 -- raised by the consumer
            discard(item)
            self._source_failed(error)
        finally:
            self._refilling = False

    def stop(self, by: Any) -> None:
        """Admit no more jobs, and cancel those that run."""
        self._hold(held=False)
        super().stop(by)
        self._stop_feeding()

    def close(self, error: BaseException | None = None) -> None:
        """End: it feeds nobody any more."""
        self._hold(held=False)
        super().close(error)
        if self._feeds is not None:
            self._feeds.feeders.discard(self)
        with suppress(RuntimeError):  # a set that was changed meanwhile
            for item in self._unpulled:
                if type(item) is _COROUTINE:  # 20 ns: there may be a million items
                    discard(item)

    def drain(self) -> bool:
        """Admit no more jobs, and let those that run end; its owner is told.

        Where other runs feed this one, those are drained, and what they still
        give goes through here as well: it ends when they have ended.
        """
        if self.feeders:
            return True
        self._hold(held=False)
        super().drain()
        self._stop_feeding()
        self.ended()
        self.settle()
        return True

    def cut_short(self) -> ShuttingDown | None:
        """The error of a run that ended before its source did."""
        # A list's iterator knows its end without being asked for one more item.
        if not self._lost and (self._exhausted or not length_hint(self._items, 1)):
            return None
        return ShuttingDown(
            f"Runner {self.core.name!r} stopped after {self._submitted} items, as it "
            "is closing or the program is to end; the rest was not run"
        )

    def _stop_feeding(self) -> None:
        pump = self._pump
        if pump is not None and not self._fed and pump is not asyncio.current_task():
            abandon = self._abandon_source
            self.cancels.cancel(pump, None, "run", abandon=abandon, ends=True)

    def _abandon_source(self) -> None:
        """It was cancelled, and has not ended: the run ends without it."""
        self._fed = True
        self.ended()
        self.settle()

    def ended(self) -> None:
        """Called when the source has no more items, or has failed."""

    def _space(self) -> int:
        """How many jobs there is room for now; not above 0 when there is none."""
        if self.closing or self._exhausted:
            return 0
        limit = self.core.slots.limit
        active = len(self.active)
        if self._priority is not None:
            limit *= 2  # those who wait for a slot are who can be put in order
        if not self._backing_off and not self.unread:
            return limit - active
        room = limit + min(self._backing_off, limit) - active
        left = room + limit - -(-self.unread // self.weight)
        if left < 1 or self._held_since is not None:
            self._hold(held=left < 1 <= room)
        return min(room, left)

    def _hold(self, *, held: bool) -> None:
        """Nothing is admitted as the consumer is behind; or something again."""
        if not held and self._held_since is not None:
            self.info.consumer_wait += self.now() - self._held_since
            self._held_since = None
        elif held and self._held_since is None:
            self._held_since = self.now()

    def _admit(self, item: Any) -> None:
        key = None if self._key is None else self._key(item)
        priority: float = 0
        if self._priority is not None:
            priority = self._priority(item)
            if type(priority) is not int:
                priority = rank(self.core.name, priority)
        self.launch(item, self._call, key, priority)

    def backing_off(self, change: int) -> None:
        """One job more, or less, waits for another attempt."""
        super().backing_off(change)
        self._backing_off += change
        self.refill()

    def _ended(self) -> None:
        self._hold(held=False)
        self._exhausted = True
        self._fed = self._fed or self._pump is None  # else once the pump has ended
        self.ended()

    def _source_failed(self, error: BaseException) -> None:
        if isinstance(error, StopIteration | StopAsyncIteration):
            # As Python does in a generator (PEP 479): it would pass for the end.
            raised = type(error).__name__
            text = f"the source of {self.method}, or what is called for it, raised "
            failed = RuntimeError(f"{text}{raised}")
            failed.__cause__ = error
            error = failed
        self.source_error = error
        self._ended()

    def unseen(self, first: BaseException | None = None) -> list[Sibling]:
        """Errors of which one comes out at most; ``first`` is a job's."""
        own = (
            ("another job", first),
            ("the source", self.source_error),
            ("the end of the source", self.close_error),
        )
        seen = [Sibling(who, error) for who, error in own if error is not None]
        return [*seen, *self.hidden]

    @guilty_in("self")
    async def _pull_async(self, items: AsyncIterator[Any]) -> None:
        try:
            await FIRST_STEP
            await self._admit_all(items)
        except asyncio.CancelledError as error:
            if not self.closing:
                self._source_failed(error)
        except BaseException as error:  # noqa: BLE001 -- raised by the consumer
            if self.closing:
                self.close_error = error
            else:
                self._source_failed(error)
        finally:
            await self._end_source(items)

    async def _admit_all(self, items: AsyncIterator[Any]) -> None:
        room = self._room
        assert room is not None  # noqa: S101 -- made beside the pump
        now, since = self.now, self.now()
        while not self.closing:
            if self._space() < 1:
                room.clear()
                await room.wait()
                since = now()
                continue
            try:
                item = await anext(items)
            except StopAsyncIteration:
                self._ended()
                return
            finally:
                # One reading an item: what is admitted takes far less than a wait.
                before, since = since, now()
                if since - before >= _LEAST_WAIT:
                    self.info.source_wait += since - before
            # Closing meanwhile: the source has swallowed its cancellation.
            if self.closing:
                discard(item)
                return
            try:
                self._admit(item)
            except BaseException:
                discard(item)
                raise

    async def _end_source(self, items: AsyncIterator[Any]) -> None:
        try:
            await aclose(items)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 -- raised by the consumer
            self.close_error = error
        finally:
            self._fed = True
            self.ended()
            self.settle()
