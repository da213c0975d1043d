"""How the tasks of jobs and sources are made, and coroutines that get none closed."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import Callable, Coroutine
from typing import Any, Final

from spanrun.speed import FirstStep

FIRST_STEP: Final = FirstStep()
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
    """Return what makes a task by the arguments of `asyncio.Task`.

    It is that class where ``loop.create_task`` does no more than to make one.
    """
    plain = type(loop).create_task is asyncio.BaseEventLoop.create_task
    if plain and loop.get_task_factory() is None and not loop.get_debug():
        return asyncio.Task
    return _create_task


def _create_task(
    coroutine: Coroutine[Any, Any, None],
    *,
    loop: asyncio.AbstractEventLoop,
    **named: Any,
) -> asyncio.Task[None]:
    return loop.create_task(coroutine, **named)


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
