"""`Limits`: how much the code in the sandbox may use, and what it may import."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final, TypedDict

from spanrun.checks import above, at_least, each, field, function, text, whole

IMPORTS: Final = tuple(
    """
    base64 binascii bisect collections copy csv dataclasses datetime decimal functools
    hashlib itertools json math random re time tomllib typing unicodedata
    """.split()  # noqa: SIM905 -- reads better
)
"""The modules that may be imported by default: they compute, and reach nothing."""


class Keywords(TypedDict, total=False):
    """The fields of `Limits`, as keywords of a call."""

    seconds: float
    memory: int
    recursion: int
    output: int
    sleep: float
    imports: Collection[str]
    on_print: Callable[[str], object]


def _write(text: str) -> None:
    sys.stdout.write(text)


@dataclass(frozen=True, slots=True)
class Limits:
    """How much the code may use; the keywords of `safe_eval` and the others.

    Attributes:
        seconds: It runs at most, > 0.
        memory: Bytes at most in its process, ≥ 1 MiB. What it raises with a giant
            text takes as much here, for a moment.
        recursion: Calls inside each other at most, ≥ 1.
        output: Characters that it prints at most; also how much may come back:
            each value, and each character of a text, counts one.
        sleep: Seconds that it sleeps at most in all; ``seconds`` doesn't count them.
        imports: Modules that it may import. The sandbox has those of `IMPORTS`; to
            name others (numpy) here doesn't bring them in.
        on_print: Is called with everything that was printed, once, when the code
            has ended. By default it is written to `sys.stdout`.

    Raises:
        ConfigurationError: A value is out of its range.
    """

    seconds: float = 5.0
    memory: int = 8 * 2**20
    recursion: int = 200
    output: int = 100_000
    sleep: float = 1.0
    imports: Collection[str] = IMPORTS
    on_print: Callable[[str], object] = _write

    def __post_init__(self) -> None:
        field(self, "seconds", above, 0)
        field(self, "memory", whole, 2**20)
        field(self, "recursion", whole, 1)
        field(self, "output", whole, 0)
        field(self, "sleep", at_least, 0)
        field(self, "imports", each, "names, such as {'math'}")
        for name in self.imports:
            text("Limits", "imports", name)
        field(self, "on_print", function, plain=True)
