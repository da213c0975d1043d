"""`Listener`: what an event loop knows of its tasks, and nobody else hears."""

from __future__ import annotations

import asyncio
import inspect
import weakref
from pathlib import Path
from typing import Any, Final

_HOUSE: Final = str(Path(__file__).parents[1])
_ASYNCIO: Final = str(Path(asyncio.__file__).parent)


class Listener:
    """Notes where each task of the running loop was made, and what it complains of."""

    def __init__(self) -> None:
        self.unseen: Final[list[str]] = []
        self._places: Final = weakref.WeakKeyDictionary[Any, str]()
        loop = running_loop()
        self._loop: Final = loop
        self._factory: Any = None
        self._handler: Any = None
        if loop is not None:
            self._factory = loop.get_task_factory()
            self._handler = loop.get_exception_handler()
            loop.set_task_factory(self._make)
            loop.set_exception_handler(self._hear)

    def birth(self, task: asyncio.Task[Any]) -> str:
        """Where ``task`` was made, as the end of a sentence."""
        place = self._places.get(task)
        return f", made at {place}" if place else ""

    def stop(self) -> None:
        loop = self._loop
        if loop is None:
            return
        if loop.get_task_factory() == self._make:
            loop.set_task_factory(self._factory)
        if loop.get_exception_handler() == self._hear:
            loop.set_exception_handler(self._handler)

    def _hear(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self.unseen.append(f"{context['message']}: {error!r}")
        if self._handler is None:
            loop.default_exception_handler(context)
        else:
            self._handler(loop, context)

    def _make(
        self,
        loop: asyncio.AbstractEventLoop,
        coroutine: Any,
        **options: Any,
    ) -> asyncio.Task[Any]:
        if self._factory is None:
            task = asyncio.Task(coroutine, loop=loop, **options)
        else:
            task = self._factory(loop, coroutine, **options)
        self._places[task] = _place()
        return task


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The running event loop, if there is one."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _place() -> str:
    """The nearest line that is neither asyncio's nor spanrun's.

    Where the event loop called spanrun itself, it is the nearest of spanrun's.
    """
    frame = inspect.currentframe()
    nearest = ""
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith(_ASYNCIO):
            if frame.f_code.co_name == "_run":
                break
        elif name != __file__:
            place = f"{name}:{frame.f_lineno}"
            if not name.startswith(_HOUSE):
                return place
            nearest = nearest or place
        frame = frame.f_back
    return nearest
