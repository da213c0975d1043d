"""`run`: from ordinary code into async code, wherever that is."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from spanrun.errors import ConfigurationError

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T], *, debug: bool | None = None) -> T:
    """Run ``main`` to its end and give its value, in a script or inside a loop.

    Without a running loop this is `asyncio.run`. Inside one, as in a notebook,
    ``main`` runs on a loop of its own in a thread of its own, while the calling
    thread waits. Context variables go in and, at the end, come back out.

    What belongs to the outer loop (a lock, a client, an open `Runner`) can't be
    used in ``main`` then; await it there instead.

    Raises:
        ConfigurationError: ``main`` is no coroutine.
        BaseException: What ``main`` raised, as it was.

    Example:
        >>> async def main() -> str:
        ...     return "done"
        >>> run(main())
        'done'
    """
    if not asyncio.iscoroutine(main):
        raise ConfigurationError(
            f"run({type(main).__name__}): must be a coroutine, as in run(main())"
        )
    context = contextvars.copy_context()
    try:
        if _loop_runs():
            return _Guest(main, context, debug).join()
        with asyncio.Runner(debug=debug) as runner:
            return runner.run(main, context=context)
    finally:
        _take_over(context)


def _loop_runs() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class _Guest:
    """A coroutine on a loop of its own, in a thread of its own."""

    def __init__(
        self,
        main: Coroutine[Any, Any, Any],
        context: contextvars.Context,
        debug: bool | None,  # noqa: FBT001 -- asyncio's own type
    ) -> None:
        self._main: Final = main
        self._context: Final = context
        self._debug: Final = debug
        self._value: Any = None
        self._error: BaseException | None = None
        self._runner: asyncio.Runner | None = None
        self._task: asyncio.Task[Any] | None = None
        self._thread: Final = threading.Thread(target=self._work, name="spanrun-run")

    def join(self) -> Any:
        """Wait for the end. Ctrl-C cancels the coroutine, and is raised after it."""
        self._thread.start()
        interrupted: KeyboardInterrupt | None = None
        while self._thread.is_alive():
            try:
                self._thread.join()
            except KeyboardInterrupt as error:
                interrupted = error
                self._cancel()
        if interrupted is not None:
            raise interrupted
        if self._error is not None:
            raise self._error
        return self._value

    def _work(self) -> None:
        try:
            with asyncio.Runner(debug=self._debug) as runner:
                self._runner = runner
                self._value = runner.run(self._enter(), context=self._context)
        except BaseException as error:  # noqa: BLE001 -- raised again in `join`
            self._error = error

    async def _enter(self) -> Any:
        self._task = asyncio.current_task()
        return await self._main

    def _cancel(self) -> None:
        if self._runner is not None and self._task is not None:
            self._runner.get_loop().call_soon_threadsafe(self._task.cancel)


def _take_over(context: contextvars.Context) -> None:
    """Give this thread the context variables as ``context`` left them."""
    missing = object()
    for variable, value in context.items():
        if variable.get(missing) is not value:
            variable.set(value)
