"""Where a task waits: the frames of its coroutine, and of what that awaits."""

from __future__ import annotations

import asyncio
import gc
import inspect
from collections.abc import Iterator
from pathlib import Path
from types import AsyncGeneratorType, CoroutineType, FrameType, GeneratorType
from typing import Any, Final

from spanrun.loop.place import as_text
from spanrun.runner.drive import drive_in_python
from spanrun.speed import Attempt, Drive

_DRIVE: Final = inspect.unwrap(drive_in_python).__code__
_OURS: Final = str(Path(__file__).parent.parent)
_FRAMES: Final = 64
_WITH_FRAMES: Final = (AsyncGeneratorType, CoroutineType, GeneratorType)


def frames(task: asyncio.Task[Any]) -> Iterator[FrameType]:
    """The frames in which ``task`` waits, from the outermost on.

    `asyncio.Task.get_stack` knows the outermost alone.
    """
    awaited: Any = task.get_coro()
    for _ in range(_FRAMES):
        while isinstance(awaited, Attempt | Drive):
            awaited = awaited.coroutine
        frame = _of(awaited, "frame")
        if frame is None:
            awaited = _inside(awaited)
            if awaited is None:
                return
            continue
        yield frame
        awaited = _of(awaited, "await") or _of(awaited, "yieldfrom")
        if frame.f_code is _DRIVE:
            awaited = frame.f_locals["coroutine"]


def stack(task: asyncio.Task[Any]) -> str:
    """Where ``task`` waits, as a traceback shows it, without frames of spanrun.

    Empty where there are no others.
    """
    found = [
        (frame, frame.f_lineno)
        for frame in frames(task)
        if not frame.f_code.co_filename.startswith(_OURS)
    ]
    return as_text(found).rstrip()


def _of(awaited: Any, what: str) -> Any:
    """An attribute that each kind of coroutine and generator has under its prefix."""
    for prefix in ("cr", "gi", "ag"):
        value = getattr(awaited, f"{prefix}_{what}", None)
        if value is not None:
            return value
    return None


def _inside(awaited: Any) -> Any:
    """The coroutine or generator that a step such as ``anext(…)`` goes on with.

    That one has no attribute for it.
    """
    for inner in gc.get_referents(awaited):
        if type(inner) in _WITH_FRAMES and _of(inner, "frame") is not None:
            return inner
    return None
