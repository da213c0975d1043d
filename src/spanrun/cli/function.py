"""The function that ``spanrun run`` is given by its name."""

from __future__ import annotations

import asyncio
import functools
import importlib
import inspect
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from spanrun.cli import console
from spanrun.cli.exits import Exit, fail
from spanrun.text import traceback_of

Function: TypeAlias = Callable[[Any], Awaitable[Any]]


def imported(name: str) -> Function:
    """The function of that name, as one that is awaited."""
    to_do = "Name it as package.module:function; the current folder is importable."
    module, colon, path = name.partition(":")
    if not (module and colon and path):
        fail(Exit.USAGE, f"{name!r} is no function's name", to_do)
    sys.path.insert(0, os.getcwd())  # noqa: PTH109 -- a text, as sys.path has them
    try:
        found: Any = importlib.import_module(module)
    except Exception as error:  # noqa: BLE001 -- the user's own module
        if not isinstance(error, ModuleNotFoundError) or error.name != module:
            console.say(traceback_of(error))
        what = f"{module!r} can't be imported: {type(error).__name__}: {error}"
        fail(Exit.USAGE, what, to_do)
    for part in path.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        fail(Exit.USAGE, f"{module!r} has no function {path!r}", to_do)
    if inspect.isgeneratorfunction(found) or inspect.isasyncgenfunction(found):
        fail(Exit.USAGE, f"{name!r} is a generator", "Name one that returns a result.")
    return _awaited(found)


def _awaited(function: Callable[[Any], Any]) -> Function:
    """``function`` where it is async, else the same in a thread."""
    its_call = getattr(function, "__call__", None)  # noqa: B004 -- of an object
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(its_call):
        return function

    return _InThread(function)


class _InThread:
    """``function`` in a thread. An object, as that can be sent to a worker."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        functools.update_wrapper(self, function)
        self._function = function

    async def __call__(self, item: Any) -> Any:
        result = await asyncio.to_thread(self._function, item)
        return await result if inspect.isawaitable(result) else result
