"""The reasoning that a model writes before its answer, apart from the answer."""

from __future__ import annotations

import re
from typing import Final

_OPENING: Final = re.compile(r"\s*<(think|thinking|reasoning)>", re.IGNORECASE)
_LONE_CLOSING: Final = re.compile(r"^\s*</think>\s*$", re.IGNORECASE | re.MULTILINE)


def without_reasoning(text: str) -> tuple[str, str | None]:
    """The answer in ``text``, and the reasoning before it if there is some.

    Servers that don't know a model's form leave it in the text, at the beginning, in
    ``<think>…</think>``; those whose prompt ends in ``<think>`` leave its end alone.
    Reasoning that was cut off has no answer behind it.
    """
    opening = _OPENING.match(text)
    if opening is None:
        closing = _LONE_CLOSING.search(text)
        if closing is None:
            return text, None
        return text[closing.end() :].lstrip(), text[: closing.start()].strip()
    closing = re.compile(f"</{opening[1]}>", re.IGNORECASE).search(text, opening.end())
    if closing is None:
        return "", text[opening.end() :].strip()
    reasoning = text[opening.end() : closing.start()].strip()
    return text[closing.end() :].lstrip(), reasoning
