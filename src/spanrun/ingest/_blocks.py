"""The shape of plain text, Markdown and reStructuredText: blocks and sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

BlockKind = Literal["heading", "prose", "code"]


@dataclass(frozen=True, slots=True)
class Block:
    """Lines without a blank one between them; a fenced code block is one block.

    ``start`` is where its first line begins, ``end`` where its last line ends.
    """

    start: int
    end: int
    kind: BlockKind


# Each pattern is linear on any input: what repeats is possessive ("*+"), or can
# begin in one place only ("^" and the look-behind).
_FENCE = re.compile(r"^ {0,3}(`{3,}+(?![^\n]*`)|~{3,}+)([^\n]*)$", re.MULTILINE)
_LINE = re.compile(r"^[^\S\n]*+\S[^\n]*", re.MULTILINE)
_PARAGRAPH = re.compile(r"^(?:[^\S\n]*+\S[^\n]*+\n?+)++", re.MULTILINE)
_RULE = re.compile(r"([-=*~^\"'`#+.:_])\1{2,}\s*")
_MARKDOWN_HEADING = re.compile(r"#{1,6} [^\n]*")
_INDENTED = re.compile(r" {3,}|\t")

# Where a sentence ends: at a mark, with what closes after it and a space (Chinese
# and Japanese marks need none), or before a line that begins a list's item.
_END = re.compile(
    r"(?<![.!?\u2026])[.!?\u2026]++[\"'\u201d\u2019)\]]*+\s+"
    r"|[\u3002\uff01\uff1f]++[\u201d\u2019\u300d\u300f\uff09]*+\s*"
    r"|\n(?=[^\S\n]*+(?:[-*+•]|\d{1,3}[.)])\s)"
)
_OPENING_QUOTES = "([\"'\u201c\u2018"
_SHORT_WORDS = "cf dr e.g etc fig i.e mr mrs ms no prof st vs"
_ABBREVIATIONS = frozenset(_SHORT_WORDS.split())


def blocks(text: str) -> Iterator[Block]:
    """The blocks of ``text``, in order; everything between them is blank."""
    at = 0
    fences = _FENCE.finditer(text)
    for opening in fences:
        yield from _paragraphs(text, at, opening.start())
        at = len(text)  # a fence that is never closed reaches to the end
        for closing in fences:
            if closing[1].startswith(opening[1]) and not closing[2].strip():
                at = closing.end()
                break
        yield Block(opening.start(), at, "code")
    yield from _paragraphs(text, at, len(text))


def _paragraphs(text: str, start: int, end: int) -> Iterator[Block]:
    for match in _PARAGRAPH.finditer(text, start, end):
        yield from _headed(text, match.start(), match.end())


def _headed(text: str, start: int, end: int) -> Iterator[Block]:
    """One paragraph, its heading apart where its first lines are one."""
    body = _body_start(text, start, end)
    if body > start:
        yield Block(start, body, "heading")
    if body < end:
        yield Block(body, end, _kind(text, body, end))


def _body_start(text: str, start: int, end: int) -> int:
    """Where the paragraph goes on after its heading; ``start``, if it has none."""
    if _MARKDOWN_HEADING.match(text, start, end):
        return _next_line(text, start, end)
    rule, at = "", start
    for _ in range(3):  # an overline, the title, its underline
        after = _next_line(text, at, end)
        if _RULE.fullmatch(text, at, after):
            if at > start and rule in {"", text[at]}:
                return after
            rule = text[at]
        elif at > start and not rule:
            return start
        at = after
    return start


def _next_line(text: str, at: int, end: int) -> int:
    return text.find("\n", at, end) + 1 or end


def _kind(text: str, start: int, end: int) -> BlockKind:
    """Indented lines are code, unless they end like a sentence: a note, a list."""
    if not _INDENTED.match(text, start):
        return "prose"
    return "prose" if text[start:end].rstrip().endswith((".", "\u3002")) else "code"


def sentence_spans(text: str, block: Block) -> Iterator[tuple[int, int]]:
    """Where the block's sentences, or its lines of code, begin and end.

    The first one keeps its indentation, and so does every line of code.
    """
    if block.kind == "code":
        for line in _LINE.finditer(text, block.start, block.end):
            yield line.start(), _rstrip(text, line.start(), line.end())
        return
    start = block.start
    for match in _END.finditer(text, block.start, block.end):
        if _ends(text, start, match.start(), match.end(), block.end):
            yield start, _rstrip(text, start, match.end())
            start = match.end()
    end = _rstrip(text, start, block.end)
    if end > start:
        yield start, end


def _ends(text: str, start: int, mark: int, after: int, end: int) -> bool:
    """Whether the mark ends a sentence, not an abbreviation or a number."""
    if after < end and text[after].islower():
        return False
    if text[mark] != ".":
        return True
    words = text[max(start, mark - 8) : mark].split()
    last = words[-1].lower().lstrip(_OPENING_QUOTES) if words else ""
    initial = len(last) == 1 and last.isalpha()
    list_item = len(words) == 1 and last.isdecimal()
    return not (initial or list_item or last in _ABBREVIATIONS)


def _rstrip(text: str, start: int, end: int) -> int:
    while end > start and text[end - 1].isspace():
        end -= 1
    return end
