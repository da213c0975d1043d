"""How a package hands out names that it imports when they are first used (PEP 562)."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from spanrun.extras import named_when_missing


def names(
    package: str, homes: Mapping[str, Iterable[str]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of ``package``, for the names in ``homes``.

    Type checkers don't see them: a package also imports its names under
    ``TYPE_CHECKING``, and lists them in ``__all__``. No module may have the name of
    something that ``package`` hands out: importing the module would hide that.

    Args:
        package: The package's ``__name__``.
        homes: A module of the package, and which of its names the package has.
    """
    home_of = {name: home for home, held in homes.items() for name in held}

    def __getattr__(name: str) -> Any:  # noqa: N807 -- it becomes the package's
        home = home_of.get(name)
        if home is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        with named_when_missing(f"{package}.{name}"):
            module = importlib.import_module(f"{package}.{home}")
        value = getattr(module, name)
        setattr(sys.modules[package], name, value)
        return value

    def __dir__() -> list[str]:  # noqa: N807 -- the same
        return sorted({*vars(sys.modules[package]), *home_of})

    return __getattr__, __dir__
