"""Values that a kind of parameter must refuse, and some that it must take."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import spanrun as sr
from spanrun.checks import shown
from spanrun.runner.progress import Progress
from spanrun.telemetry.observe import Observer


@dataclass(frozen=True)
class Wrong:
    """A value that is refused; ``told`` of it is in the error, None: nothing is."""

    value: Any
    told: str | None

    def __repr__(self) -> str:
        return f"{self.value!r}"


class Coroutine:
    """Stands for a coroutine object: each test needs one of its own."""

    def __repr__(self) -> str:
        return "<coroutine"


@dataclass(frozen=True)
class Kind:
    """What a parameter refuses and takes."""

    wrong: tuple[Any, ...]
    right: tuple[Any, ...] = field(default=())

    def __or__(self, other: "Kind") -> "Kind":
        """This kind, with the values of another one."""
        return Kind(self.wrong + other.wrong, self.right + other.right)

    def without(self, *values: Any) -> "Kind":
        """This kind, but those values aren't refused."""
        types = [type(value) for value in values]
        kept = [
            each
            for each in self.wrong
            if type(each) not in types or all(each != value for value in values)
        ]
        return Kind(tuple(kept), self.right)


def inside(value: Any) -> Wrong:
    """A list with one wrong part."""
    return Wrong([value], shown(value))


def unseen(value: Any) -> Wrong:
    """A wrong value that may be a secret, so no error shows it."""
    return Wrong(value, None)


async def a_coroutine_function() -> None:
    pass


class Silent:
    """Looks like an observer, but hears nothing of runs that end."""

    def run_opened(self, run: Any) -> None:
        pass


NO_NUMBER = ("3", None, True, 1j, math.nan, math.inf, -math.inf, [3])
SOME = (2, 2.5, np.int64(2), np.float32(2.5))
WHOLE = Kind(
    ("3", None, True, 2.5, math.nan, math.inf, -1, [3]), (1, np.int64(3), np.uint8(200))
)
WHOLE_ABOVE_0 = WHOLE | Kind((0,))
AT_LEAST_0 = Kind((*NO_NUMBER, -1, -0.5), (0, *SOME))
ABOVE_0 = Kind((*NO_NUMBER, -1, 0), SOME)
SHARE = Kind((*NO_NUMBER, -0.1, 1.1, 7), (0, 1, 0.5, np.float32(0.5)))
TEXT = Kind((1, None, b"x", "", ["x"]), ("x",))
ANY_TEXT = TEXT.without("")
FLAG = Kind(("yes", None, 2, 0.5, []), (True, False))
FUNCTION = Kind(("x", 1, None, Coroutine()), (len,))
PLAIN = FUNCTION | Kind((a_coroutine_function,))
ON = Kind(
    (None, "OSError", 5, BaseException, [OSError], (OSError, 1), a_coroutine_function),
    (OSError, (OSError, KeyError), lambda error: True),
)
MAPPING = Kind((1, "x", ["x"]), ({},))
LIST = Kind((1, "x", b"x", None), ([],))
SOURCE = Kind((1, None, Coroutine(), len))
OBSERVERS = Kind(
    (None, 1, "x", Progress(), inside(1), inside(Progress), inside(Silent())),
    ((), [Progress()]),
)
CLOCK = Kind((1, "now", sr.Runner("r")), (None,))


def optional(kind: Kind) -> Kind:
    """The kind of what may be None as well."""
    taken = kind.without(None)
    return Kind(taken.wrong, (None, *taken.right))


def only(*wrong: Any) -> Kind:
    """A kind of which there are no right values to try here: they would do work."""
    return Kind(wrong)


def refused(kind: Kind) -> Kind:
    """As `only`, of a kind that is known."""
    return Kind(kind.wrong)


__all__ = [name for name in dir() if name.isupper()] + [
    "Coroutine",
    "Kind",
    "Observer",
    "Wrong",
    "inside",
    "only",
    "optional",
    "refused",
    "unseen",
]
