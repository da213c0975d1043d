"""`batches`: items grouped by size and time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from itertools import islice
from operator import length_hint
from typing import Any, Final, TypeVar

from spanrun.checks import above, optional, source, whole

T = TypeVar("T")

_END: Final[Any] = object()
_LATE: Final[Any] = object()


def batches(
    items: Iterable[T] | AsyncIterable[T], size: int, max_wait: float | None = None
) -> Iterator[list[T]] | AsyncIterator[list[T]]:
    """Group ``items`` into lists of ``size``; the last one may be shorter.

    Where the source raises, the items that came before are given out first.

    Args:
        items: Gives an iterator for an iterable, an async one for an async one.
        size: Items in a full group.
        max_wait: Seconds after which a group that has begun is given out though
            it isn't full. Only an async source can keep one waiting.

    Raises:
        ConfigurationError: For ``size`` below 1 or ``max_wait`` not above 0.
    """
    size = whole("batches", "size", size, 1)
    max_wait = optional(above)("batches", "max_wait", max_wait, 0)
    source("batches", "items", items, "what is grouped")
    if not isinstance(items, AsyncIterable):
        return _Batches(items, size)
    if max_wait is None:
        return _batches_async(items, size)
    return _batches_in_time(items, size, max_wait)


class _Batches(Iterator[list[T]]):
    """Groups of what isn't async. Knows of its end when its source does."""

    def __init__(self, items: Iterable[T], size: int) -> None:
        self._items: Final = iter(items)
        self._size: Final = size
        self._error: Exception | None = None

    def __next__(self) -> list[T]:
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        group: list[T] = []
        try:
            group.extend(islice(self._items, self._size))
        except Exception as error:
            if not group:
                raise
            self._error = error
        if not group:
            raise StopIteration
        return group

    def __length_hint__(self) -> int:
        if self._error is not None:
            return 1
        return -(-length_hint(self._items, 1) // self._size)


async def _batches_async(items: AsyncIterable[T], size: int) -> AsyncIterator[list[T]]:
    iterator = aiter(items)
    group: list[T] = []
    try:
        try:
            async for item in iterator:
                group.append(item)
                if len(group) == size:
                    yield group
                    group = []
        except Exception:
            if group:
                yield group
            raise
        if group:
            yield group
    finally:
        await aclose(iterator)


async def _batches_in_time(
    items: AsyncIterable[T], size: int, max_wait: float
) -> AsyncIterator[list[T]]:
    now = asyncio.get_running_loop().time
    reader = _Reader(aiter(items))
    group: list[T] = []
    until = 0.0
    try:
        while True:
            try:
                item = await reader.next(until - now() if group else None)
            except Exception:
                if group:
                    yield group
                raise
            if item is _END:
                break
            if item is not _LATE:
                if not group:
                    until = now() + max_wait
                group.append(item)
                if len(group) < size:
                    continue
            yield group
            group = []
        if group:
            yield group
    finally:
        await reader.close()


class _Reader:
    """Reads an async source, one item when it is asked, in one task for them all.

    A source may hold a timeout, a task group or context variables from item to
    item: those belong to the task that it runs in.
    """

    def __init__(self, items: AsyncIterator[Any]) -> None:
        self._items: Final = items
        self._loop: Final = asyncio.get_running_loop()
        self._asked: Final = asyncio.Event()
        self._reading = False
        self._coming: asyncio.Future[Any] = self._loop.create_future()
        self._task: Final = self._loop.create_task(self._read())

    async def next(self, within: float | None) -> Any:
        """The next item, `_END`, or `_LATE` when ``within`` seconds are over."""
        if not self._reading:
            self._reading = True
            self._asked.set()
        timeout = None if within is None else max(0.0, within)
        await asyncio.wait([self._coming], timeout=timeout)
        if not self._coming.done():
            return _LATE
        self._reading = False
        coming, self._coming = self._coming, self._loop.create_future()
        return coming.result()

    async def close(self) -> None:
        """Cancel the source and close it, and raise what it raises then."""
        cancelled: asyncio.CancelledError | None = None
        while not self._task.done():
            self._task.cancel()
            try:
                await asyncio.wait([self._task])
            except asyncio.CancelledError as error:
                cancelled = error
        for end in (self._coming, self._task):
            if end.done() and not end.cancelled():
                end.result()
        if cancelled is not None:
            raise cancelled

    async def _read(self) -> None:
        try:
            while True:
                await self._asked.wait()
                self._asked.clear()
                try:
                    # Not `anext(…, _END)`, which crashes CPython where `__anext__`
                    # itself raises.
                    item = await anext(self._items)
                except StopAsyncIteration:
                    item = _END
                self._coming.set_result(item)
                if item is _END:
                    break
        except asyncio.CancelledError:
            self._coming.cancel()
            raise
        except StopIteration as error:  # no future takes it
            failed = RuntimeError("the source raised StopIteration")
            failed.__cause__ = error
            self._coming.set_exception(failed)
        except BaseException as error:  # noqa: BLE001 -- raised by who asked
            self._coming.set_exception(error)
        finally:
            await aclose(self._items)


async def aclose(items: AsyncIterator[Any]) -> None:
    """Close an async generator: left to the garbage collector it would run on."""
    close = getattr(items, "aclose", None)
    if close is not None:
        await close()
