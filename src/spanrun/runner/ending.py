"""What is left on a loop when its main coroutine is over: tasks and generators."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

from spanrun.runner.cancelled import AGAIN, FIRST
from spanrun.runner.opened import abandon, stop
from spanrun.runner.signals import LAST, Program
from spanrun.runner.stack import stack
from spanrun.telemetry import setup
from spanrun.telemetry.log import Log
from spanrun.telemetry.observe import RunEvent

_log: Final = Log(__name__)

_MOST: Final = 10
"""Tasks that are named."""
_PASSES: Final = 10
"""A task that is cancelled may begin another one, but not for ever."""

_Tasks = set[asyncio.Task[Any]]


def end_tasks(loop: asyncio.AbstractEventLoop, program: Program) -> bool:
    """Cancel the tasks that are left on ``loop``, and wait for them, but not for ever.

    `asyncio.Runner.close` waits for all of them, however long they take; so those that
    don't end within the patience of ``program`` are named, and hidden from it.

    Returns:
        Whether all have ended.
    """
    left: _Tasks = set()
    try:
        for _ in range(_PASSES):
            new = asyncio.all_tasks(loop) - left
            if not new:
                break
            left |= new
            loop.run_until_complete(_end(new, program))
    finally:
        ended = _abandon(loop, left)
    return ended


def end_generators(loop: asyncio.AbstractEventLoop, program: Program) -> None:
    """Close the asynchronous generators that are left on ``loop``, as `end_tasks`."""
    closing = loop.create_task(loop.shutdown_asyncgens(), name="closing generators")
    try:
        loop.run_until_complete(asyncio.wait({closing}, timeout=program.patience))
    finally:
        _abandon(loop, {closing})


async def _end(tasks: _Tasks, program: Program) -> None:
    waiting = tasks
    for task in tasks:
        task.cancel()
    loop = asyncio.get_running_loop()
    end = loop.time() + program.patience
    pause = FIRST
    while waiting and loop.time() < end:
        timeout = min(pause, end - loop.time())
        _, waiting = await asyncio.wait(waiting, timeout=timeout)
        if waiting and loop.time() < end:
            _say(waiting, "it is waited for")
            pause = AGAIN
    if waiting:
        # Whoever waits for a job that doesn't end can end.
        stop(loop, "run")
        abandon(loop)
        await asyncio.wait(waiting, timeout=LAST)
    for task in tasks - waiting:
        _report(loop, task)


def _report(loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any]) -> None:
    """As `asyncio.Runner` does for a task that fails while it is cancelled."""
    error = None if task.cancelled() else task.exception()
    if error is not None:
        text = "unhandled exception during run() shutdown"
        told = {"message": text, "exception": error, "task": task}
        loop.call_exception_handler(told)


def _abandon(loop: asyncio.AbstractEventLoop, tasks: _Tasks) -> bool:
    """Give up what hasn't ended of ``tasks`` and of what they began."""
    left = [task for task in tasks | asyncio.all_tasks(loop) if not task.done()]
    _say(left, "it is abandoned, as the program is to end")
    for task in left:
        # There is no public way to do either.
        hide: Callable[[object], None] = getattr(asyncio.tasks, "_unregister_task")  # noqa: B009
        hide(task)
        setattr(task, "_log_destroy_pending", False)  # noqa: B010 -- it was named
    return not left


def _say(tasks: Iterable[asyncio.Task[Any]], follows: str) -> None:
    left = list(tasks)
    for task in left[:_MOST]:
        name, where = task.get_name(), stack(task)
        _log.warning(
            "task %s was cancelled and has not ended: %s",
            *(repr(name), follows),
            stack=where,
        )
        value = {"task": name}
        event = RunEvent(time.time_ns(), "stuck", None, None, value, where or None)
        setup.observers().happened(event)
    if len(left) > _MOST:
        _log.warning("%d more tasks have not ended: %s", len(left) - _MOST, follows)
