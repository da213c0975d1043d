"""`similarity`: how near two vectors are to each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, TypeAlias

from spanrun.errors import ConfigurationError

Vector: TypeAlias = list[float]
SimilarityMode: TypeAlias = Literal["cosine", "dot_product", "euclidean"]


def similarity(
    a: Sequence[float], b: Sequence[float], mode: SimilarityMode = "cosine"
) -> float:
    """How near ``a`` and ``b`` are to each other: the greater, the nearer.

    Args:
        a: A vector, as a list or a one-dimensional array.
        b: Another one, of the same length.
        mode: ``"cosine"``: of the angle between them, -1 to 1. ``"dot_product"``:
            the same times both lengths. ``"euclidean"``: their distance, negated.
            LlamaIndex's ``SimilarityMode`` is understood, too.

    Raises:
        ConfigurationError: The vectors differ in length, are empty or hold what is
            no finite number; one has length zero, which has no angle; the result is
            too large for a float; there is no such ``mode``.

    Example:
        >>> similarity([3, 4], [3, 4])
        1.0
        >>> similarity([3, 4], [0, 0], "euclidean")
        -5.0
    """
    one, two = _numbers("a", a), _numbers("b", b)
    if len(one) != len(two):
        raise ConfigurationError(
            f"similarity(): a has {len(one)} numbers and b {len(two)}: they come from "
            "different models"
        )
    if mode == "cosine":
        return max(-1.0, min(1.0, _dot(_unit("a", one), _unit("b", two))))
    if mode == "dot_product":
        found = _dot(one, two)
    elif mode == "euclidean":
        found = -math.dist(one, two)
    else:
        raise ConfigurationError(
            f"similarity(mode={mode!r}): must be 'cosine', 'dot_product' or 'euclidean'"
        )
    if not math.isfinite(found):
        raise ConfigurationError(f"similarity(mode={mode!r}): too large for a float")
    return found


def _dot(one: Vector, two: Vector) -> float:
    return sum(x * y for x, y in zip(one, two, strict=True))


def _numbers(name: str, vector: Sequence[float]) -> Vector:
    try:
        numbers = [float(number) for number in vector]
    except (TypeError, ValueError, OverflowError):
        numbers = [math.nan]
    if not numbers or not all(map(math.isfinite, numbers)):
        raise ConfigurationError(f"similarity({name}=…): must be finite numbers")
    return numbers


def _unit(name: str, vector: Vector) -> Vector:
    """The same direction with length 1. By the greatest first: squares overflow."""
    greatest = max(map(abs, vector))
    if not greatest:
        raise ConfigurationError(
            f"similarity({name}=…): all its numbers are 0, so it has no direction"
        )
    scaled = [number / greatest for number in vector]
    length = math.hypot(*scaled)
    return [number / length for number in scaled]
