"""`batches`: items grouped by size and time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import Any, Final, Generic, TypeVar

from spanrun.policies.base import above, at_least

T = TypeVar("T")

_END: Final[Any] = object()


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
    at_least("batches", "size", size, 1)
    if max_wait is not None:
        above("batches", "max_wait", max_wait, 0)
    if not isinstance(items, AsyncIterable):
        return _batches(items, size)
    if max_wait is None:
        return _batches_async(items, size)
    return _batches_in_time(items, size, max_wait)


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    group: list[T] = []
    try:
        for item in items:
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


async def _batches_async(
    items: AsyncIterable[T], size: int
) -> AsyncIterator[list[T]]:
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
    loop = asyncio.get_running_loop()
    reader = _Reader(aiter(items))
    group: list[T] = []
    until = 0.0
    try:
        while True:
            left = max(0.0, until - loop.time()) if group else None
            try:
                item = await reader.next(left)
            except TimeoutError:
                if reader.failed:  # it is the source's own
                    raise
                yield group
                group = []
                continue
            if item is _END:
                break
            if not group:
                until = loop.time() + max_wait
            group.append(item)
            if len(group) == size:
                yield group
                group = []
        if group:
            yield group
    finally:
        await reader.close()


class _Reader(Generic[T]):
    """Reads an async source ahead by one item, in one task for all of them.

    A source may hold a timeout, a task group or context variables from item to
    item: those belong to the task in which it runs.
    """

    def __init__(self, items: AsyncIterator[T]) -> None:
        self.failed = False
