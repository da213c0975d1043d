"""What secrets look like in texts: the patterns that `redact` goes by."""

from __future__ import annotations

import re
from typing import Final

HIDDEN: Final = "[redacted]"

# No pattern may begin with what can be long, or begin within what it has seen: the
# time that takes grows with the square of the text.
_NAMES: Final = (
    r"(?:api[_-]?key|access[_-]?key(?:[_-]?id)?|secret(?:[_-]?key)?"
    r"|(?:private|account|auth|encryption|signing|session)[_-]?key"
    r"|token|password|passphrase|passcode|passwd|pwd|credentials?)"
)
_HEADERS: Final = rf"(?:[\w-]{{0,64}}{_NAMES}|(?:proxy-)?authorization|(?:set-)?cookie)"
_SAYS: Final = ("key", "secret", "token", "pass", "pwd", "credential")
_LETTERS: Final = (
    *("sk-", "sk_", "pk-", "pk_", "rk-", "rk_", "ghp_", "gho_", "ghu_", "ghs_", "ghr_"),
    *("github_pat", "glpat-", "xox", "hf_", "aiza", "akia", "asia", "ya29", "eyj"),
    *("npm_", "pypi-", "hvs.", "gocspx", "sg.", "inf-", "1//0", "whsec_"),
)

_QUOTE: Final = r"\\*['\"]"  # in JSON inside of JSON it has backslashes
_IS: Final = r"\s*(?:[=:]|=>|%3[dD])\s*"
_PREFIX: Final = r"[bBrRuUfF]{0,2}"
_NOT_AGAIN: Final = r"(?!\[redacted\])"

RULES: Final = tuple(
    (frozenset(hints), re.compile(pattern), instead)
    for hints, pattern, instead in (
        (
            ("key",),
            (
                r"(?s)-----BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-----"
                r".*?(?:-----END [A-Z ]*PRIVATE KEY(?: BLOCK)?-----|\Z)"
            ),
            HIDDEN,
        ),
        # user:password@, or a token alone, in a URL
        (("@",), r"(?<=://)[^/\s'\"<>]+(?=@)", HIDDEN),
        # a whole webhook is a secret
        (
            ("hooks", "telegram"),
            (
                r"(?i)((?:hooks\.slack\.com/services|/api/webhooks|api\.telegram\.org)/)"
                r"[\w:/-]{8,}"
            ),
            rf"\1{HIDDEN}",
        ),
        # Authorization: …, also in the text of an exception or a dict
        (
            ("auth",),
            (
                rf"(?i)(authorization(?:{_QUOTE})?{_IS}{_PREFIX}(?:{_QUOTE})?)"
                r"(?:digest|hawk|oauth|aws4-hmac-sha256)\s[^\r\n]+"
            ),
            rf"\1{HIDDEN}",
        ),
        (
            ("auth",),
            (
                rf"(?i)(authorization(?:{_QUOTE})?{_IS}{_PREFIX}(?:{_QUOTE})?"
                rf"(?:[a-z]+\s+)?+){_NOT_AGAIN}[^\s'\",;\\]{{3,}}"
            ),
            rf"\1{HIDDEN}",
        ),
        (
            ("bearer", "basic"),
            r"\b((?i:bearer|basic))\s+(?=\S*(?:[\d=]|[a-z][A-Z]))[\w.~+/=-]{6,}",
            rf"\1 {HIDDEN}",
        ),
        (
            ("cookie",),
            rf"(?i)\b((?:set-)?cookie(?:{_QUOTE})?\s*:\s*)[^\r\n]+",
            rf"\1{HIDDEN}",
        ),
        # ('x-api-key', '…'), as lists of headers are shown
        (
            (*_SAYS, "auth", "cookie"),
            (
                rf"(?i)([(\[]\s*{_PREFIX}{_QUOTE}{_HEADERS}{_QUOTE}\s*,\s*{_PREFIX})"
                rf"({_QUOTE}){_NOT_AGAIN}(?:(?!\2)(?:\\.|[^\\\n]))++(\2)?"
            ),
            rf"\1\2{HIDDEN}\3",
        ),
        # "token": "…", quoted, to the closing quote or the end of the line
        (
            _SAYS,
            (
                rf"(?i)({_NAMES}(?:{_QUOTE})?{_IS}{_PREFIX})"
                rf"({_QUOTE}){_NOT_AGAIN}(?:(?!\2)(?:\\.|[^\\\n]))++(\2)?"
            ),
            rf"\1\2{HIDDEN}\3",
        ),
        # api_key=…, password: …
        (
            _SAYS,
            rf"(?i)({_NAMES}(?:{_QUOTE})?{_IS}){_NOT_AGAIN}[^\s'\"&,;)}}\]]{{3,}}",
            rf"\1{HIDDEN}",
        ),
        # --token …
        (
            _SAYS,
            rf"(?i)((?<!\S)--?[\w-]{{0,64}}{_NAMES}\s+){_NOT_AGAIN}(?!-)[^\s'\"]{{3,}}",
            rf"\1{HIDDEN}",
        ),
        # what is called shortly in a query
        (
            ("key=", "sig=", "signature=", "auth=", "jwt=", "sas=", "id=", "otp="),
            (
                r"(?i)([?&;](?:[\w-]*signature|key|sig|auth|jwt|sas|session(?:_?id)?|sid"
                rf"|otp)=){_NOT_AGAIN}[^\s'\"&#]{{6,}}"
            ),
            rf"\1{HIDDEN}",
        ),
        (
            ("code=",),
            rf"(?i)([?&]code=){_NOT_AGAIN}[^\s'\"&#]{{16,}}",
            rf"\1{HIDDEN}",
        ),
        # keys that are known by their first letters
        (
            _LETTERS,
            (
                r"\b(?:[spr]k[-_](?=[\w-]{0,200}\d)[\w-]{12,}|gsk_\w{20,}|whsec_\w{16,}"
                r"|gh[pousr]_\w{12,}|github_pat_\w{12,}|glpat-[\w-]{12,}"
                r"|xox[a-z]-[\w-]{10,}|hf_\w{16,}|npm_\w{20,}|pypi-[\w-]{16,}"
                r"|hvs\.[\w-]{16,}|GOCSPX-[\w-]{16,}|SG\.[\w-]{16,}\.[\w-]{16,}"
                r"|inf-[0-9a-f]{8}-[0-9a-f-]{20,}|1//0[\w-]{10,}"
                r"|AIza[\w-]{20,}|(?:AKIA|ASIA)[A-Z0-9]{12,}|ya29\.[\w.-]{6,}"
                r"|eyJ[\w-]{6,15}\.[\w-]+(?:\.[\w-]*)?|eyJ[\w-]{16,}(?:\.[\w-]*)*)"
            ),
            HIDDEN,
        ),
    )
)
"""Texts of which a rule needs one, in lower case; what it looks for; what it leaves."""

HINTS: Final = tuple(sorted({hint for hints, _, _ in RULES for hint in hints}))
"""Text without any of them, which is most, needs no rule."""

SECRET_KEY: Final = re.compile(rf"(?i)(?:.*[.\s])?{_HEADERS}", re.DOTALL)
"""Attributes whose key alone says that the value is for nobody's eyes."""
