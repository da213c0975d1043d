"""Keep secrets and giants out of telemetry, before anything is written."""

from __future__ import annotations

import re
from typing import Final

MAX_CHARACTERS: Final = 16 * 1024
HIDDEN: Final = "[redacted]"

_RULES: Final = (
    # user:password@ in a URL
    (re.compile(r"(?<=://)[^/@\s:]*:[^/@\s]*(?=@)"), HIDDEN),
    # Authorization: Bearer …, also in the text of an exception
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{6,}"), rf"\1 {HIDDEN}"),
    # api_key=…, "token": "…", password: …
    (
        re.compile(
            r"(?i)\b([\w-]*(?:api[_-]?key|access[_-]?key|token|secret|password|passwd))"
            r"(['\"]?\s*[=:]\s*['\"]?)(?!\[redacted\])[^\s'\"&,;)}\]]{3,}"
        ),
        rf"\1\2{HIDDEN}",
    ),
    # keys that are known by their first letters
    (re.compile(r"\b(?:sk|pk|rk|ghp|gho|xox[abp])[-_][\w-]{12,}"), HIDDEN),
)


def text_of(value: object) -> str:
    """``str(value)``, or the name of its type where that can't be had."""
    try:
        return str(value)
    except Exception:  # noqa: BLE001 -- whatever a user's class does there
        return f"<{type(value).__name__} without a text>"


def redact(text: str) -> str:
    """``text`` without credentials, at most `MAX_CHARACTERS` long, valid UTF-8."""
    if len(text) > MAX_CHARACTERS:
        text = text[: MAX_CHARACTERS - 1] + "…"
    for pattern, instead in _RULES:
        text = pattern.sub(instead, text)
    return text.encode("utf-8", "backslashreplace").decode()
