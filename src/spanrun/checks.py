"""Checkers of arguments: a value that can't work is refused at once, by name.

Each one takes where the argument stands (``"Limit"``, ``"map"``), its name and its
value, and raises a `ConfigurationError` that says what to write instead. What counts
gives back a plain ``int`` or ``float``, so that numpy's numbers work and don't
overflow later.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from numbers import Integral, Real
from typing import Any, Concatenate, Final, ParamSpec, TypeVar, cast

from spanrun.errors import ConfigurationError

P = ParamSpec("P")
T = TypeVar("T")

_LONGEST: Final = 80  # characters of a value in an error


def wrong(where: str, name: str, value: object, hint: str) -> ConfigurationError:
    """The error for ``value``; ``hint`` says what it must be.

    A coroutine is closed, as nobody else will run it.
    """
    error = ConfigurationError(f"{where}({name}={shown(value)}): {hint}")
    if inspect.iscoroutine(value) and _is_new(value):
        value.close()
    return error


def shown(value: object) -> str:
    """``value`` as an error shows it: on one line, and not too long."""
    if inspect.isroutine(value) or isinstance(value, type):
        return value.__qualname__
    if inspect.iscoroutine(value):
        return f"<coroutine {value.__qualname__}>"
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 -- the user's own `__repr__`
        text = f"<{type(value).__name__}>"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def optional(
    check: Callable[Concatenate[str, str, object, P], T],
) -> Callable[Concatenate[str, str, object, P], T | None]:
    """``check``, for an argument that may be None as well."""

    def checked(
        where: str, name: str, value: object, /, *args: P.args, **kwargs: P.kwargs
    ) -> T | None:
        return None if value is None else check(where, name, value, *args, **kwargs)

    return checked


def field(
    owner: object,
    name: str,
    check: Callable[Concatenate[str, str, Any, P], object],
    *args: P.args,
    **kwargs: P.kwargs,
) -> None:
    """Check a field of a frozen dataclass in its ``__post_init__``.

    The field is set to what ``check`` gives back, if it does.
    """
    value = check(type(owner).__name__, name, getattr(owner, name), *args, **kwargs)
    if value is not None:
        object.__setattr__(owner, name, value)


def at_least(
    where: str, name: str, value: object, least: float, *, infinite: bool = False
) -> float:
    """The number ``value``, ≥ ``least``; ``infinite``: infinity means no bound."""
    if infinite and value == math.inf:
        return math.inf
    number = plain(value)
    if number is None:
        raise wrong(where, name, value, f"must be a finite number ≥ {least:g}")
    if number < least:
        raise wrong(where, name, value, f"must be ≥ {least:g}")
    return number


def above(
    where: str, name: str, value: object, bound: float, *, infinite: bool = False
) -> float:
    """The number ``value``, > ``bound``; ``infinite``: infinity means no bound."""
    if infinite and value == math.inf:
        return math.inf
    number = plain(value)
    if number is None:
        raise wrong(where, name, value, f"must be a finite number > {bound:g}")
    if number <= bound:
        raise wrong(where, name, value, f"must be > {bound:g}")
    return number


def between(where: str, name: str, value: object, least: float, most: float) -> float:
    """The number ``value``, which must be from ``least`` to ``most``."""
    number = plain(value)
    if number is None or not least <= number <= most:
        raise wrong(where, name, value, f"must be a number from {least:g} to {most:g}")
    return number


def whole(
    where: str,
    name: str,
    value: object,
    least: int | None = None,
    most: int | None = None,
) -> int:
    """The whole number ``value``, from ``least`` to ``most``."""
    number = plain(value)
    bounds = "" if least is None else f" ≥ {least}"
    if most is not None:
        bounds = f" from {least} to {most}"
    if not isinstance(number, int):
        raise wrong(where, name, value, f"must be a whole number{bounds}")
    if (least is not None and number < least) or (most is not None and number > most):
        raise wrong(where, name, value, f"must be{bounds}")
    return number


def plain(value: object) -> int | float | None:
    """The finite number ``value``, also one of numpy's; None if it isn't one."""
    number: int | float | None = None
    if isinstance(value, bool):
        return None
    if type(value) is int or type(value) is float:  # what is usual needs no ABCs
        number = value
    elif isinstance(value, Integral):
        number = int(value)
    elif isinstance(value, Real):
        number = float(value)
    try:
        return number if number is not None and math.isfinite(number) else None
    except OverflowError:  # a whole number that no float holds
        return None


def flag(where: str, name: str, value: object) -> bool:
    """The truth of ``value``, which must be True or False (or 1 or 0)."""
    if isinstance(value, int) and value in (0, 1):
        return bool(value)
    raise wrong(where, name, value, "must be True or False")


def text(where: str, name: str, value: object, *, empty: bool = False) -> str:
    """The text ``value``, which may only be ``empty`` if that is said."""
    if not isinstance(value, str):
        raise wrong(where, name, value, "must be a text")
    if not value and not empty:
        raise wrong(where, name, value, "must not be empty")
    return value


def secret(where: str, name: str, value: object) -> str:
    """The text ``value``, of which no error shows anything."""
    if not isinstance(value, str):
        raise _wrong_secret(where, name, value, "must be a text")
    return value


def headers(where: str, value: object) -> dict[str, str]:
    """Headers: texts by their names. No error shows a value, as it may be a secret."""
    hint = "must be a mapping of names to texts"
    if not isinstance(value, Mapping):
        raise _wrong_secret(where, "headers", value, hint)
    found = dict(cast("Mapping[Any, Any]", value))  # type: ignore[redundant-cast]
    for name, sent in found.items():
        text(where, "headers", name)
        secret(where, f"headers[{name!r}]", sent)
        if not (name.isascii() and sent.isascii() and (name + sent).isprintable()):
            raise ConfigurationError(
                f"{where}(headers[{name!r}]=…): must be printable ASCII, without a "
                "line break"
            )
    return found


def one_of(
    where: str, name: str, value: object, allowed: Iterable[str], otherwise: str = ""
) -> None:
    """Refuse a ``value`` that isn't one of ``allowed``, or else ``otherwise``."""
    words = tuple(allowed)
    if not isinstance(value, str) or value not in words:
        told = " or ".join(filter(None, (otherwise, ", ".join(map(repr, words)))))
        raise wrong(where, name, value, f"must be {told}")


def instance(where: str, name: str, value: object, kinds: type[T], example: str) -> T:
    """``value``, which must be an instance of ``kinds``; ``example`` makes one."""
    if not isinstance(value, kinds):
        hint = f"must be {_article(kinds.__name__)}, such as {example}"
        raise wrong(where, name, value, hint)
    return value


def offers(where: str, name: str, value: object, members: str, example: str) -> None:
    """Refuse a ``value`` without one of ``members``: names with spaces between them.

    What has them is not asked which class it is of. A class itself has them, too,
    but is never what is wanted.
    """
    missing = [each for each in members.split() if not hasattr(value, each)]
    if isinstance(value, type):
        raise wrong(where, name, value, f"must be {example}, not a class of such")
    if missing:
        hint = f"must be {example}; it has no {', '.join(missing)}"
        raise wrong(where, name, value, hint)


def function(where: str, name: str, value: object, *, plain: bool = False) -> None:
    """Refuse a ``value`` that isn't callable or, if ``plain``, is an ``async def``.

    A generator function is refused, since what it returns can't be awaited, and is
    always true.
    """
    if inspect.iscoroutine(value):
        called = value.__qualname__
        hint = f"must be the function itself: {called}, not {called}(…)"
        raise wrong(where, name, value, hint)
    if not callable(value):
        raise wrong(where, name, value, "must be a function")
    if inspect.isasyncgenfunction(value) or _is_generator(value):
        raise wrong(where, name, value, "must return a value, not yield several")
    if plain and inspect.iscoroutinefunction(value):
        raise wrong(where, name, value, "must be a plain function, not async")


def each(where: str, name: str, values: object, what: str) -> tuple[Any, ...]:
    """The parts of ``values``, which must be a list or the like of ``what``."""
    if isinstance(values, Iterable) and not isinstance(values, str | bytes | Mapping):
        return tuple(cast("Iterable[Any]", values))  # type: ignore[redundant-cast]
    # What is left of its type is of no interest to the error.
    raise wrong(where, name, values, f"must be a list of {what}")  # pyright: ignore[reportUnknownArgumentType]


def source(where: str, name: str, value: object, what: str) -> None:
    """Refuse a ``value`` that isn't an iterable or an async iterable of ``what``."""
    kind = type(value)  # a class may have itself what its instances have
    if not hasattr(kind, "__iter__") and not hasattr(kind, "__aiter__"):
        raise wrong(
            where, name, value, f"must be an iterable or an async iterable of {what}"
        )


def mapping(where: str, name: str, value: object, what: str) -> Mapping[Any, Any]:
    """``value``, which must be a mapping: ``what`` says from what to what."""
    if not isinstance(value, Mapping):
        raise wrong(where, name, value, f"must be a mapping of {what}")
    return cast("Mapping[Any, Any]", value)  # type: ignore[redundant-cast]


def _wrong_secret(
    where: str, name: str, value: object, hint: str
) -> ConfigurationError:
    kind = type(value).__name__
    return ConfigurationError(f"{where}({name}=…): {hint}, not {kind}")


def _article(noun: str) -> str:
    return f"an {noun}" if noun[0] in "AEIOU" else f"a {noun}"


def _is_new(coroutine: Any) -> bool:
    return inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED


def _is_generator(value: object) -> bool:
    """Whether it is a generator function, unless `types.coroutine` has marked it."""
    if not inspect.isgeneratorfunction(value):
        return False
    code: Any = getattr(value, "__code__", None)
    return not (code is not None and code.co_flags & inspect.CO_ITERABLE_COROUTINE)
