"""Where the secrets of a text are: the rules, applied around what hints at them.

All rules see the text as it is given, so their order doesn't matter; the places that
they find are put together afterwards. The work is counted, not timed: `find` stops
where it has done so much, and says how far it has come.

`rust/src/redact/search.rs` is the same search, compiled.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from spanrun.secret_forms import HINTS, QUOTE, RULES
from spanrun.secret_words import CHECKS, HIDDEN, Rule, compiled

__all__ = ["BUDGET", "STEP", "find"]

STEP: Final = 256
"""Hints within so many characters are looked at together, before work is counted."""
MANY: Final = 128
"""So many hints are looked at together at most."""
BUDGET: Final = 12_000
"""Characters that rules may look at, all rules taken together: some 300 µs."""
LONGEST: Final = 4 * 1024
"""Characters of a secret: behind a longer one all of the text is hidden."""
LEAST: Final = 255
"""So many characters are always looked at, whatever that costs."""
_CHEAP: Final = 512  # so many cost little, whatever they are
_PLACE: Final = 6  # what it costs to see whether a hint is there
_DASH: Final = 20  # the same at a character in which many hints have their place
_HIT: Final = 40  # what each hint costs
_SEARCH: Final = 100  # and each rule that is tried
_LOOK: Final = 5  # each character that it looks at
_MATCH: Final = 150  # and each match
_RARE: Final = "kqzj_@=9/:-.pgbcufmhdlnstirea"
_INSIDE: Final = compiled(
    rf"(?i)(?P<quote>{QUOTE})(?P<inside>(?:(?!(?P=quote))(?:\\.|[^\\\n]))*+)"
)
"""What begins with a quote goes on to the same one, or to the end of the line."""
_GROUPS: Final = ("secret", "quoted", "rest")


def _anchor(hint: str) -> int:
    """Where in ``hint`` its rarest character is."""
    return next(hint.index(rare) for rare in _RARE if rare in hint)


_anchored: Final[dict[str, list[tuple[str, int]]]] = {}
"""By a character, and whether it stands first: hints, and where in them it is."""
_pairs: Final[dict[str, list[tuple[str, int]]]] = {}
"""The same by two characters of which it is one; of a single one, by that."""
for _hint in HINTS:
    _at = _anchor(_hint)
    _anchored.setdefault(_hint[_at] + "^"[: not _at], []).append((_hint, _at))
    _pair = _hint[_at - 1 : _at + 1] if _at else _hint[:2]
    _pairs.setdefault(_pair, []).append((_hint, _at))
_characters: Final = {anchored[0] for anchored in _anchored}


def _around(character: str, hints: list[tuple[str, int]]) -> str:
    """Any of ``hints``, found at ``character``: one look at its neighbours first."""
    last = {hint[at - 1] if at else "" for hint, at in hints}
    following = {hint[at + 1 : at + 2] for hint, at in hints}
    anchor = re.escape(character)
    for sides, form in ((following, "(?=[{}])"), (last, f"(?<=[{{}}]{anchor})")):
        if "" not in sides:
            anchor += form.format("".join(map(re.escape, sorted(sides))))
    whole = [
        (f"(?<={re.escape(hint[: at + 1])})" if at else "")
        + (f"(?={re.escape(hint[at + 1 :])})" if hint[at + 1 :] else "")
        for hint, at in hints
    ]
    return f"{anchor}(?:{'|'.join(whole)})"


_HINTED: Final = re.compile(
    "|".join(_around(each[0], hints) for each, hints in _anchored.items())
)
"""Begins with one of few characters: the regex engine skips all others."""
_families: Final = {
    rule.hints: [each for each in RULES if each.hints == rule.hints] for rule in RULES
}
_hints: Final = {
    hint: [family for family in _families if hint in family] for hint in HINTS
}


def find(text: str, budget: int = BUDGET) -> tuple[list[tuple[int, int]], int]:
    """Return the spans of ``text`` that hold secrets, and how far it is checked.

    The spans are in order and don't overlap. Where a secret begins before the end of
    what is checked, its span may end after that.
    """
    lower, rate = _scanned(_lowered(text), budget)
    search: _Search | None = None
    for hits in _steps(lower):
        if search is None:
            search = _Search(text, lower)
        elif hits[0][0] > LEAST and search.spent + rate * hits[0][0] > budget:
            return search.spans(), max(0, hits[0][0] - STEP // 8)
        search.around(hits)
    return search.spans() if search else [], len(lower)


def _scanned(lower: str, budget: int) -> tuple[str, float]:
    """As much of ``lower`` as hints can be looked for in, and what one character costs.

    That is more where a hint might begin; so texts of such characters are cut.
    """
    while len(lower) > _CHEAP:
        places = sum(map(lower.count, _characters))
        cost = len(lower) // 4 + _PLACE * places + _DASH * lower.count("-")
        if cost <= budget:
            return lower, cost / len(lower)
        lower = lower[: max(_CHEAP, int(len(lower) * 0.9 * budget / cost))]
    return lower, 1 + _PLACE


def _lowered(text: str) -> str:
    """As long as ``text``: of all characters, ``İ`` alone becomes two."""
    lower = text.lower()
    return lower if len(lower) == len(text) else text.replace("İ", "I").lower()


def _steps(lower: str) -> Iterator[list[tuple[int, str]]]:
    """All hints, with their places: at most `MANY`, within `STEP`, together."""
    hits: list[tuple[int, str]] = []
    end = 0
    for found in _HINTED.finditer(lower):
        at = found.start()
        if at >= end or len(hits) >= MANY:
            if hits:
                yield hits
            hits, end = [], at + STEP
        for pair in (lower[at], lower[at : at + 2], lower[at - 1 : at + 1]):
            for hint, before in _pairs.get(pair, ()):
                if at >= before and lower.startswith(hint, at - before):
                    hits.append((at - before, hint))
    if hits:
        yield hits


class _Search:
    """The search of one text: what it has found, and what that has cost."""

    __slots__ = ("_found", "_lower", "_resume", "_text", "spent")

    def __init__(self, text: str, lower: str) -> None:
        self._text = text
        self._lower = lower
        self._found: list[tuple[int, int]] = []
        self._resume: dict[str, int] = {}
        self.spent = 0

    def around(self, hits: list[tuple[int, str]]) -> None:
        """Look for the secrets at which ``hits`` hint."""
        ends = {hint: at for at, hint in hits}
        begins = {hint: at for at, hint in reversed(hits)}
        places: dict[tuple[str, ...], list[int]] = {}
        for hint, last in ends.items():
            for family in _hints[hint]:
                places.setdefault(family, []).extend((begins[hint], last))
        self.spent += _HIT * len(hits)
        for family, each in places.items():
            first, last = min(each), max(each)
            for rule in _families[family]:
                start = max(first - rule.before, self._resume.get(rule.source, 0))
                self._within(rule, start, last + rule.after)

    def spans(self) -> list[tuple[int, int]]:
        """All that was found, without overlaps."""
        merged: list[tuple[int, int]] = []
        for start, end in sorted(self._found):
            if merged and start < merged[-1][1]:
                merged[-1] = merged[-1][0], max(end, merged[-1][1])
            else:
                merged.append((start, end))
        return merged

    def _within(self, rule: Rule, start: int, end: int) -> None:
        self.spent += _SEARCH
        start = max(start, 0)
        if rule.also:
            part = self._lower[start:end]
            for each in rule.also:
                if each in part:
                    break
            else:
                return
        self.spent += _LOOK * max(0, end - start)
        pattern, text = rule.pattern, self._text
        while found := pattern.search(text, start, end):
            until = found.end()
            if until == end < len(text):  # it may go on beyond
                most = min(end + LONGEST, len(text))
                whole = pattern.search(text, found.start(), most)
                if not whole:
                    return
                until = whole.end() if whole.end() < most else len(text)
            self.spent += _MATCH + _LOOK * (min(until, end + LONGEST) - found.start())
            start = self._resume[rule.source] = self._take(rule, found, until)

    def _take(self, rule: Rule, found: re.Match[str], until: int) -> int:
        """Keep what ``found`` hides, if anything; returns where to go on.

        In the whole text it goes on to ``until``.
        """
        start, end = _secret(found)
        if end == found.end():
            end = until
        fresh = start < end and not self._text.startswith(HIDDEN, start)
        if fresh and CHECKS[rule.check](found, self._text[start:end]):
            self._found.append((start, end))
        return max(end, until)


def _secret(found: re.Match[str]) -> tuple[int, int]:
    """The span of what ``found`` is to hide; none of it if its quotes are empty."""
    groups = found.re.groupindex
    for name in _GROUPS:
        if name in groups and found.start(name) >= 0:
            return found.span(name)
    inside = _INSIDE.match(found.string, found.start("quote"))
    return inside.span("inside") if inside else (0, 0)
