"""`unit` and `instrumented`: the user's own code as units in the trace."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast, overload

from spanrun import checks
from spanrun.accelerator import core
from spanrun.telemetry import setup
from spanrun.telemetry.units.user import OFF, UserUnit

P = ParamSpec("P")
T = TypeVar("T")


class unit:  # noqa: N801 -- used like a function: `with unit("parse"):`
    """A piece of your own work as a span, below the one that is current.

    Its duration goes into ``spanrun.unit.duration`` by its name, so the name
    must come from a small set: put what varies into attributes.

    Gives the open `UserUnit`, whose ``set`` and ``event`` add to the span.

    Example:
        >>> with unit("parse", pages=3) as parsing:
        ...     parsing.set("words", 420)
    """

    __slots__ = ("_attributes", "_name", "_open", "_outer")

    def __init__(self, name: str, /, **attributes: Any) -> None:
        if not name or not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise checks.wrong("unit", "name", name, "must be a text")
        self._name = name
        self._attributes = attributes or None
        self._open: UserUnit | None = None
        self._outer: tuple[UserUnit, ...] = ()  # where it is entered more than once

    def __enter__(self) -> UserUnit:
        recorder = setup.recorder()
        opened: UserUnit = (
            OFF
            if recorder is None
            else recorder.open_unit(self._name, self._attributes)
        )
        if self._open is not None:
            self._outer = (*self._outer, self._open)
        self._open = opened
        return opened

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        opened, self._open = self._open, None
        if self._outer:
            *outer, self._open = self._outer
            self._outer = tuple(outer)
        if opened is not None:
            opened.close(error)


if not TYPE_CHECKING and core is not None:
    core.units_record(setup.recorder, OFF)
    core.unit.__doc__, core.unit.__signature__ = unit.__doc__, inspect.signature(unit)
    unit = core.unit


@overload
def instrumented(function: Callable[P, T], /) -> Callable[P, T]: ...


@overload
def instrumented(
    *, name: str | None = None
) -> Callable[[Callable[P, T]], Callable[P, T]]: ...


def instrumented(
    function: Callable[P, T] | None = None, /, *, name: str | None = None
) -> Callable[P, T] | Callable[[Callable[P, T]], Callable[P, T]]:
    """Run each call of a function, plain or async, in a `unit` of its own.

    Args:
        function: What to decorate.
        name: Of the unit; else the function's qualified name.

    Raises:
        ConfigurationError: For what isn't a function, such as a class: decorate its
            methods. And for a generator, plain or async: its unit would be current
            in its caller's code between two items. Open a unit inside.

    Example:
        >>> @instrumented
        ... def parse(text: str) -> list[str]:
        ...     return text.split()
        >>> parse("a b")
        ['a', 'b']
    """
    checks.optional(checks.text)("instrumented", "name", name)
    if function is None:
        return lambda decorated: _instrument(decorated, name)
    return _instrument(function, name)


def _instrument(function: Callable[P, T], name: str | None) -> Callable[P, T]:
    if hint := _why_not(function):
        raise checks.wrong("instrumented", "function", function, hint)
    title = name or _name_of(function)
    if inspect.iscoroutinefunction(function):
        call = cast("Callable[P, Awaitable[Any]]", function)

        @functools.wraps(function)
        async def awaited(*args: P.args, **kwargs: P.kwargs) -> Any:
            with unit(title):
                return await call(*args, **kwargs)

        return cast("Callable[P, T]", awaited)

    @functools.wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> T:
        with unit(title):
            return function(*args, **kwargs)

    return called


def _why_not(function: object) -> str:
    """What to do instead of decorating ``function``, where that can't work."""
    if isinstance(function, type):
        return "is a class: decorate its methods instead"
    if isinstance(function, staticmethod | classmethod):
        kind = "staticmethod" if isinstance(function, staticmethod) else "classmethod"
        return f"must be the function itself: put @{kind} above @instrumented"
    if not callable(function):
        return "must be a function"
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        return (
            "is a generator; open a unit inside it instead, around what it does "
            "between two items"
        )
    return ""


def _name_of(function: object) -> str:
    while isinstance(function, functools.partial):
        function = function.func  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return str(getattr(function, "__qualname__", type(function).__qualname__))
