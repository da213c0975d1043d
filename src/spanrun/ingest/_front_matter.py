"""The fields that stand before a text, in YAML or TOML: their title, and the text."""

from __future__ import annotations

import json
import re
import tomllib
from typing import Any, Final

_YAML: Final = re.compile(
    r"---[ \t]*\n(.*?)^(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE
)
_TOML: Final = re.compile(
    r"\+\+\+[ \t]*\n(.*?)^\+\+\+[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE
)
_LONGEST: Final = 64 * 1024  # characters; what is longer is a text
_KEY: Final = re.compile(
    r"[\w.-]+[ \t]*:(?:[ \t]|$)|\"[^\"\n]*\"[ \t]*:|'[^'\n]*'[ \t]*:"
)
_WITHIN: Final = ("#", " ", "\t", "- ", "-\n", "]", "}")
_TITLE: Final = re.compile(r"[\"']?title[\"']?[ \t]*:[ \t]*(.*)", re.IGNORECASE)
_BLOCK: Final = re.compile(r"[|>][+-]?\d?[+-]?[ \t]*(?:#.*)?")
_COMMENT: Final = re.compile(r"(?:^|[ \t])#.*")


def split_front_matter(text: str) -> tuple[str | None, str]:
    """The title that the front matter of ``text`` gives it, and the text behind that.

    A text that merely begins with a rule (``---``) keeps it: between two of them must
    be fields. Nothing is raised, and the time is linear in the length.
    """
    head = text[:_LONGEST]
    if (found := _TOML.match(head)) is not None:
        try:
            title: Any = tomllib.loads(found[1]).get("title")
        except (tomllib.TOMLDecodeError, RecursionError):
            return None, text
        return _line(title if isinstance(title, str) else ""), text[found.end() :]
    if (found := _YAML.match(head)) is not None and _is_mapping(found[1]):
        return _line(_yaml_title(found[1])), text[found.end() :]
    return None, text


def _is_mapping(block: str) -> bool:
    """Whether all lines are keys with values, or belong to one."""
    lines = [line for line in block.split("\n") if line.strip()]
    first = next((line for line in lines if not line.startswith("#")), "a:")
    return _KEY.match(first) is not None and all(
        line.startswith(_WITHIN) or _KEY.match(line) for line in lines
    )


def _yaml_title(block: str) -> str:
    """The value of the key ``title``: a scalar of whichever style."""
    lines = block.split("\n")
    for place, line in enumerate(lines):
        found = _TITLE.match(line)
        if found is None:
            continue
        more: list[str] = []
        for following in lines[place + 1 :]:
            if following.strip() and not following.startswith((" ", "\t")):
                break
            more.append(following.strip())
        first = found[1].strip()
        if _BLOCK.fullmatch(first):
            return " ".join(more)
        return _scalar(" ".join([first, *more]).strip())
    return ""


def _scalar(value: str) -> str:
    if value.startswith('"'):
        try:
            return str(json.JSONDecoder().raw_decode(value)[0])
        except ValueError:
            return value.strip('"')
    if value.startswith("'"):
        quoted = re.match(r"'((?:[^']|'')*+)'", value)
        return quoted[1].replace("''", "'") if quoted else value.strip("'")
    plain = _COMMENT.sub("", value).strip()
    return "" if plain in {"null", "~"} or plain.startswith(("[", "{")) else plain


def _line(title: str) -> str | None:
    return " ".join(title.split()) or None
