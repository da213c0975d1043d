"""Reciprocal rank fusion: several rankings made one, without comparing scores."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Final, TypeVar

from spanrun.checks import each, wrong

K = TypeVar("K", bound=Hashable)

# G. V. Cormack, C. L. A. Clarke and S. Büttcher, "Reciprocal rank fusion outperforms
# Condorcet and individual rank learning methods", SIGIR 2009: k = 60.
_K: Final = 60
DEPTH: Final = 100
"""How much of a ranking to ask for, at least: what is deeper adds less than 1/160."""


def fuse(rankings: Iterable[Iterable[K]]) -> dict[K, float]:
    """The score of each key: the sum of 1 / (60 + rank) over the rankings it is in.

    Args:
        rankings: Each from the best to the worst, without duplicates.

    Example:
        >>> fused = fuse([["a", "b"], ["b"]])
        >>> max(fused, key=lambda key: fused[key])
        'b'
    """
    scores: dict[K, float] = {}
    given: tuple[Iterable[K], ...] = each("fuse", "rankings", rankings, "rankings")
    for ranking in given:
        if isinstance(ranking, str) or not isinstance(ranking, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise wrong("fuse", "rankings", ranking, "must be keys, the best first")
        for rank, key in enumerate(ranking, 1):
            scores[key] = scores.get(key, 0.0) + 1 / (_K + rank)
    return scores
