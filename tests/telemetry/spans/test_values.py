"""Values that lose a stock attribute, or all of a stock request, arrive."""

import math
from typing import Any

import pytest
from tests.telemetry.spans.tracing import attributes_of, native, one


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("\udcff", "\\udcff"),
        ("a\x00b", "a\x00b"),
        (2**63, str(2**63)),
        (-(2**200), str(-(2**200))),
        (math.inf, math.inf),
        (pytest, str(pytest)),
        ("x" * 20_000, "x" * 16_383 + "…"),
        (b"x" * 20_000, b"x" * 16_383),
    ],
)
def test_a_value_that_loses_a_stock_attribute_or_batch_arrives(
    value: object, shown: object
) -> None:
    span = one(native({"before": 1, "odd": value, "after": 2}))
    assert attributes_of(span) == {"before": 1, "odd": shown, "after": 2}


def test_an_integer_too_long_for_decimals_arrives_as_hex() -> None:
    assert attributes_of(one(native({"odd": 1 << 40_000})))["odd"].startswith("0x1000")


def test_a_container_that_contains_itself_is_cut() -> None:
    endless: list[Any] = [1]
    endless.append(endless)
    span = native({"list": endless, "after": 1})
    assert one(span).attributes[1].key == "after"
    assert one(span).ByteSize() < 1_000


def test_a_container_of_many_elements_is_cut() -> None:
    span = one(
        native({"list": range(10**9), "dict": {str(n): n for n in range(9_999)}})
    )
    assert span.ByteSize() < 100_000
    *_, last = span.attributes[0].value.array_value.values
    assert last.string_value == "…"


def test_a_value_whose_class_raises_costs_nothing() -> None:
    class Odd(dict[str, int]):
        def items(self) -> Any:
            raise RuntimeError

    class Silent:
        def __str__(self) -> str:
            raise RuntimeError

        def __bool__(self) -> bool:
            raise RuntimeError

    span = one(native({"odd": Odd(a=1), "silent": Silent(), Silent(): 1, "after": 1}))
    shown = attributes_of(span)
    assert shown["after"] == 1
    assert shown["silent"].startswith("<unreadable ")
    assert span.dropped_attributes_count == 1


@pytest.mark.parametrize("value", ["text", 0.5, 7, True])
def test_a_key_of_any_length_is_cut_to_16_kib(value: object) -> None:
    (pair,) = one(native({"k" * 20_000: value})).attributes
    assert pair.key == "k" * 16_383 + "…"
