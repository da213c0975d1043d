"""A row of values stands for a dict of attributes."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import SpanLimits
from tests.telemetry.spans.tracing import Box, attributes, attributes_of, native, one

from spanrun.telemetry.spans.columns import Columns
from spanrun.telemetry.spans.encode import SpanEncoder
from spanrun.telemetry.spans.span import NativeSpan

COLUMNS = Columns(few=("name", "tries"), ints=("index",), floats=("a", "b"))


def row(values: tuple[Any, ...], raw: dict[str, Any] | None = None) -> NativeSpan:
    span = native(raw)
    span.row = COLUMNS, values
    return span


@given(
    st.tuples(
        st.text(),
        st.integers(-(2**63), 2**63 - 1),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(),
        st.floats(),
    ),
    attributes,
)
def test_a_row_is_encoded_as_the_dict_it_stands_for(
    values: tuple[Any, ...], more: dict[str, Any]
) -> None:
    rows = SpanEncoder()
    span = row(values, dict(more))
    plain = native({**COLUMNS.as_dict(values), **more})
    for _ in range(2):
        got, wanted = one(span, rows), one(plain)
        assert sorted(map(str, got.attributes)) == sorted(map(str, wanted.attributes))
        assert got.dropped_attributes_count == wanted.dropped_attributes_count
    assert dict(span.attributes).keys() == dict(plain.attributes).keys()


@pytest.mark.parametrize(
    "values",
    [
        ("x", 1, "no integer", 0.5, 0.5),
        ("x", 1, 2**70, 0.5, 0.5),
        ("x", 1, 2, "no float", 0.5),
        (["unhashable"], 1, 2, 0.5, 0.5),
    ],
)
def test_a_value_of_another_type_is_encoded_for_what_it_is(
    values: tuple[Any, ...],
) -> None:
    shown = attributes_of(one(row(values)))
    assert shown.keys() == set(COLUMNS.keys)


def test_an_attribute_set_over_one_of_the_row_replaces_it() -> None:
    span = row(("x", 1, 2, 0.5, 0.5), {"index": "mine"})
    encoded = one(span)
    assert len(encoded.attributes) == len(COLUMNS.keys)
    assert attributes_of(encoded)["index"] == "mine"


def test_a_row_counts_for_the_limit() -> None:
    span = Box(span_limits=SpanLimits(max_span_attributes=4)).start()
    span.row = COLUMNS, ("x", 1, 2, 0.5, 0.5)
    encoded = one(span)
    assert [pair.key for pair in encoded.attributes] == list(COLUMNS.keys[1:])
    assert encoded.dropped_attributes_count == 1
