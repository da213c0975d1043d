"""`stack_of`: an error's traceback as text, at the cost of a look-up a frame.

`traceback.format_exception` reads the source line of each frame anew and finds out
which part of it to underline: 200 µs for ten frames. A frame's text depends on the
instruction alone that it stopped at, so it is made once for each.
"""

from __future__ import annotations

import traceback
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

_known: Final[dict[tuple[int, int], tuple[CodeType, str]]] = {}
"""By the id of the code, which is kept for it: the hash of a code takes 1 µs."""


def stack_of(error: BaseException) -> str:
    """Return the text that `traceback.format_exception` makes with ``limit=-32``.

    Of the errors that led to this one, the nearest seven are told. It isn't redacted.

    Raises:
        Exception: What the error's class raises when it is asked for its text.
    """
    parts: list[str] = []
    for each, after in _chain(error):
        if isinstance(each, BaseExceptionGroup):
            # Its members have tracebacks, causes and indentation of their own.
            return "".join(traceback.format_exception(error, limit=-MAX_FRAMES))
        if each.__traceback__ is not None:
            parts.append(_HEAD)
            parts += _frames(each.__traceback__)
        parts += _last_lines(each)
        parts.append(after)
    return "".join(parts)


def _chain(error: BaseException) -> list[tuple[BaseException, str]]:
    """The errors that led to ``error``, and itself, each with what stands after it."""
    if error.__cause__ is None and error.__context__ is None:
        return [(error, "")]
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


def _last_lines(error: BaseException) -> list[str]:
    """Class, text and notes: what `traceback.format_exception_only` gives."""
    notes: list[Any] | None = getattr(error, "__notes__", None)
    is_odd = notes is not None and not isinstance(notes, list)  # pyright: ignore[reportUnnecessaryIsInstance] -- users
    if is_odd or isinstance(error, _TOLD_APART):
        return traceback.format_exception_only(error)
    kind, text = type(error), str(error)
    name = kind.__qualname__
    if kind.__module__ not in ("__main__", "builtins"):
        name = f"{kind.__module__}.{name}"
    return [
        f"{name}: {text}\n" if text else f"{name}\n",
        *[f"{note}\n" for note in notes or ()],
    ]


def _frames(outermost: TracebackType) -> list[str]:
    """Each frame's text; of those that repeat a place, the first and their number."""
    stopped: list[TracebackType] = []
    found: TracebackType | None = outermost
    while found is not None:
        stopped.append(found)
        found = found.tb_next
    texts: list[str] = []
    before, before_code, repeats = outermost, None, 0
    for each in stopped[-MAX_FRAMES:]:
        code = each.tb_frame.f_code
        # A line is searched for in a table.
        if code is before_code and before.tb_lineno == each.tb_lineno:
            repeats += 1
        elif repeats:
            texts += _repeated(repeats)
            repeats = 0
        before, before_code = each, code
        if repeats < _SHOWN:
            known = _known.get((id(code), each.tb_lasti))
            texts.append(_look_up(each) if known is None else known[1])
    return texts + _repeated(repeats)


def _repeated(repeats: int) -> list[str]:
    more = repeats + 1 - _SHOWN
    if more <= 0:
        return []
    return [f"  [Previous line repeated {more} more time{'s'[: more > 1]}]\n"]


def _look_up(stopped: TracebackType) -> str:
    """One frame's text, with its source line and what is underlined there."""
    frame = stopped.tb_frame
    alone = TracebackType(None, frame, stopped.tb_lasti, stopped.tb_lineno)
    text = "".join(traceback.extract_tb(alone).format())
    if len(_known) >= _MAX_KNOWN:
        _known.clear()  # what comes often is soon back
    _known[id(frame.f_code), stopped.tb_lasti] = frame.f_code, text
    return text
