"""How the tasks of jobs and sources are made, and coroutines that get none closed."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from typing import Any, Final, cast


class _FirstStep:
    """Takes one step when it is awaited: a tuple's iterator is the cheapest way."""

    def __await__(self) -> Generator[None, None, None]:
        return cast("Generator[None, None, None]", iter((None,)))


FIRST_STEP: Final = _FirstStep()
"""The step of a coroutine that `start` takes; the first thing in its ``try``."""


def start(
    loop: asyncio.AbstractEventLoop,
    coroutine: Coroutine[Any, Any, None],
    name: str,
    context: contextvars.Context | None = None,
) -> asyncio.Task[None]:
    """Make a task of ``coroutine``, which begins by awaiting `FIRST_STEP`.

    That step is taken here, so that a task which is cancelled before it ever
    ran is inside the coroutine's ``try`` nevertheless: none ends unseen.
    """
    coroutine.send(None)
    return loop.create_task(coroutine, name=name, context=context)


def task_maker(
    loop: asyncio.AbstractEventLoop,
) -> Callable[..., asyncio.Task[None]]:
    """``loop.create_task``, or what that does where it only makes a `Task`."""
    plain = type(loop).create_task is asyncio.BaseEventLoop.create_task
    if plain and loop.get_task_factory() is None and not loop.get_debug():
        return partial(asyncio.Task, loop=loop)
    return cast("Callable[..., asyncio.Task[None]]", loop.create_task)


def begun(coroutine: object) -> bool:
    """Whether ``coroutine`` is one that has run, or is running."""
    return (
        inspect.iscoroutine(coroutine)
        and inspect.getcoroutinestate(coroutine) != inspect.CORO_CREATED
    )


def discard(coroutine: object) -> None:
    """Close ``coroutine`` if it never ran, so that nobody warns of it."""
    if inspect.iscoroutine(coroutine) and not begun(coroutine):
        coroutine.close()
