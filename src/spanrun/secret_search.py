"""Where the secrets of a text are: the rules, applied around what hints at them.

All rules see the text as it is given, so their order doesn't matter; the places that
they find are put together afterwards. The work is counted, not timed: `find` stops
where it has done so much, and says how far it has come.

`rust/src/redact/search.rs` is the same search, compiled.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from spanrun.secret_forms import HINTS, QUOTE, RULES
from spanrun.secret_words import CHECKS, HIDDEN, Rule, compiled

__all__ = ["BUDGET", "STEP", "find"]

STEP: Final = 256
"""Hints within so many characters are looked at together, before work is counted."""
BUDGET: Final = 15_000
"""Characters that rules may look at, all rules taken together: some 350 µs."""
_SEARCH: Final = 32  # what a search costs at least, in characters
_MATCH: Final = 96  # and what a match costs
_RARE: Final = "zqjxkvwbyg@=_pfmuclhd-0123456789"
_INSIDE: Final = compiled(
    rf"(?i)(?P<quote>{QUOTE})(?P<inside>(?:(?!(?P=quote))(?:\\.|[^\\\n]))*+)"
)
"""What begins with a quote goes on to the same one, or to the end of the line."""
_GROUPS: Final = ("secret", "quoted", "rest")


def _anchor(hint: str) -> int:
    """Where in ``hint`` its rarest character is."""
    return min(range(len(hint)), key=lambda at: _RARE.find(hint[at]) % 99)


_anchored: Final[dict[str, list[tuple[str, int]]]] = {}
for _hint in HINTS:
    _at = _anchor(_hint)
    _anchored.setdefault(_hint[_at], []).append((_hint, _at))


def _around(hint: str, at: int) -> str:
    before, after = re.escape(hint[: at + 1]), re.escape(hint[at + 1 :])
    return f"(?<={before})(?={after})" if at else f"(?={after})"


_HINTED: Final = re.compile(
    "|".join(
        f"{re.escape(character)}(?:{'|'.join(_around(*each) for each in hints)})"
        for character, hints in _anchored.items()
    )
)
"""Begins with one of few characters: the regex engine skips all others."""
_rules: Final = {
    hint: [at for at, rule in enumerate(RULES) if hint in rule.hints] for hint in HINTS
}


def find(text: str, budget: int = BUDGET) -> tuple[list[tuple[int, int]], int]:
    """Return the spans of ``text`` that hold secrets, and how far it is checked.

    The spans are in order and don't overlap. Where a secret begins before the end of
    what is checked, its span may end after that.
    """
    lower = _lowered(text)
    search: _Search | None = None
    for hits in _steps(lower):
        if search is None:
            search = _Search(text, lower)
        elif search.spent > budget:
            return search.spans(), max(0, hits[0][0] - STEP // 8)
        search.around(hits)
    return search.spans() if search else [], len(text)


def _lowered(text: str) -> str:
    """As long as ``text``: of all characters, ``İ`` alone becomes two."""
    lower = text.lower()
    return lower if len(lower) == len(text) else text.replace("İ", "I").lower()


def _steps(lower: str) -> Iterator[list[tuple[int, str]]]:
    """All hints, with their places: those within `STEP` characters together."""
    hits: list[tuple[int, str]] = []
    end = 0
    for found in _HINTED.finditer(lower):
        at = found.start()
        if at >= end:
            if hits:
                yield hits
            hits, end = [], at + STEP
        hits += (
            (at - before, hint)
            for hint, before in _anchored[lower[at]]
            if at >= before and lower.startswith(hint, at - before)
        )
    if hits:
        yield hits


class _Search:
    """The search of one text: what it has found, and what that has cost."""

    __slots__ = ("_found", "_lower", "_resume", "_text", "spent")

    def __init__(self, text: str, lower: str) -> None:
        self._text = text
        self._lower = lower
        self._found: list[tuple[int, int]] = []
        self._resume: dict[int, int] = {}
        self.spent = 0

    def around(self, hits: list[tuple[int, str]]) -> None:
        """Look for the secrets at which ``hits`` hint."""
        places: dict[int, list[int]] = {}
        for at, hint in hits:
            for number in _rules[hint]:
                places.setdefault(number, []).append(at)
        for number, each in places.items():
            rule = RULES[number]
            for start, end in _windows(rule, each):
                self._within(number, rule, start, min(end, len(self._text)))

    def spans(self) -> list[tuple[int, int]]:
        """All that was found, without overlaps."""
        merged: list[tuple[int, int]] = []
        for start, end in sorted(self._found):
            if merged and start < merged[-1][1]:
                merged[-1] = merged[-1][0], max(end, merged[-1][1])
            else:
                merged.append((start, end))
        return merged

    def _within(self, number: int, rule: Rule, start: int, end: int) -> None:
        start = max(start, self._resume.get(number, 0))
        self.spent += _SEARCH
        lower = self._lower
        if rule.also and not any(lower.find(each, start, end) >= 0 for each in rule.also):
            return
        self.spent += max(0, end - start)
        pattern, text = rule.pattern, self._text
        while found := pattern.search(text, start, end):
            if found.end() == end < len(text):  # the end of it is beyond
                found = pattern.search(text, found.start())
                if not found:
                    return
            start = self._resume[number] = self._take(rule, found)
            self.spent += _MATCH + start - found.start()

    def _take(self, rule: Rule, found: re.Match[str]) -> int:
        """Keep what ``found`` hides, if anything; returns where to go on."""
        start, end = _secret(found)
        if start < end and not self._text.startswith(HIDDEN, start):
            if CHECKS[rule.check](found, self._text[start:end]):
                self._found.append((start, end))
        return max(end, found.end())


def _windows(rule: Rule, places: list[int]) -> Iterable[tuple[int, int]]:
    """Where to look for ``rule``: around each of ``places``, without overlaps."""
    places.sort()
    start, end = max(0, places[0] - rule.before), places[0] + rule.after
    for at in places:
        if at - rule.before > end:
            yield start, end
            start = at - rule.before
        end = at + rule.after
    yield start, end


def _secret(found: re.Match[str]) -> tuple[int, int]:
    """The span of what ``found`` is to hide; none of it if its quotes are empty."""
    groups = found.re.groupindex
    for name in _GROUPS:
        if name in groups and found.start(name) >= 0:
            return found.span(name)
    inside = _INSIDE.match(found.string, found.start("quote"))
    return inside.span("inside") if inside else (0, 0)
