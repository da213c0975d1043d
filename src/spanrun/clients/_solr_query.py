"""Queries whose user-given parts can't become query language.

Nothing of a user's is ever put into a query: it stands in a parameter of its own,
to which the query refers (``v=$sr_text``). That alone isn't enough, as measured
with Solr 9.8: in edismax ``*:*``, ``NOT word`` and ``[* TO *]`` still match what the
word doesn't, and ``${other}`` in any parameter is replaced by another one's value. So
words are quoted, one by one, fields of the user's are off, and so are macros.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, TypeAlias

from spanrun import checks
from spanrun.clients.vectors import finite
from spanrun.errors import ConfigurationError

Where: TypeAlias = Mapping[str, str | Collection[str]]
"""Fields, and the value or values that a document must have in each one."""

MAX_ROWS: Final = 2**31 - 1  # Solr counts documents in 32 bits
_MAX_WORDS: Final = 64
# What isn't ASCII is left to the field's analyzer, which knows all scripts.
_WORD: Final = re.compile(r"(?:\w|[^\x00-\x7f\s])+")
_FIELD: Final = re.compile(r"[A-Za-z_][\w.-]*", re.ASCII)
_SEPARATOR: Final = "\x1f"
# Fields and values without patterns or negation: whatever they find, they say it.
_VALUE: Final = (
    r'(?:"(?:\\.|[^"\\])*"|(?!(?:AND|OR|NOT)\b)(?:\\.|[\w.])(?:\\.|[\w.@-])*)'
)
_AND: Final = r"\s+(?:(?:AND|OR)\s+)?"
_CLAUSE: Final = rf"[A-Za-z][\w.]*:(?:{_VALUE}|\({_VALUE}(?:{_AND}{_VALUE})*\))"
_PLAIN: Final = re.compile(rf"{_CLAUSE}(?:{_AND}{_CLAUSE})*")
_QUOTED: Final = re.compile(r'"(?:\\.|[^"\\])*"|\\.')
_NAMED: Final = re.compile(r"([A-Za-z][\w.]*):")
_DIRECTED: Final = re.compile(r".+(?:asc|desc)[\s,]*", re.DOTALL | re.IGNORECASE)
_SORT: Final = re.compile(r"\s*[^\W\d][\w.]*(?:\s+(\w+))?\s*")
_HINT: Final = "must be fields or functions, each with asc or desc"
SAFE: Final = {"expandMacros": "false"}


def words(text: str) -> str:
    """The words of ``text``, each in quotes, at most 64; empty where it has none."""
    # JSON carries what UTF-8 can't; Solr would store it as something else.
    found = _WORD.findall(text.encode("utf-8", "replace").decode())
    return " ".join(f'"{word}"' for word in list(dict.fromkeys(found))[:_MAX_WORDS])


def weights(fields: Mapping[str, float] | Sequence[str]) -> dict[str, float]:
    """The weight of each field.

    Raises:
        ConfigurationError: There is no field, or a weight isn't above 0.
    """
    known: dict[str, float]
    if isinstance(fields, Mapping):
        known = dict(fields)
    else:
        names = checks.each("search_text", "fields", fields, "names of fields")
        known = dict.fromkeys(names, 1.0)
    if not known:
        raise checks.wrong("search_text", "fields", fields, "must be some fields")
    return {
        checks.text("search_text", "fields", name): checks.above(
            "search_text", f"fields[{name!r}]", weight, 0
        )
        for name, weight in known.items()
    }


def by_text(quoted: str, fields: Mapping[str, float]) -> dict[str, Any]:
    """Parameters that find what has any of the words that `words` has quoted."""
    return {
        **SAFE,
        "q": "{!edismax v=$sr_text qf=$sr_fields uf='-*' mm=1 q.op=OR "
        "lowercaseOperators=false}",
        "sr_text": quoted,
        "sr_fields": " ".join(f"{name}^{weight}" for name, weight in fields.items()),
    }


def by_vector(vector: Sequence[float], field: str, count: int) -> dict[str, Any]:
    """Parameters that find the ``count`` nearest."""
    numbers = finite(checks.each("search_vector", "vector", vector, "finite numbers"))
    if not numbers:
        raise checks.wrong("search_vector", "vector", vector, "must be finite numbers")
    return {
        **SAFE,
        "q": f"{{!knn f={field} topK={count} v=$sr_vector}}",
        "sr_vector": json.dumps(numbers),
    }


def check_where(method: str, where: object) -> None:
    """Refuse what isn't a `Where`, or None."""
    if where is None:
        return
    found = checks.mapping(method, "where", where, "fields to their values")
    for field, wanted in found.items():
        checks.text(method, "where", field)
        if not isinstance(wanted, str):
            checks.each(method, f"where[{field!r}]", wanted, "texts")


def only(where: Where | None, others: Mapping[str, Any]) -> dict[str, Any]:
    """``others``, and parameters that keep what has one of the values in each field.

    Raises:
        ConfigurationError: A value isn't a text, or holds the separator U+001F.
    """
    asked = others.get("fq", [])
    filters = [asked] if isinstance(asked, str) else list(asked)
    parameters = {**others, "fq": filters}
    for place, (field, wanted) in enumerate((where or {}).items()):
        values = [wanted] if isinstance(wanted, str) else list(wanted)
        for value in values:
            if not isinstance(value, str) or _SEPARATOR in value:  # pyright: ignore[reportUnnecessaryIsInstance]
                raise ConfigurationError(
                    f"where[{field!r}]={value!r}: must be a text without U+001F"
                )
        name = f"sr_where_{place}"
        filters.append(f"{{!terms f={field} separator='{_SEPARATOR}' v=${name}}}")
        parameters[name] = _SEPARATOR.join(values)
    return parameters


def is_field_name(name: object) -> bool:
    """Whether ``name`` can stand in a query as it is."""
    return isinstance(name, str) and _FIELD.fullmatch(name) is not None


def plain_fields(text: str) -> set[str]:
    """The fields of a query that has only fields with values: ``a:1 OR b:(2 3)``.

    Empty for any other query.
    """
    if _PLAIN.fullmatch(text.strip()) is None:
        return set()
    return set(_NAMED.findall(_QUOTED.sub("", text)))


def sort_of(where: str, given: Any) -> str:
    """The parameter ``sort`` as one text; what Solr is sure to refuse is refused here.

    Solr takes each part as a field or as a function, then asks for a direction. Which
    there are it knows alone, and it is lenient with what it can't read in the midst of
    functions. So what is looked at is the end of the text, and each part where all of
    them are plain words.

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
    plain = [_SORT.fullmatch(part) for part in parts]
    wrong = [
        part
        for part, match in zip(parts, plain, strict=True)
        if match and str(match[1]).lower() not in ("asc", "desc")
    ]
    if all(plain) and wrong:
        why = f"{wrong[0].strip()!r} has none"
        raise checks.wrong(where, "sort", given, f"{_HINT}: {why}")
    if not _DIRECTED.fullmatch(text):
        raise checks.wrong(where, "sort", given, f"{_HINT}: there is none at its end")
    return text
