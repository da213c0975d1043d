"""`Rule`, and whether what one finds is a secret, and not a word of a sentence."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Final, TypeAlias

HIDDEN: Final = "[redacted]"

Instead: TypeAlias = str | Callable[[re.Match[str]], str]


@dataclass(frozen=True)
class Rule:
    """One form of secrets.

    No pattern may begin with what can be long, or begin within what it has seen: the
    time that takes grows with the square of the text. What comes before a secret is
    bounded. Newer patterns look neither ahead nor back; what they must not hide is
    decided by a function, which sees the match.

    Attributes:
        hints: Texts of which it needs one, in lower case.
        also: The same once more, where there are any.
        source: What it looks for.
        instead: What it leaves of that.
    """

    hints: frozenset[str]
    also: tuple[str, ...]
    source: str
    instead: Instead

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Compiled when a text needs it: all together take 20 ms."""
        return re.compile(self.source)


_SENTENCES: Final = """
a all an and any are as at auth authentication based be been but by can cannot check
cookie cookies empty error expired expires failed false field fields for found from
given has have header headers here if in instead invalid is isn't it malformed may
missing must name named needed needs no none not null of ok on or present provided
refresh refused rejected required requires sent set should that the then there this to
true unset used using valid value values was were when where which will with wrong yes
"""
_WORDS: Final = frozenset(_SENTENCES.split())
_NO_SECRET: Final = re.compile(
    r"\d{1,5}(?:[.,]\d+)?(?:-[a-z]+|[a-zA-Zµ%]{1,4}(?:/[a-z]+)?)"  # 128-bit, 20ms
    r"|(?:base|sha|md|utf|[rehp]s|aes|rsa|ed|x|v|oauth|pkcs|argon|http)[-_]?\d.{0,4}"
    r"|\d{4}-\d\d-\d\d.*|\w+=[^=].*|[\w.]+\(.*",
    re.IGNORECASE,
)
_COUNTED: Final = re.compile(r"[a-zA-Z]+[-_]?\d{1,4}\W?")  # index3, float32
_MIXED: Final = re.compile(
    r"[a-zA-Z]\D*\d|\d[^a-zA-Z]*[a-zA-Z]|[a-zA-Z0-9][!#$%^&*+=~@]+[a-zA-Z0-9]"
)
_BEFORE_MAIL: Final = """
account acct assignee author bcc by cc committer contact email e-mail from id key login
mail mailto maintainer name owner recipient reply-to sender sha1 sha256 sha512 sip sips
to user username xmpp
"""
_OF_MAIL: Final = frozenset(_BEFORE_MAIL.split())
_PLACEHOLDER: Final = ("$", "{", "<", "%", "*", "-", HIDDEN)
_WITH_P: Final = frozenset(
    ("ath", "id", "ipe", "ort", "orts", "rint", "rocess", "rod", "rofile", "rotocol")
)
_LONG: Final = 8
_SHORT: Final = 4


def _shaped(value: str, least: int) -> bool:
    """Whether ``value`` is no word of a sentence, nor a number, a date or a size."""
    value = value.rstrip(".,;:!?)]}>'\"")
    if len(value) < least or not (value[0].isalnum() or value[0] in "_!#^&+~"):
        return False
    if "://" in value or " " in value or _NO_SECRET.fullmatch(value):
        return False
    return _MIXED.search(value) is not None


def hide(found: re.Match[str]) -> str:
    """The match, with its secret hidden."""
    start, end = found.span(found.lastgroup or 0)
    whole, at = found[0], found.start()
    return f"{whole[: start - at]}{HIDDEN}{whole[end - at :]}"


def hide_shaped(found: re.Match[str]) -> str:
    """It doesn't look like a word."""
    return hide(found) if _shaped(_secret(found), _LONG) else found[0]


def hide_argument(found: re.Match[str]) -> str:
    """What follows an option, unless it is a variable or another option."""
    return found[0] if _secret(found).startswith(_PLACEHOLDER) else hide(found)


def hide_glued(found: re.Match[str]) -> str:
    """``-pPASSWORD``, where it isn't ``-port``."""
    return found[0] if _secret(found).lower() in _WITH_P else hide_argument(found)


def hide_login(found: re.Match[str]) -> str:
    """``name:password``, unless it is ``uid:gid`` or the beginning of a URL."""
    name, value = found["name"] or found["word"] or "", _secret(found)
    numbers = name.isdecimal() and value.isdecimal()
    return found[0] if numbers or value[:2] == "//" else hide_argument(found)


def hide_at_host(found: re.Match[str]) -> str:
    """``name:password@host``, unless it is an address of mail, or a digest's."""
    mail = found["name"].lower() in _OF_MAIL
    digest = "@sha256" in found[0] or "@sha512" in found[0]
    return found[0] if mail or digest else hide_argument(found)


def hide_after_header(found: re.Match[str]) -> str:
    """What follows ``X-Auth-Token`` is its value, unless it goes on as a sentence."""
    value = _secret(found)
    word = value.strip(".,;:!?)").lower()
    return found[0] if word in _WORDS or not value[0].isalnum() else hide(found)


def hide_spoken(found: re.Match[str]) -> str:
    """``password is x``, ``Token x``: the less is said, the more it must look it."""
    value, name, verb = _secret(found), found["named"].lower(), found["verb"]
    is_password = name.startswith("p") and "key" not in name
    if is_password and verb and value.rstrip(".,;:!?)").isdecimal():
        return hide(found) if len(value) >= _SHORT else found[0]
    least = _SHORT if verb else 5 if is_password else 6
    if name == "secret" and not verb:
        least = 2 * _LONG  # else it may be the name of one
    counted = not is_password and not verb and _COUNTED.fullmatch(value)
    return hide(found) if _shaped(value, least) and not counted else found[0]


def hide_assigned(found: re.Match[str]) -> str:
    """``pass=x``, where it isn't a count, or a yes."""
    value = _secret(found)
    plain = value.isdecimal() or value.lower() in _WORDS or value.startswith("[")
    sure = "=" in found[0].removesuffix(value) and not plain
    return hide(found) if sure or _shaped(value, _SHORT) else found[0]


def _secret(found: re.Match[str]) -> str:
    return found[found.lastgroup or 0]
