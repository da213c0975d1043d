"""`stack_of`: an error's traceback as text, at the cost of a look-up a frame.

`traceback.format_exception` reads the source line of each frame anew and finds out
which part of it to underline: 200 µs for ten frames. A frame's text depends on the
instruction alone that it stopped at, so it is made once for each.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from itertools import groupby
from types import CodeType, TracebackType
from typing import Any, Final

MAX_FRAMES: Final = 32
"""Of each traceback: the innermost ones."""

_MAX_KNOWN: Final = 4_096
_MAX_CHAIN: Final = 8
_SHOWN: Final = 3  # of a frame that repeats; the others are told as a number
_HEAD: Final = "Traceback (most recent call last):\n"
_CAUSE: Final = (
    "\nThe above exception was the direct cause of the following exception:\n\n"
)
_CONTEXT: Final = (
    "\nDuring handling of the above exception, another exception occurred:\n\n"
)

_TOLD_APART: Final = (SyntaxError, ImportError, NameError, AttributeError)
"""Errors of which `traceback` tells more than their text: a place, or a suggestion."""

_known: Final[dict[tuple[CodeType, int], str]] = {}


def stack_of(error: BaseException) -> str:
    """Return the text that `traceback.format_exception` makes with ``limit=-32``.

    Of the errors that led to this one, the nearest seven are told. It isn't redacted.

    Raises:
        Exception: What the error's class raises when it is asked for its text.
    """
    chain = _chain(error)
    if any(isinstance(each, BaseExceptionGroup) for each, _ in chain):
        # Its members have tracebacks, causes and indentation of their own.
        return "".join(traceback.format_exception(error, limit=-MAX_FRAMES))
    return "".join(part for each, after in chain for part in (*_single(each), after))


def _chain(error: BaseException) -> list[tuple[BaseException, str]]:
    """The errors that led to ``error``, and itself, each with what stands after it."""
    chain: list[tuple[BaseException, str]] = []
    seen: set[int] = set()
    found: BaseException | None = error
    link = ""
    while found is not None and len(chain) < _MAX_CHAIN and id(found) not in seen:
        seen.add(id(found))
        chain.append((found, link))
        link, cause = _CAUSE, found.__cause__
        if cause is None and not found.__suppress_context__:
            link, cause = _CONTEXT, found.__context__
        found = cause
    return chain[::-1]


def _single(error: BaseException) -> Iterator[str]:
    """The text of ``error`` without those that led to it."""
    if error.__traceback__ is not None:
        yield _HEAD
        yield from _frames(error.__traceback__)
    yield from _last_lines(error)


def _last_lines(error: BaseException) -> Iterator[str]:
    """Class, text and notes: what `traceback.format_exception_only` gives."""
    notes: list[Any] | None = getattr(error, "__notes__", None)
    is_odd = not isinstance(notes, list | None)  # pyright: ignore[reportUnnecessaryIsInstance] -- users
    if is_odd or isinstance(error, _TOLD_APART):
        yield from traceback.format_exception_only(error)
        return
    kind, text = type(error), str(error)
    name = kind.__qualname__
    if kind.__module__ not in ("__main__", "builtins"):
        name = f"{kind.__module__}.{name}"
    yield f"{name}: {text}\n" if text else f"{name}\n"
    for note in notes or ():
        yield f"{note}\n"


def _frames(innermost: TracebackType | None) -> Iterator[str]:
    stopped: list[TracebackType] = []
    while innermost is not None:
        stopped.append(innermost)
        innermost = innermost.tb_next
    for _, alike in groupby(stopped[-MAX_FRAMES:], _place):
        frames = list(alike)
        yield from map(_frame, frames[:_SHOWN])
        more = len(frames) - _SHOWN
        if more > 0:
            yield f"  [Previous line repeated {more} more time{'s'[: more > 1]}]\n"


def _place(stopped: TracebackType) -> tuple[CodeType, int]:
    return stopped.tb_frame.f_code, stopped.tb_lineno


def _frame(stopped: TracebackType) -> str:
    """One frame's text, with its source line and what is underlined there."""
    frame = stopped.tb_frame
    key = frame.f_code, stopped.tb_lasti
    text = _known.get(key)
    if text is None:
        alone = TracebackType(None, frame, stopped.tb_lasti, stopped.tb_lineno)
        text = "".join(traceback.extract_tb(alone).format())
        if len(_known) >= _MAX_KNOWN:
            _known.clear()  # what comes often is soon back
        _known[key] = text
    return text
