"""Vectors: how near two are to each other, and those in an answer, each one checked."""

from __future__ import annotations

import base64
import binascii
import math
import sys
from array import array
from collections.abc import Sequence
from typing import Any, Final, Literal, TypeAlias, cast

from spanrun.clients._json import at, is_list
from spanrun.errors import ConfigurationError, EmbeddingError

Vector: TypeAlias = list[float]
SimilarityMode: TypeAlias = Literal["cosine", "dot_product", "euclidean"]
_FLOAT: Final = 4  # bytes of a float32, which is what base64 holds


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
    numbers = finite(vector)
    if not numbers:
        raise ConfigurationError(f"similarity({name}=…): must be finite numbers")
    return numbers


def finite(vector: Sequence[float]) -> Vector:
    """Its numbers as floats; none where one of them is no finite number."""
    try:
        numbers = [float(number) for number in vector]
    except (TypeError, ValueError, OverflowError):
        return []
    return numbers if all(map(math.isfinite, numbers)) else []


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


def vectors(answer: Any, count: int, *, packed: bool) -> list[Vector]:
    """The vectors of an answer, in the order of the texts.

    Args:
        answer: As decoded from JSON.
        count: How many texts were sent.
        packed: Vectors in base64 are right, too.

    Raises:
        EmbeddingError: There is not one for each text, or one is no list of finite
            numbers, is all zeros or differs from the others in length.
    """
    rows = at(answer, "data")
    if not is_list(rows):
        raise EmbeddingError("the answer has no list named 'data'")
    if len(rows) != count:
        raise EmbeddingError(f"the answer has {len(rows)} vectors for {count} texts")
    found: dict[int, Vector] = {}
    for place, row in enumerate(rows):
        index = at(row, "index")
        if index is None:  # in the order of the texts, as there is no other
            index = place
        if type(index) is not int or not 0 <= index < count or index in found:
            raise EmbeddingError(
                f"data[{place}] of the answer has index {index!r:.40}: must be 0 to "
                f"{count - 1}, each once"
            )
        value = at(row, "embedding")
        packs = packed and isinstance(value, str)
        vector = _unpacked(value, place) if packs else _floats(value)
        found[index] = _checked(vector, place)
    lengths = {len(vector) for vector in found.values()}
    if len(lengths) > 1:
        raise EmbeddingError(f"the answer's vectors differ in length: {lengths}")
    return [found[index] for index in range(count)]


def _unpacked(text: str, place: int) -> Vector:
    try:
        packed = base64.b64decode(text, validate=True)
        numbers = array("f", packed)
    except (binascii.Error, ValueError):
        raise EmbeddingError(
            f"data[{place}].embedding is no base64 of numbers with {_FLOAT} bytes each"
        ) from None
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tolist()


def _checked(vector: Vector, place: int) -> Vector:
    """The numbers of one embedding. All zeros have no direction: near to nothing."""
    if not vector:
        raise EmbeddingError(f"data[{place}].embedding is no list of numbers")
    # Of finite numbers the sum is finite; where it overflows, each one is looked at.
    if not math.isfinite(sum(vector)) and not all(map(math.isfinite, vector)):
        raise EmbeddingError(f"data[{place}].embedding: must be finite numbers")
    if not any(vector):
        raise EmbeddingError(f"data[{place}].embedding: must not be all zeros")
    return vector


def _floats(value: Any) -> Vector:
    """The numbers in a list; none where it is no list, NaN for what is no number."""
    kinds = set(map(type, value)) if is_list(value) else set[type]()
    if kinds <= {float}:
        return cast("Vector", value) if kinds else []
    if not kinds <= {float, int}:
        return [math.nan]
    try:
        return [float(number) for number in value]
    except OverflowError:  # a whole number with hundreds of digits
        return [math.inf]
