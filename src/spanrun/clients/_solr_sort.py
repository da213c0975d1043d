"""How a search is ordered: what Solr is sure to refuse is refused before it is sent.

Solr takes each part as a field or as a function, then asks for a direction. Which
fields and functions there are it knows alone, and it is lenient with what it can't read
in the midst of functions: so those are left to it, and what is looked at is the end of
the text, and each part where all of them are plain words.
"""

from __future__ import annotations

import re
from typing import Any, Final

from spanrun import checks

_DIRECTED: Final = re.compile(r".+(?:asc|desc)[\s,]*", re.DOTALL | re.IGNORECASE)
_PLAIN: Final = re.compile(r"\s*[^\W\d][\w.]*(?:\s+(\w+))?\s*")
_DIRECTIONS: Final = ("asc", "desc")
_HINT: Final = "must be fields or functions, each with asc or desc"


def sort_of(where: str, given: Any) -> str:
    """The parameter ``sort`` as one text.

    Args:
        where: The method that was called, for the error.
        given: As in Solr, ``"price asc, score desc"``; or a list of such parts.

    Raises:
        ConfigurationError: A part has no direction, or it isn't text.
    """
    if isinstance(given, str):
        text = given
    else:
        listed = checks.each(where, "sort", given, "texts, such as 'price asc'")
        text = ",".join(checks.text(where, "sort", part) for part in listed)
    if "${" in text or not text:  # Solr puts another parameter in its place
        return text
    parts = text.split(",")
    plain = [_PLAIN.fullmatch(part) for part in parts]
    wrong = [
        part
        for part, match in zip(parts, plain, strict=True)
        if match and str(match[1]).lower() not in _DIRECTIONS
    ]
    if all(plain) and wrong:
        why = f"{wrong[0].strip()!r} has none"
        raise checks.wrong(where, "sort", given, f"{_HINT}: {why}")
    if not _DIRECTED.fullmatch(text):
        raise checks.wrong(where, "sort", given, f"{_HINT}: there is none at its end")
    return text
