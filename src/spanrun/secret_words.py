"""`Rule`, and whether what one finds is a secret, and not a word of a sentence.

The compiled part has the same checks in `rust/src/redact/checks.rs`; the words and the
patterns that they go by are written there by `make generate`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from string import digits
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

HIDDEN: Final = "[redacted]"
SPACES: Final = (
    r"\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
)
"""What `\\s` is: all white space of Unicode. Other classes are ASCII's."""

Check: TypeAlias = Literal[
    "always",
    "argument",
    "assigned",
    "at_host",
    "encoded",
    "glued",
    "header",
    "lettered",
    "login",
    "shaped",
    "spoken",
]

_PART: Final = re.compile(r"\\.|.", re.DOTALL)


def compiled(source: str) -> re.Pattern[str]:
    r"""The pattern of ``source``, with `SPACES` for ``\s`` and ASCII for the rest."""
    inside = False
    written: list[str] = []
    for part in map(str, _PART.findall(source)):
        if part == r"\s":
            written.append(SPACES if inside else f"[{SPACES}]")
        elif part == r"\S":
            written.append(f"[^{SPACES}]")
        else:
            if part in "[]":
                inside = part == "["
            written.append(part)
    return re.compile("".join(written), re.ASCII)


@dataclass(frozen=True)
class Rule:
    """One form of secrets.

    Its pattern is in the language that Python's `re` and Rust's `regex` share: it looks
    neither ahead nor back. It hides the group ``secret``, ``quoted`` or ``rest``; a
    group ``quote`` begins what goes on to the same quote or the end of the line.

    It is looked for around its hints alone, between ``before`` characters before a
    hint's start and ``after`` characters after that. What is hidden may be longer, but
    the least that the pattern needs must have its place there. No pattern may begin
    with what can be long, or begin within what it has seen: the time that takes grows
    with the square of the text.

    Attributes:
        hints: Texts of which it needs one, in lower case.
        also: The same once more, where there are any.
        source: What it looks for.
        check: Decides on what is found; see `CHECKS`.
        before: Characters before a hint at which it may begin.
        after: Characters from a hint on in which it must be found.
    """

    hints: tuple[str, ...]
    also: tuple[str, ...]
    source: str
    check: Check
    before: int
    after: int

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Compiled when a text needs it: all together take 20 ms."""
        return compiled(self.source)


_SENTENCES: Final = """
a all an and any are as at auth authentication based be been but by can cannot check
cookie cookies empty error expired expires failed false field fields for found from
given has have header headers here if in instead invalid is isn't it malformed may
missing must name named needed needs no none not null of ok on or present provided
refresh refused rejected required requires sent set should that the then there this to
true unset used using valid value values was were when where which will with wrong yes
"""
WORDS: Final = frozenset(_SENTENCES.split())
NO_SECRET: Final = (
    r"(?i)\A(?:\d{1,5}(?:[.,]\d+)?(?:-[a-z]+|(?:[a-z%]|µ){1,4}(?:/[a-z]+)?)"  # noqa: S105 -- 128-bit
    r"|(?:base|sha|md|utf|[rehp]s|aes|rsa|ed|x|v|oauth|pkcs|argon|http)[-_]?\d.{0,4}"
    r"|\d{4}-\d\d-\d\d.*|\w+=[^=].*|[\w.]+\(.*)\Z"
)
COUNTED: Final = r"\A[a-zA-Z]+[-_]?\d{1,4}\W?\Z"  # index3, float32
MIXED: Final = (
    r"\A[^a-zA-Z]*[a-zA-Z][^\d]*\d|\A[^\d]*\d[^a-zA-Z]*[a-zA-Z]"
    r"|[a-zA-Z0-9][!#$%^&*+=~@]+[a-zA-Z0-9]"
)
ENCODED: Final = r"[\d=]|[a-z][A-Z]"
_BEFORE_MAIL: Final = """
account acct assignee author bcc by cc committer contact email e-mail from id key login
mail mailto maintainer name owner recipient reply-to sender sha1 sha256 sha512 sip sips
to user username xmpp
"""
OF_MAIL: Final = tuple(_BEFORE_MAIL.split())
PLACEHOLDER: Final = ("$", "{", "<", "%", "*", "-")
WITH_P: Final = frozenset(
    ("ath", "id", "ipe", "ort", "orts", "rint", "rocess", "rod", "rofile", "rotocol")
)
_LONG: Final = 8
_SHORT: Final = 4

LETTERS: Final = (
    *("sk-", "sk_", "pk-", "pk_", "rk-", "rk_", "ghp_", "gho_", "ghu_", "ghs_", "ghr_"),
    *("github_pat", "glpat-", "hf_", "aiza", "akia", "asia", "ya29", "eyj"),
    *(f"xox{kind}-" for kind in "abcdeoprs"),
    *("npm_", "pypi-", "hvs.", "gocspx", "sg.", "inf-", "1//0", "whsec_"),
)
"""Of keys that are known by them."""

_no_secret: Final = compiled(NO_SECRET)
_counted: Final = compiled(COUNTED)
_mixed: Final = compiled(MIXED)
_encoded: Final = compiled(ENCODED)


def _begins_word(value: str) -> bool:
    return value[0].isalnum() or not value[0].isascii()


def _number(value: str) -> bool:
    return value.isascii() and value.isdecimal()


def _looks_secret(value: str, least: int) -> bool:
    """Whether ``value`` is no word of a sentence, nor a number, a date or a size."""
    value = value.rstrip(".,;:!?)]}>'\"")
    if len(value) < least or not (_begins_word(value) or value[0] in "_!#^&+~"):
        return False
    if "://" in value or " " in value or _no_secret.search(value):
        return False
    return _mixed.search(value) is not None


def _always(_found: re.Match[str], _value: str) -> bool:
    return True


def _shaped(_found: re.Match[str], value: str) -> bool:
    """It doesn't look like a word."""
    return _looks_secret(value, _LONG)


def _encoded_value(_found: re.Match[str], value: str) -> bool:
    """What follows ``Bearer`` isn't one either."""
    return _encoded.search(value) is not None


def _lettered(_found: re.Match[str], value: str) -> bool:
    """``sk-…`` without a number is a name: sk-learn."""
    return value[1:3] not in ("k-", "k_") or any(map(value.__contains__, digits))


def _argument(_found: re.Match[str], value: str) -> bool:
    """What follows an option, unless it is a variable or another option."""
    return not value.startswith(PLACEHOLDER)


def _glued(found: re.Match[str], value: str) -> bool:
    """``-pPASSWORD``, where it isn't ``-port``."""
    return value.lower() not in WITH_P and _argument(found, value)


def _login(found: re.Match[str], value: str) -> bool:
    """``name:password``, unless it is ``uid:gid`` or the beginning of a URL."""
    name = found["name"] or found["word"] or ""
    numbers = _number(name) and _number(value)
    return not numbers and value[:2] != "//" and _argument(found, value)


def _at_host(found: re.Match[str], value: str) -> bool:
    """``name:password@host``, unless it is an address of mail, or a digest's."""
    digest = "@sha256" in found[0] or "@sha512" in found[0]
    return not found["mail"] and not digest and _argument(found, value)


def _header(_found: re.Match[str], value: str) -> bool:
    """What follows ``X-Auth-Token`` is its value, unless it goes on as a sentence."""
    return _begins_word(value) and value.strip(".,;:!?)").lower() not in WORDS


def _spoken(found: re.Match[str], value: str) -> bool:
    """``password is x``, ``Token x``: the less is said, the more it must look it."""
    name, verb = found["named"].lower(), found["verb"]
    is_password = name.startswith("p") and "key" not in name
    if is_password and verb and _number(value.rstrip(".,;:!?)")):
        return len(value) >= _SHORT
    least = _SHORT if verb else 5 if is_password else 6
    if name == "secret" and not verb:
        least = 2 * _LONG  # else it may be the name of one
    counted = not is_password and not verb and _counted.search(value)
    return not counted and _looks_secret(value, least)


def _assigned(found: re.Match[str], value: str) -> bool:
    """``pass=x``, where it isn't a count, or a yes."""
    plain = _number(value) or value.lower() in WORDS
    sure = "=" in found[0].removesuffix(value) and not plain
    return sure or _looks_secret(value, _SHORT)


CHECKS: Final[Mapping[Check, Callable[[re.Match[str], str], bool]]] = MappingProxyType(
    {
        "always": _always,
        "argument": _argument,
        "assigned": _assigned,
        "at_host": _at_host,
        "encoded": _encoded_value,
        "glued": _glued,
        "header": _header,
        "lettered": _lettered,
        "login": _login,
        "shaped": _shaped,
        "spoken": _spoken,
    }
)
"""By its name, what decides whether a match, with this for its value, is a secret."""
