"""`similarity`: as LlamaIndex has it where that makes sense, and an error elsewhere."""

import enum
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanrun.clients.embeddings import Embeddings
from spanrun.clients.vectors import similarity
from spanrun.errors import ConfigurationError


class SimilarityMode(enum.StrEnum):
    """Made as LlamaIndex's."""

    DEFAULT = "cosine"
    DOT_PRODUCT = "dot_product"
    EUCLIDEAN = "euclidean"


@pytest.mark.parametrize(
    ("a", "b", "mode", "expected"),
    [
        ([1, 0], [0, 1], "cosine", 0.0),
        ([1, 2], [2, 4], "cosine", 1.0),
        ([1, 2], [-1, -2], "cosine", -1.0),
        ([1, 2], [3, 4], "dot_product", 11.0),
        ([0, 0], [3, 4], "dot_product", 0.0),
        ([0, 0], [3, 4], "euclidean", -5.0),
        ([1, 1], [1, 1], "euclidean", 0.0),
        ([1e300, 1e300], [1e300, 1e300], "cosine", 1.0),
        ([1e-300], [1e-300], "cosine", 1.0),
    ],
)
def test_the_greater_the_nearer(a: Any, b: Any, mode: Any, expected: float) -> None:
    found = similarity(a, b, mode)
    assert found == pytest.approx(expected)
    assert type(found) is float
    assert Embeddings.similarity(a, b, mode) == found
    assert similarity(np.array(a), np.array(b), mode) == found
    assert similarity(a, b, SimilarityMode(mode)) == found  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("a", "b", "mode", "why"),
    [
        ([1], [1, 2], "cosine", "a has 1 numbers and b 2"),
        ([], [], "euclidean", r"a=…\): must be finite numbers"),
        ([1], [math.nan], "cosine", r"b=…\): must be finite numbers"),
        ([math.inf], [1], "dot_product", "must be finite numbers"),
        (["x"], [1], "cosine", "must be finite numbers"),
        ([10**400], [1], "cosine", "must be finite numbers"),
        ([[1, 2]], [[1, 2]], "cosine", "must be finite numbers"),
        (None, [1], "cosine", "must be finite numbers"),
        ([0, 0], [1, 2], "cosine", "all its numbers are 0"),
        ([1, 2], [0, 0], "cosine", "all its numbers are 0"),
        ([1e200], [1e200], "dot_product", "too large"),
        ([1.7e308], [-1.7e308], "euclidean", "too large"),
        ([1], [1], "manhattan", "must be 'cosine', 'dot_product' or 'euclidean'"),
    ],
)
def test_what_has_no_similarity(a: Any, b: Any, mode: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why) as raised:
        similarity(a, b, mode)
    assert isinstance(raised.value, ConfigurationError)


numbers = st.floats(-1e6, 1e6).filter(lambda number: abs(number) > 1e-6)
vectors = st.integers(1, 8).flatmap(
    lambda size: st.tuples(*[st.lists(numbers, min_size=size, max_size=size)] * 2)
)


@given(vectors)
def test_it_is_what_numpy_computes(two: tuple[list[float], list[float]]) -> None:
    a, b = (np.array(each) for each in two)
    cosine = float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))
    assert similarity(*two) == pytest.approx(cosine, abs=1e-9)
    assert -1 <= similarity(*two) <= 1
    assert similarity(*two, "dot_product") == pytest.approx(float(a @ b), abs=1e-3)
    distance = float(np.linalg.norm(a - b))
    assert similarity(*two, "euclidean") == pytest.approx(-distance, abs=1e-6)
