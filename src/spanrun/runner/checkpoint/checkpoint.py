"""`Checkpoint`: where a run keeps its outcomes, and what a resume does with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Protocol, TypeAlias, get_args

from spanrun.checks import (
    field,
    flag,
    function,
    offers,
    one_of,
    optional,
    text,
    whole,
    wrong,
)

Failed: TypeAlias = Literal["again", "keep"]
Commit: TypeAlias = Literal["group", "each"]
Durability: TypeAlias = Literal["process", "power"]

_CODEC: Final = "a codec with `dumps` and `loads`"


class Codec(Protocol):
    """Turns results into bytes and back."""

    def dumps(self, value: Any, /) -> bytes:
        """``value`` as bytes; raises whatever it likes where that can't be."""
        ...

    def loads(self, data: bytes, /) -> Any:
        """What `dumps` was given."""
        ...


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A file with each outcome of a run: after a kill, the same run goes on from there.

    What succeeded is handed out from the file, in its place among the results; what
    failed, was cancelled or never ran is run. Without ``key`` an item is known by its
    place and content: items may be appended, and anything else is refused.

    Args:
        path: The file, made when it isn't there. One run uses it at a time.
        key: Names an item by a text or a whole number, in place of its place and
            content: then items may come in another order.
        failed: What a resume does with jobs that failed: runs them ``"again"``, or
            hands their errors out, ``"keep"``, as `RemoteJobError`.
        only_failed: A resume runs nothing but what failed; what never ran is skipped.
        max_crashes: After so many crashes of the process while an item was alone, it
            isn't run any more, and has failed. None: it is run each time, also where
            that was so before.
        commit: ``"group"``: outcomes are written together, 100 or those of 20 ms;
            ``"each"``: each by itself, at once.
        durability: What outcomes that are written survive: the end of the
            ``"process"``, or a loss of ``"power"`` as well.
        codec: Writes and reads results, in place of JSON, which also has bytes, tuples,
            sets and numpy's arrays here. Never pickle: reading that runs code.
        command: What goes on from it, kept in it, and told at Ctrl-C.

    Raises:
        ConfigurationError: At once, for a value that can't work.

    Example:
        >>> async def double(number: int) -> int:
        ...     return number * 2
        >>> async def main() -> list[int]:
        ...     async with Runner("double") as runner:
        ...         return await runner.map(
        ...             double, [1, 2, 3], checkpoint=Checkpoint("double.checkpoint")
        ...         )
        >>> run(main())
        [2, 4, 6]
    """

    path: str | Path
    key: Callable[[Any], str | int] | None = None
    failed: Failed = "again"
    only_failed: bool = False
    max_crashes: int | None = 3
    commit: Commit = "group"
    durability: Durability = "process"
    codec: Codec | None = None
    command: str = ""

    def __post_init__(self) -> None:
        field(self, "path", _path)
        field(self, "key", optional(function), plain=True)
        field(self, "failed", one_of, get_args(Failed))
        field(self, "only_failed", flag)
        field(self, "max_crashes", optional(whole), 1)
        field(self, "commit", one_of, get_args(Commit))
        field(self, "durability", one_of, get_args(Durability))
        field(self, "codec", optional(offers), "dumps loads", _CODEC)
        field(self, "command", text, empty=True)


def _path(where: str, name: str, value: object) -> Path:
    if not isinstance(value, str | Path) or not str(value):
        raise wrong(where, name, value, "must be a file's name")
    return Path(value)
