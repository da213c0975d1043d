"""Keep secrets and giants out of telemetry, before anything is written."""

from __future__ import annotations

import re
from typing import Final

MAX_CHARACTERS: Final = 16 * 1024
HIDDEN: Final = "[redacted]"
_SPARE: Final = 4 * 1024
"""Characters beyond the cut that are looked at: what stands there may be the end
of a secret that begins before it."""

_NAMES: Final = (
    r"[\w-]*(?:api[_-]?key|access[_-]?key(?:[_-]?id)?|secret(?:[_-]?key)?"
    r"|private[_-]?key|token|password|passphrase|passwd|pwd|credentials?)"
)
_HINTS: Final = (
    *("://", "auth", "bearer", "basic", "cookie", "key", "secret", "token", "pass"),
    *("pwd", "credential", "sk-", "sk_", "pk-", "pk_", "rk-", "rk_", "ghp_", "gho_"),
    *("ghu_", "ghs_", "ghr_", "github_pat", "glpat-", "xox", "hf_", "aiza", "akia"),
    *("asia", "ya29", "eyj"),
)
"""Each rule needs one of them; text without any, which is most, needs no rule."""

_RULES: Final = (
    (
        re.compile(
            r"-----BEGIN [A-Z ]*PRIVATE KEY-----"
            r".*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
            re.DOTALL,
        ),
        HIDDEN,
    ),
    # user:password@, or a token alone, in a URL
    (re.compile(r"(?<=://)[^/\s'\"<>]+(?=@)"), HIDDEN),
    # Authorization: …, also in the text of an exception or a dict
    (
        re.compile(
            r"(?i)(authorization['\"]?\s*[:=]\s*['\"]?(?:[a-z]+\s+)?+)"
            r"(?!\[redacted\])[^\s'\",;]{3,}"
        ),
        rf"\1{HIDDEN}",
    ),
    (
        re.compile(
            r"\b((?i:bearer|basic))\s+(?=\S*(?:[\d=]|[a-z][A-Z]))[\w.~+/=-]{6,}"
        ),
        rf"\1 {HIDDEN}",
    ),
    (re.compile(r"(?i)\b((?:set-)?cookie['\"]?\s*:\s*)[^\r\n]+"), rf"\1{HIDDEN}"),
    # "token": "…", quoted, to the closing quote or the end of the line
    (
        re.compile(
            rf"(?i)\b({_NAMES}['\"]?\s*[=:]\s*)(['\"])"
            r"(?!\[redacted\])(?:\\.|(?!\2)[^\\\n])+(\2|$)",
            re.MULTILINE,
        ),
        rf"\1\2{HIDDEN}\3",
    ),
    # api_key=…, password: …
    (
        re.compile(
            rf"(?i)\b({_NAMES}['\"]?\s*[=:]\s*)(?!\[redacted\])[^\s'\"&,;)}}\]]{{3,}}"
        ),
        rf"\1{HIDDEN}",
    ),
    # keys that are known by their first letters
    (
        re.compile(
            r"\b(?:[spr]k[-_](?=[\w-]*\d)[\w-]{12,}|gh[pousr]_\w{12,}"
            r"|github_pat_\w{12,}|glpat-[\w-]{12,}|xox[a-z]-[\w-]{10,}|hf_\w{16,}"
            r"|AIza[\w-]{20,}|(?:AKIA|ASIA)[A-Z0-9]{12,}|ya29\.[\w.-]{6,}"
            r"|eyJ[\w-]{6,}\.[\w-]+(?:\.[\w-]*)?)"
        ),
        HIDDEN,
    ),
)


def text_of(value: object) -> str:
    """``str(value)``, or the name of its type where that can't be had."""
    try:
        return str(value)
    except Exception:  # noqa: BLE001 -- whatever a user's class does there
        return f"<{type(value).__name__} without a text>"


def redact(text: str) -> str:
    """``text`` without credentials, at most `MAX_CHARACTERS` long, valid UTF-8."""
    cut = len(text) > MAX_CHARACTERS
    if cut:
        text = text[: MAX_CHARACTERS + _SPARE]
    lower = text.lower()
    if any(hint in lower for hint in _HINTS):
        for pattern, instead in _RULES:
            text = pattern.sub(instead, text)
    if cut:
        # What stood last may be half a secret: it stays out, whatever was shortened.
        text = text[: min(MAX_CHARACTERS - 1, len(text) - _SPARE // 2)] + "…"
    return text.encode("utf-8", "backslashreplace").decode()
