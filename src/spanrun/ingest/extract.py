"""`title` and `summary` of a text, taken from the text itself: no model, no key."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Final

from spanrun.checks import whole
from spanrun.ingest._blocks import blocks, sentence_spans

# What comes first in a text says what it is about, and bounds what it costs.
_READ = 200_000  # characters
_SENTENCES = 1_000
TITLE: Final = 80  # characters
_SENTENCE = 400  # characters of one sentence in a summary

_WORD = re.compile(r"[^\W\d_]{2,}")
_MARKER = re.compile(r"\s*(?:[-*+\u2022#]+|\[?\d{1,3}[.)\]])\s+")
_FULL_STOP = re.compile(r"[.!?\u2026\u3002\uff01\uff1f][\"'\u201d\u2019)\]]*$")
_FULL = 5  # words that carry meaning, in a sentence that can stand alone
_COMMON_NAMES = """
    about after all also an and any are as at be because been before being between both
    but by can could did do does each either else etc even example for from further had
    has have he her here his how if in into is it its itself just like made make many
    may might more most must new no not of on one only or other our out over own same
    see set she should since so some such than that the their them then there these they
    this those through to too two under until up use used using very was we were what
    when where which while who whose why will with within without would yet you your
"""
_COMMON = frozenset(_COMMON_NAMES.split())


def title(text: str) -> str:
    """What the text calls itself: its first heading, else its first sentence.

    One line of at most 80 characters; a longer one is cut between words and ends
    in "…". A text without words has the title "".
    """
    text = text[:_READ]
    first = ""
    for block in islice(blocks(text), _SENTENCES):
        if block.kind == "heading":
            for line in text[block.start : block.end].splitlines():
                if heading := _worded(line.strip("# \t")):
                    return shortened(heading, TITLE)
        elif not first and block.kind == "prose":
            spans = sentence_spans(text, block)
            first = next(filter(None, (_worded(text[a:b]) for a, b in spans)), "")
    return shortened(first.rstrip(".") or _worded(text), TITLE)


def summary(text: str, sentences: int = 2) -> str:
    """The sentences that say most about the text, in the text's own order.

    SumBasic: the sentences whose words are the most frequent, where a word that
    was said counts less in the next choice (A. Nenkova and L. Vanderwende, *The
    Impact of Frequency on Summarization*, Microsoft Research, MSR-TR-2005-101).
    The same text gives the same summary. Headings and code are left out; of a long
    text the first 200,000 characters count.

    Args:
        text: The whole document.
        sentences: How many at most, ≥ 1. A text without sentences gives "".
    """
    sentences = whole("summary", "sentences", sentences, 1)
    candidates = list(islice(_sentences(text[:_READ]), _SENTENCES))
    words = [_content_words(sentence) for sentence in candidates]
    full = [
        found if len(found) >= _FULL and _FULL_STOP.search(sentence) else []
        for sentence, found in zip(candidates, words, strict=True)
    ]
    chosen = _sum_basic(full if any(full) else words, sentences)
    return " ".join(shortened(candidates[i], _SENTENCE) for i in sorted(chosen))


def _sum_basic(sentences: list[list[str]], wanted: int) -> list[int]:
    """Indexes of the chosen sentences, the best first."""
    counts = Counter(word for words in sentences for word in words)
    total = counts.total()
    weight = {word: count / total for word, count in counts.items()}
    left = {index: words for index, words in enumerate(sentences) if words}
    chosen: list[int] = []
    while left and len(chosen) < wanted:
        # The paper's step 3: the best of those which hold the weightiest word.
        # Ties go to the earlier word and sentence, so that nothing is by chance.
        top = max((w for words in left.values() for w in words), key=weight.__getitem__)
        best = max(
            (index for index, words in left.items() if top in words),
            key=lambda index: (
                sum(map(weight.__getitem__, left[index])) / len(left[index])
            ),
        )
        for word in left.pop(best):
            weight[word] **= 2
        chosen.append(best)
    return chosen


def _sentences(text: str) -> Iterator[str]:
    for block in blocks(text):
        if block.kind == "prose":
            for start, end in sentence_spans(text, block):
                if sentence := _worded(text[start:end]):
                    yield sentence


def _worded(text: str) -> str:
    """On one line, without a list's marker before it; "" if there is no word."""
    line = " ".join(text.split())
    marker = _MARKER.match(line)
    line = line[marker.end() :] if marker else line
    return line if any(map(str.isalnum, line)) else ""


def _content_words(sentence: str) -> list[str]:
    """Each word that carries meaning, once; every word if none does."""
    words = _WORD.findall(sentence.lower())
    return list(dict.fromkeys(w for w in words if w not in _COMMON) or words)


def shortened(text: str, characters: int) -> str:
    """On one line; cut between words and ending in "…" where it is longer."""
    text = " ".join(text.split())
    if len(text) <= characters:
        return text
    head, space, _ = text[:characters].rpartition(" ")
    return (head.rstrip(",;:") if space else text[: characters - 1]) + "…"
