"""Every public parameter: of what `spanrun.__all__` and the reference name."""

import inspect
import re
import typing
from collections.abc import Callable, Iterator
from typing import Any, Final

from docs._reference import api

BINDING: Final = (
    "attempt_layer",
    "bind",
    "deadline_layer",
    "outage_layer",
)
"""Methods by which a runner takes a policy up: nobody else calls them."""

_UNPACKED: Final = re.compile(r"Unpack\[(\w+)\]")


def parameters() -> dict[str, frozenset[str]]:
    """The parameters of each public callable: ``{"Runner.map": {"items", …}}``."""
    found: dict[str, frozenset[str]] = {}
    for module in api.PACKAGES:
        for name, value in api.public(module).items():
            for title, called in _callables(name, value):
                found[title] = frozenset(_names(called))
    return {title: names for title, names in found.items() if names}


def _callables(name: str, value: Any) -> Iterator[tuple[str, Callable[..., Any]]]:
    if inspect.isfunction(value):
        yield name, value
    elif _is_called(value):
        yield name, value
        for owner in value.__mro__:
            for method, held in vars(owner).items():
                found = getattr(held, "__func__", held)
                public = not method.startswith("_") and method not in BINDING
                if public and _is_ours(found):
                    yield f"{name}.{method}", found


def _is_called(value: Any) -> bool:
    """Whether it is a class that users call: protocols are for them to implement."""
    return (
        inspect.isclass(value)
        and not issubclass(value, BaseException)
        and not typing.is_typeddict(value)
        and not getattr(value, "_is_protocol", False)
    )


def _is_ours(found: Any) -> bool:
    return inspect.isfunction(found) and found.__module__.startswith("spanrun")


def _names(called: Callable[..., Any]) -> Iterator[str]:
    try:
        signature = inspect.signature(called)
    except ValueError:  # a class that is compiled
        return
    for name, parameter in signature.parameters.items():
        if name in ("self", "cls"):
            continue
        keywords = _UNPACKED.fullmatch(str(parameter.annotation))
        if parameter.kind is parameter.VAR_KEYWORD and keywords:
            function: Any = called.__init__ if inspect.isclass(called) else called  # type: ignore[misc]
            yield from function.__globals__[keywords[1]].__annotations__
        else:
            yield name
