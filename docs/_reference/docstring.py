"""A docstring in Google's style as Markdown."""

import inspect
import re
from collections.abc import Iterator
from typing import Any, Final

_SECTION: Final = re.compile(r"(Args|Attributes|Raises|Returns|Example|End):$")
_ITEM: Final = re.compile(r"([\w.* ]+?):\s+(.*)")
_LITERAL: Final = re.compile(r"``(.+?)``")


def first_line(documented: Any) -> str:
    """What it does for the caller: the docstring's first paragraph as one line."""
    text = _own_doc(documented)
    return " ".join(_LITERAL.sub(r"`\1`", text).split("\n\n")[0].split())


def markdown(documented: Any) -> str:
    """The whole docstring."""
    return "\n\n".join(_blocks(_own_doc(documented)))


def _own_doc(documented: Any) -> str:
    # Not getdoc: what is inherited from a built-in says nothing of ours.
    return inspect.cleandoc(getattr(documented, "__doc__", None) or "")


def _blocks(text: str) -> Iterator[str]:
    section, lines = "", list[str]()
    for line in [*text.splitlines(), "End:"]:
        found = _SECTION.match(line)
        if found or (section and line and not line.startswith(" ")):
            if any(lines):
                yield _section(section, inspect.cleandoc("\n".join(["", *lines])))
            section = found[1] if found else ""
            lines = [] if found else [line]
        else:
            lines.append(line)


def _section(name: str, text: str) -> str:
    if name == "Example":
        return f"```pycon\n{text.strip()}\n```"
    text = _LITERAL.sub(r"`\1`", text.strip())
    if not name:
        return text
    if name == "Returns":
        return f"**Returns**: {text}"
    return "\n".join([f"**{name}**", "", *_items(text)])


def _items(text: str) -> Iterator[str]:
    item = ""
    for line in [*text.splitlines(), ""]:
        if line.startswith(" "):
            item += f" {line.strip()}"
            continue
        if item:
            found = _ITEM.fullmatch(item)
            yield f"- `{found[1]}`: {found[2]}" if found else f"- {item}"
        item = line
