"""JSON of any size, decoded without holding the event loop.

`json.loads` takes 200 ms for 8 MiB of numbers and 2 s for 8 MiB of empty lists, and
holds the interpreter's lock all the while, so a thread doesn't help. Here it decodes
parts of 96 KiB, and the event loop has its turn between them. The compiled part, where
it is there, decodes what is plain in a fifth of the time.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Generator
from typing import Any, Final, NamedTuple, TypeAlias, cast

from spanrun.accelerator import core

_PART: Final = 96 * 1024
"""Characters that are decoded at once: 2 ms, and a vector of 4,096 numbers."""
_DEEPEST: Final = 100
"""Levels of lists and objects that are larger than a part."""
_ONE_BY_ONE: Final = 256
"""Values decoded one by one, after which the event loop has its turn."""
_COUNTED: Final = 1024 * 1024
_EACH: Final = 64
"""Bytes that a list or an object has in the mean, at the least: an empty one has 3, and
up to 80 times as many as an object of Python."""

_CLOSING: Final = {"[": "]", "{": "}"}
scan_in_python = cast(
    "Callable[[str, int], tuple[Any, int]]",
    json.JSONDecoder().scan_once,  # type: ignore[attr-defined, unused-ignore]
)
_space: Final = re.compile(r"[ \t\n\r]*+")
_Steps: TypeAlias = Generator[None, None, Any]


def scan(text: str, at: int) -> tuple[Any, int]:
    """The value at ``at`` and where it ends, by the compiled part where it can tell.

    Raises:
        ValueError: It is broken off, or no JSON; or StopIteration is raised.
    """
    found = core.scan_json(text, at) if core else None
    return found or scan_in_python(text, at)


async def parsed(text: bytes, max_bytes: int) -> Any:
    """What the JSON in ``text`` says, as `json.loads` gives it.

    Args:
        text: Of any size.
        max_bytes: The text might have so many. It may hold a list or an object for
            each 64 of them.

    Raises:
        ValueError: It isn't JSON, or has more lists and objects.
        RecursionError: They are nested too deeply.
    """
    if len(text) <= _PART:
        bare = text.strip(b" \t\n\r").decode("latin-1")
        found = core.scan_json(bare, 0) if core else None
        return found[0] if found and found[1] == len(bare) else json.loads(text)
    most, found = max_bytes // _EACH, 0
    for at in range(0, len(text), _COUNTED):
        piece = text[at : at + _COUNTED]
        found += piece.count(b"[") + piece.count(b"{")
        if found > most:
            raise ValueError(f"it has more than {most} lists and objects")
        await asyncio.sleep(0)
    steps = _Parts(text.decode(json.detect_encoding(text), "surrogatepass")).all()
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return done.value
        await asyncio.sleep(0)


class _Many(NamedTuple):
    """The values in a part, and whether their list or object ends in it."""

    values: Any
    ended: bool


class _Parts:
    """A text that is decoded part by part. Each ``yield`` ends a step."""

    def __init__(self, text: str) -> None:
        self._text: Final = text
        self._at = 0
        self._part = ""
        self._begin = 0
        """Where the part begins."""
        self._torn = False
        """Whether the part ends where a value hardly does."""

    def all(self) -> _Steps:
        """The value that the whole text is."""
        value = yield from self._value(0)
        if (yield from self._peek()):
            raise self._error("Extra data")
        return value

    def _value(self, depth: int) -> _Steps:
        """The value that comes next."""
        opening = yield from self._peek()
        found = self._short()
        if found is None and self._at != self._begin:
            self._load()
            yield
            found = self._short()
        if found is not None:
            return found[0]
        if opening in _CLOSING and not self._is_last():
            return (yield from self._container(opening, depth + 1))
        try:  # it is a long text or number, or it is broken
            value, self._at = scan_in_python(self._text, self._at)
        except StopIteration:
            raise self._error("Expecting value") from None
        return value

    def _container(self, opening: str, depth: int) -> _Steps:
        """The list or object that begins here, and is longer than a part."""
        if depth > _DEEPEST:
            raise RecursionError("it is nested too deeply")
        into: Any = [] if opening == "[" else {}
        add = into.extend if opening == "[" else into.update
        self._at += 1
        if (yield from self._peek()) == _CLOSING[opening]:
            self._at += 1
            return into
        mixed = -1  # where the part begins whose values are decoded one by one
        while True:
            many = None
            if self._begin != mixed:
                self._load()
                yield
                many = self._many(opening)
            if many is None:
                mixed = self._begin
                one = self._item if opening == "[" else self._member
                add((yield from one(depth)))
            else:
                add(many.values)
                if many.ended:
                    return into
            if not len(into) % _ONE_BY_ONE:
                yield
            mark = yield from self._peek()
            if mark not in {",", _CLOSING[opening]}:
                raise self._error("Expecting ',' delimiter")
            self._at += 1
            if mark != ",":
                return into
            yield from self._peek()

    def _item(self, depth: int) -> _Steps:
        return [(yield from self._value(depth))]

    def _member(self, depth: int) -> _Steps:
        name = yield from self._value(depth)
        if not isinstance(name, str):
            raise self._error("Expecting property name enclosed in double quotes")
        if (yield from self._peek()) != ":":
            raise self._error("Expecting ':' delimiter")
        self._at += 1
        return {name: (yield from self._value(depth))}

    def _many(self, opening: str) -> _Many | None:
        """All values in the part; None where the last one doesn't end in it."""
        closing = _CLOSING[opening]
        if self._torn or self._part.startswith(closing):  # which is behind a comma
            return None
        text = opening + self._part + closing
        try:
            values, end = scan(text, 0)
        except (StopIteration, ValueError):
            return None
        ended = end < len(text)
        self._at += end - 1 if ended else len(self._part)
        return _Many(values, ended)

    def _short(self) -> tuple[Any] | None:
        """The next value, where it ends in the part."""
        try:
            value, end = scan(self._part, self._at - self._begin)
        except (StopIteration, ValueError):
            return None
        if self._torn and isinstance(value, int | float):  # it may go on behind it
            return None
        self._at = self._begin + end
        return (value,)

    def _load(self) -> None:
        """Let the part begin here. It ends where a value is likely to end."""
        self._begin, self._torn = self._at, False
        self._part = self._text[self._at : self._at + _PART]
        if not self._is_last():
            ends = (self._part.rfind("}") + 1, self._part.rfind("]") + 1)
            end = ends[0] or ends[1] or max(0, self._part.rfind(","))
            self._part = self._part[: end or _PART]
            self._torn = not end

    def _is_last(self) -> bool:
        return self._begin + len(self._part) == len(self._text)

    def _peek(self) -> Generator[None, None, str]:
        """The next character that isn't space; empty at the end."""
        while True:
            begin = self._at
            space = _space.match(self._text, begin, begin + _PART)
            self._at = space.end() if space else begin
            if self._at < begin + _PART:
                return self._text[self._at : self._at + 1]
            yield

    def _error(self, what: str) -> json.JSONDecodeError:
        return json.JSONDecodeError(what, self._text, self._at)
