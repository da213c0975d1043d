"""`split`: a text in chunks of whole sentences, measured in tokens."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from spanrun import checks
from spanrun.ingest._blocks import Block, blocks, sentence_spans

Count: TypeAlias = Callable[[str], int]
Span: TypeAlias = tuple[int, int]

# A run of up to 16 letters, digits and underscores; or any other character that
# isn't a space: a punctuation mark, or a character of Chinese, Japanese, Korean.
_TOKEN = re.compile(r"[^\W\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]{1,16}|\S")
_WORD = re.compile(r"\S+")
_LONG = 16_384  # characters: a list of the tokens of more would be larger than they


def count_tokens(text: str) -> int:
    """How many tokens there are: words (long ones in pieces of 16) and marks.

    On the chunks of Python's language reference a language model's tokenizer
    counts 8 % more in the mean, and up to twice as much where much is code.
    """
    if len(text) <= _LONG:
        return len(_TOKEN.findall(text))
    return sum(1 for _ in _TOKEN.finditer(text))


def split(
    text: str, size: int = 200, overlap: int = 40, *, count: Count = count_tokens
) -> list[str]:
    """Cut ``text`` into chunks of at most ``size`` tokens: slices of it, in order.

    A paragraph stays whole where it fits into a chunk, a heading stays with what
    it is the heading of; else the cut is between sentences, in code (fenced or
    indented) between lines. Only a sentence longer than ``size`` is cut between
    words, and only a word longer than that inside.

    Every character that isn't a space is in a chunk. A chunk begins with whole
    sentences from the end of the one before, as many as ``overlap`` has room
    for. Time and memory grow linearly with the text.

    Args:
        text: The whole document.
        size: Tokens in a chunk at most, ≥ 1.
        overlap: Tokens at most that a chunk repeats from the one before, < size.
        count: How many tokens a text has. Parts are counted one by one, so the
            bound holds when the count of a whole is at most that of its parts.

    Raises:
        ConfigurationError: ``size`` or ``overlap`` is out of its range.

    Example:
        >>> split("One. Two and three. Four.", size=5, overlap=2)
        ['One.', 'Two and three.', 'Four.']
    """
    return [
        text[start:end] for start, end in split_spans(text, size, overlap, count=count)
    ]


def split_spans(
    text: str, size: int = 200, overlap: int = 40, *, count: Count = count_tokens
) -> list[Span]:
    """Like `split`, but where each chunk begins and ends in ``text``."""
    size, overlap = check_sizes(size, overlap)
    checks.function("split", "count", count, plain=True)
    window = _Window(size, overlap)
    unit = _Unit(window, size)
    for block in blocks(text):
        heading = block.kind == "heading"
        for atom in _atoms(text, block, size, count):
            unit.add(atom, heading=heading)
        if not heading:
            unit.end()
    unit.end()
    return window.finish()


def check_sizes(size: int, overlap: int) -> tuple[int, int]:
    """The size and the overlap of chunks, as plain numbers.

    Raises:
        ConfigurationError: One is out of its range.
    """
    size = checks.whole("split", "size", size, 1)
    if checks.whole("split", "overlap", overlap, 0) >= size:
        hint = f"must be ≥ 0 and < size, which is {size}"
        raise checks.wrong("split", "overlap", overlap, hint)
    return size, int(overlap)


@dataclass(frozen=True, slots=True)
class _Atom:
    """What is never cut again: a sentence, a line of code; of a long one, a word."""

    start: int
    end: int
    tokens: int


class _Window:
    """The chunk that is being filled; its first atoms may be the overlap."""

    def __init__(self, size: int, overlap: int) -> None:
        self._size = size
        self._overlap = overlap
        self._atoms: deque[_Atom] = deque()
        self._tokens = 0
        self._fresh = 0
        self._spans: list[Span] = []

    def keep_together(self, tokens: int) -> None:
        """Begin a new chunk if ``tokens`` more fit into a new one but not here."""
        if tokens <= self._size:
            self._make_room(tokens)

    def add(self, atom: _Atom) -> None:
        self._make_room(atom.tokens)
        self._atoms.append(atom)
        self._tokens += atom.tokens
        self._fresh += 1

    def finish(self) -> list[Span]:
        if self._fresh:
            self._emit()
        return self._spans

    def _make_room(self, tokens: int) -> None:
        if self._tokens + tokens <= self._size:
            return
        if self._fresh:
            self._emit()
            self._shrink_to(self._overlap)
        self._shrink_to(self._size - tokens)

    def _emit(self) -> None:
        self._spans.append((self._atoms[0].start, self._atoms[-1].end))
        self._fresh = 0

    def _shrink_to(self, tokens: int) -> None:
        while self._atoms and self._tokens > tokens:
            self._tokens -= self._atoms.popleft().tokens


class _Unit:
    """What to keep together: a paragraph or code block with the headings before it.

    One that is too long for a chunk is never held whole: its atoms go on at once, and
    what stays together is its headings and the first atom after them.
    """

    def __init__(self, window: _Window, size: int) -> None:
        self._window = window
        self._size = size
        self._atoms: list[_Atom] = []
        self._tokens = 0
        self._begun: int | None = None
        self._is_long = False

    def add(self, atom: _Atom, *, heading: bool) -> None:
        if self._is_long:
            self._window.add(atom)
            return
        self._atoms.append(atom)
        self._tokens += atom.tokens
        if self._tokens > self._size:
            self._is_long = True
            self._hand_on(self._begun or 0)
        elif self._begun is None and not heading:
            self._begun = self._tokens

    def end(self) -> None:
        self._hand_on(self._tokens)
        self._tokens, self._begun, self._is_long = 0, None, False

    def _hand_on(self, together: int) -> None:
        self._window.keep_together(together)
        for atom in self._atoms:
            self._window.add(atom)
        self._atoms.clear()


def _atoms(text: str, block: Block, size: int, count: Count) -> Iterator[_Atom]:
    for start, end in sentence_spans(text, block):
        tokens = count(text[start:end])
        if tokens <= size:
            yield _Atom(start, end, tokens)
        else:
            yield from _by_words(text, start, end, size, count)


def _by_words(
    text: str, start: int, end: int, size: int, count: Count
) -> Iterator[_Atom]:
    begun = False
    for word in _WORD.finditer(text, start, end):
        for a, b in _pieces(text, word.start(), word.end(), size, count):
            # The first one keeps the indentation.
            yield _Atom(a if begun else start, b, count(text[a:b]))
            begun = True


def _pieces(text: str, start: int, end: int, size: int, count: Count) -> Iterator[Span]:
    """Cut a word that is too long into even pieces, again where that isn't enough."""
    tokens = count(text[start:end])
    if tokens <= size or end - start == 1:
        yield start, end
        return
    step = max(1, (end - start) * size // (tokens + size))
    for at in range(start, end, step):
        yield from _pieces(text, at, min(at + step, end), size, count)
