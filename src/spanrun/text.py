"""Texts from outside, before they leave again: without secrets, and inert.

`redact` hides what looks like a credential, by the forms of `spanrun.secret_forms`: the
compiled version if it was built, else `redact_in_python`.
`inert` makes visible what a terminal would obey. `excerpt` does both, and gives one
short line: for logs, errors and whatever else a person reads. `Confidential` hides
what is known to be a secret, whatever it looks like.
"""

from __future__ import annotations

import json
import os
import re
import traceback
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Final
from urllib.parse import quote

from spanrun.secret_search import find
from spanrun.secret_words import HIDDEN

core: ModuleType | None = None
if not os.environ.get("SPANRUN_PURE_PYTHON"):
    try:
        from spanrun import _core as core
    except ImportError:
        core = None

__all__ = [
    "HIDDEN",
    "MAX_CHARACTERS",
    "Confidential",
    "excerpt",
    "harmless",
    "inert",
    "line_of",
    "one_line",
    "redact",
    "redact_in_python",
    "remember",
    "text_of",
    "traceback_of",
]

MAX_CHARACTERS: Final = 16 * 1024
_SPARE: Final = 4 * 1024
"""Characters beyond the cut that are looked at: what stands there may be the end
of a secret that begins before it."""
_SHORT: Final = 256
_MAX_KNOWN: Final = 4_096
_WIDTH: Final = 200

_BEYOND: Final = 256
"""The same, where the search stops for having cost too much: hints come first in most
forms, and the longest before its hint is 200 long."""

harmless: Final[dict[str, None]] = {}
"""Short texts in which there was nothing: names and hosts come again and again."""

# Control characters but tab and line feed; what turns the direction of writing, has no
# width, or ends a line; tags; surrogates. Not the joiners, which Persian needs.
_ACTIVE: Final = re.compile(
    "[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\ufeff\ufff9-\ufffb\U000e0000-\U000e007f\ud800-\udfff]"
)
_LEAST: Final = 4  # characters: a shorter word is no secret
_SAFE_ALONE: Final = 8  # a shorter one is hidden only where it stands by itself
_SCHEMES: Final = frozenset(("apikey", "basic", "bearer", "digest", "key", "token"))


def text_of(value: object) -> str:
    """``str(value)``, or the name of its type where that can't be had."""
    try:
        return str(value)
    except Exception:  # noqa: BLE001 -- whatever a user's class does there
        return f"<{type(value).__name__} without a text>"


def redact_in_python(text: str, limit: int = MAX_CHARACTERS) -> str:
    """``text`` without credentials, at most ``limit`` long, valid UTF-8.

    A text in which there is nothing to hide comes back as it is. A long one is cut, at
    less than ``limit`` if so much in it hints at secrets that looking at all of it
    would hold up the event loop.
    """
    if type(text) is not str:  # a subclass may have another idea of texts
        text = str.__str__(text)
    if text in harmless and len(text) <= limit:
        return text
    clean = _redacted(text, limit)
    if clean != text:
        return clean
    remember(harmless, text)
    return text


redact: Final[Callable[..., str]] = core.redact if core else redact_in_python
"""The compiled version of `redact_in_python`, if it was built; both do the same."""


def inert(text: str) -> str:
    r"""``text`` as a terminal can't be made to obey it: ``\x1b`` instead of ESC.

    Tabs and line feeds stay; `one_line` has none of these either.
    """
    return _ACTIVE.sub(_escaped, text)


def one_line(text: str, width: int = 0) -> str:
    """``text``, inert, on one line, at most ``width`` characters if that isn't 0."""
    shown = inert(" ".join(text.split()))
    return shown if not width or len(shown) <= width else shown[: width - 1] + "…"


def excerpt(text: str, width: int = _WIDTH) -> str:
    """How ``text`` begins, fit for a log or an error: no secret, inert, on one line."""
    return one_line(redact(text), width)


def line_of(error: object) -> str:
    """What the ``repr`` of an error, or another object, says: fit for a log."""
    try:
        shown = repr(error)
    except Exception:  # noqa: BLE001 -- whatever a user's class does there
        shown = f"<{type(error).__name__} without a text>"
    return excerpt(shown)


def traceback_of(error: BaseException) -> str:
    """The traceback of ``error`` for a log: no secret, inert, with its lines."""
    return inert(redact("".join(traceback.format_exception(error, limit=-32)).rstrip()))


class Confidential:
    """Hides what is known to be a secret, where others repeat it.

    Args:
        texts: Such as the values of headers; each of their words counts, too.
    """

    __slots__ = ("_pattern",)

    def __init__(self, texts: Iterable[str]) -> None:
        words = {word for text in texts for word in (text.strip(), *text.split())}
        forms = {
            form
            for word in words
            if len(word) >= _LEAST and word.lower() not in _SCHEMES
            for form in (word, quote(word, safe=""), json.dumps(word)[1:-1])
        }
        # The longest first: one may be a part of another.
        ordered = sorted(forms, key=lambda form: (-len(form), form))
        self._pattern: Final = re.compile("|".join(map(_alone, ordered)) or r"(?!)")

    def hide(self, text: str) -> str:
        """``text`` without them."""
        return self._pattern.sub(HIDDEN, text)


def remember(known: dict[str, None], text: str) -> None:
    """Keep ``text`` in a memory, if it is short. Such a memory is bounded."""
    if len(text) <= _SHORT:
        if len(known) >= _MAX_KNOWN:
            known.clear()  # what comes often is soon back
        known[text] = None


def _alone(form: str) -> str:
    pattern = re.escape(form)
    return pattern if len(form) >= _SAFE_ALONE else rf"(?<!\w){pattern}(?!\w)"


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code <= 0xFF:  # noqa: PLR2004 -- Python's own three forms
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"  # noqa: PLR2004


def _redacted(text: str, limit: int) -> str:
    cut = len(text) > limit
    if cut:
        text = text[: limit + _SPARE]
    spans, checked = find(text)
    stopped = checked < len(text)
    if stopped:
        text = text[: max(0, checked - _BEYOND)]
    shown = _without(text, spans)
    if stopped:
        shown = shown[: max(0, limit - 1)] + "…"
    elif cut:
        # What stood last may be half a secret: it stays out, whatever was shortened.
        shown = shown[: max(0, min(limit - 1, len(shown) - _SPARE // 2))] + "…"
    return shown if shown.isascii() else _valid(shown)


def _without(text: str, spans: Iterable[tuple[int, int]]) -> str:
    kept: list[str] = []
    last = 0
    for start, end in spans:
        if start >= len(text):
            break
        kept += text[last:start], HIDDEN
        last = end
    return "".join((*kept, text[last:])) if kept else text


def _valid(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
