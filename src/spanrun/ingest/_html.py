"""The text of an HTML page: title apart, each block element a paragraph."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser
from typing import Final

_DROPPED = frozenset({"noscript", "svg", "template"})
_INLINE_NAMES = """
    a abbr acronym b bdi bdo big button cite code data del dfn em font i img input ins
    kbd label mark nobr q rp rt ruby s samp select small span strike strong sub sup
    time tt u var wbr
"""
_INLINE = frozenset(_INLINE_NAMES.split())
_LINES = frozenset({"br", "dd", "dt", "li", "option", "tr"})
_CELLS = frozenset({"td", "th"})
_HEADINGS = {f"h{level}": "#" * level + " " for level in range(1, 7)}

_HIDDEN = re.compile(r"<!--|<(script|style)\b", re.IGNORECASE)
_CLOSINGS = {
    "": re.compile("-->"),
    "script": re.compile(r"</script\b[^>]*>?", re.IGNORECASE),
    "style": re.compile(r"</style\b[^>]*>?", re.IGNORECASE),
}

# `int()` refuses more than 4300 digits, and html.unescape doesn't expect that.
_SPACE = re.compile(r"\s")
_PIECE: Final = 65_536  # characters: a list of the words of more would be larger

_HUGE_REFERENCE = re.compile(r"&#(?:[xX][0-9a-fA-F]{8,}|[0-9]{9,});?")


def html_text(markup: str) -> tuple[str | None, str]:
    """Return the page's title, where it has one, and its text.

    Scripts, styles, templates and comments are dropped. Headings are written as
    Markdown's (``## …``) and what stands in ``pre`` as its indented code, so that
    `split` and `title` know them. Broken markup is read as far as it makes sense:
    nothing is raised, and the time is linear in the length.
    """
    page = _Page()
    head, end, tail = _harmless(markup).rpartition(">")
    page.feed(head + end)
    page.close()
    page.handle_data(html.unescape(tail))
    return page.finish()


def _harmless(markup: str) -> str:
    """Remove what makes html.parser slow (quadratic) or raise on broken pages."""
    kept: list[str] = []
    at = 0
    while opening := _HIDDEN.search(markup, at):
        kept.append(markup[at : opening.start()])
        closing = _CLOSINGS[(opening[1] or "").lower()]
        # "<!-->" is a whole comment, so the search begins inside the opening.
        closed = closing.search(markup, opening.start() + 2)
        at = closed.end() if closed else len(markup)  # browsers drop the rest, too
    kept.append(markup[at:])
    # A marked section is a comment up to the next ">" in HTML: say it that way.
    text = "".join(kept).replace("<![", "<!x ")
    return _HUGE_REFERENCE.sub("\ufffd", text)


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._title: list[str] = []
        self._paragraphs: list[str] = []
        self._run: list[str] = []
        self._prefix = ""
        self._in_title = False
        self._in_pre = False
        self._dropping: str | None = None
        self._depth = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        if self._dropping is not None:
            self._depth += tag == self._dropping
            return
        self._in_title = tag == "title" and not self._title  # the first one counts
        if tag in _DROPPED:
            self._dropping, self._depth = tag, 1
        elif tag != "title":
            self._boundary(tag)
            self._prefix = _HEADINGS.get(tag, self._prefix)
            self._in_pre = self._in_pre or tag == "pre"

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _DROPPED:
            self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if self._dropping is not None:
            self._depth -= tag == self._dropping
            if not self._depth:
                self._dropping = None
        elif tag == "title":
            self._in_title = False
        else:
            self._boundary(tag)
            self._in_pre = self._in_pre and tag != "pre"

    def handle_data(self, data: str) -> None:
        if self._dropping is not None:
            return
        if self._in_title:
            self._title.append(data)
        else:
            self._run.append(data if self._in_pre else data.replace("\n", " "))

    def _boundary(self, tag: str) -> None:
        if tag in _LINES:
            self._run.append("\n")
        elif tag in _CELLS:
            self._run.append(" ")
        elif tag not in _INLINE:
            self._end_paragraph()

    def _end_paragraph(self) -> None:
        text = "".join(self._run)
        self._run.clear()
        if self._in_pre:
            lines = [f"    {line}".rstrip() for line in text.strip("\n").split("\n")]
        else:
            lines = [_squeezed(line) for line in text.split("\n")]
        if kept := "\n".join(line for line in lines if line or self._in_pre):
            self._paragraphs.append(self._prefix + kept)
        self._prefix = ""

    def finish(self) -> tuple[str | None, str]:
        self._end_paragraph()
        title = " ".join("".join(self._title).split())
        return title or None, "\n\n".join(self._paragraphs)


def _squeezed(line: str) -> str:
    """The line with one space between its words."""
    if len(line) <= _PIECE:
        return " ".join(line.split())
    pieces: list[str] = []
    at = 0
    while at < len(line):
        space = _SPACE.search(line, at + _PIECE)
        end = space.start() if space else len(line)
        pieces.append(" ".join(line[at:end].split()))
        at = end
    return " ".join(filter(None, pieces))
