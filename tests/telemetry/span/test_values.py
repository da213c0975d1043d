"""Values that lose a stock attribute, or all of a stock request, arrive."""

import itertools
import math
from typing import Any

import pytest
from opentelemetry.trace import SpanContext, StatusCode
from tests.telemetry.span.making import Box, attributes_of, limits

from spanrun.accelerator import core


def one(box: Box, given: Any) -> Any:
    """The message of a span whose attributes were given in each of the ways."""
    span = box.start(attributes=given)
    span.end()
    at_start = box.one()
    span = box.start()
    span.set_attributes(given)
    span.end()
    assert box.one().attributes == at_start.attributes
    span = box.start()
    for key, value in given.items():
        span.set_attribute(key, value)
    span.end()
    assert box.one().attributes == at_start.attributes
    assert not box.failures
    return at_start


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("\udcff", "\\udcff"),
        ("a\x00b", "a\x00b"),
        (2**63 - 1, 2**63 - 1),
        (-(2**63), -(2**63)),
        (2**63, str(2**63)),
        (-(2**200), str(-(2**200))),
        (0, 0),
        (127, 127),
        (128, 128),
        (-1, -1),
        (16_384, 16_384),
        (math.inf, math.inf),
        (True, True),
        (False, False),
        (None, None),
        ("", ""),
        (b"", b""),
        (b"\xff\x00", b"\xff\x00"),
        (pytest, str(pytest)),
        ("x" * 125, "x" * 125),
        ("x" * 126, "x" * 126),
        ("é" * 100, "é" * 100),
        ("x" * 20_000, "x" * 16_383 + "…"),
        (b"x" * 20_000, b"x" * 16_383),
    ],
    ids=itertools.count(),
)
def test_a_value_arrives(box: Box, value: object, shown: object) -> None:
    span = one(box, {"before": 1, "odd": value, "after": 2})
    assert attributes_of(span) == {"before": 1, "odd": shown, "after": 2}


def test_a_value_of_a_class_derived_from_a_plain_one_arrives(box: Box) -> None:
    class Text(str):
        __slots__ = ()

        def __str__(self) -> str:
            return "another"

        def encode(self, *_: Any) -> bytes:
            raise RuntimeError

    class Number(int):
        def __int__(self) -> int:
            return 5

    span = one(box, {"text": Text("x"), "number": Number(7), Text("key"): 1})
    assert attributes_of(span) == {"text": "x", "number": 5, "key": 1}


def test_an_integer_too_long_for_decimals_arrives_as_hex(box: Box) -> None:
    assert attributes_of(one(box, {"odd": 1 << 40_000}))["odd"].startswith("0x1000")


def test_a_container_that_contains_itself_is_cut(box: Box) -> None:
    endless: list[Any] = [1]
    endless.append(endless)
    span = one(box, {"list": endless, "after": 1})
    assert span.attributes[1].key == "after"
    assert span.ByteSize() < 1_000


def test_a_container_of_many_elements_is_cut(box: Box) -> None:
    given = {"list": range(10**9), "dict": {str(n): n for n in range(9_999)}}
    span = one(box, given)
    assert span.ByteSize() < 100_000
    *_, last = span.attributes[0].value.array_value.values
    assert last.string_value == "…"


class Mute:
    """Can't be shown, or asked whether it is something."""

    def __str__(self) -> str:
        raise RuntimeError

    def __bool__(self) -> bool:
        raise RuntimeError


def test_a_value_whose_class_raises_costs_nothing(box: Box) -> None:
    class Odd(dict[str, int]):
        def items(self) -> Any:
            raise RuntimeError

    given = {"odd": Odd(a=1), "silent": Mute(), Mute(): 1, "after": 1}
    span = one(box, given)
    shown = attributes_of(span)
    assert shown["after"] == 1
    assert shown["silent"].startswith("<unreadable ")
    assert span.dropped_attributes_count == 1
    span = box.start(attributes=Odd(a=1))
    span.end()
    assert attributes_of(box.one()) == {}


def test_a_key_that_can_not_be_hashed_is_dropped(box: Box) -> None:
    class Unhashable(str):
        __slots__ = ()
        __hash__ = None  # type: ignore[assignment]

    bad: Any = Unhashable("a")
    span = box.start()
    span.set_attribute([], 1)
    span.set_attribute(bad, 1)
    span.end()
    message = box.one()
    assert message.dropped_attributes_count + len(message.attributes) == 2
    assert not box.failures


@pytest.mark.parametrize("value", ["text", 0.5, 7, True])
def test_a_key_of_any_length_is_cut_to_16_kib(box: Box, value: object) -> None:
    (pair,) = one(box, {"x" * 20_000: value}).attributes
    assert pair.key == "x" * 16_383 + "…"


@pytest.mark.parametrize("length", [3, 8, 100, 50_000])
def test_a_limit_of_the_user_is_kept_to_the_character(part: Any, length: int) -> None:
    if core is None and length > 16_384:
        pytest.skip("without the compiled part, a text of this length isn't checked")
    box = Box(part, limits=limits(length=length, inner_length=length))
    text = "lorem ipsum dolor sit amet " * 4_000
    span = box.start(attributes={"a": text, "b": [text], "c": text[:length]})
    span.add_event("e", {"a": text})
    span.add_link(SpanContext(1, 2, is_remote=False), {"a": text})
    span.end()
    message = box.one()
    outer = attributes_of(message)
    assert outer["c"] == text[:length]
    inner = outer["b"].values[0].string_value
    for cut in (
        outer["a"],
        attributes_of(message.events[0])["a"],
        attributes_of(message.links[0])["a"],
    ):
        assert len(cut) == length
        assert cut[:-1] == text[: length - 1]
    assert len(inner) <= length


def test_text_that_is_no_unicode_costs_nothing_anywhere(box: Box) -> None:
    span = box.start("\udcff", attributes={"\udcff": ["\udcff"]})
    span.add_event("\udcff", {"\udcff": "\udcff"})
    span.set_status(StatusCode.ERROR, "\udcff")
    span.end()
    odd = box.one()
    assert odd.name == odd.attributes[0].key == odd.events[0].name == "\\udcff"
    assert odd.attributes[0].value.array_value.values[0].string_value == "\\udcff"
    assert odd.status.message == "\\udcff"


def test_a_dict_that_grows_while_it_is_read_costs_nothing(box: Box) -> None:
    growing: dict[str, Any] = {}

    class Grow:
        def __str__(self) -> str:
            growing[f"more {len(growing)}"] = 1
            return "grown"

    growing.update(a=Grow(), b=Grow(), c=1)
    span = box.start(attributes=growing)
    span.set_attributes(growing)
    span.end()
    shown = attributes_of(box.one())
    assert (shown["a"], shown["b"], shown["c"]) == ("grown", "grown", 1)


def test_what_a_value_does_to_the_span_meanwhile_harms_nobody(box: Box) -> None:
    class Busy:
        def __init__(self, act: Any) -> None:
            self._act = act

        def __str__(self) -> str:
            self._act()
            return "busy"

    span = box.start()
    span.set_attribute("a", Busy(lambda: span.set_attribute("b", 1)))
    span.add_event("e", {"a": Busy(lambda: span.add_event("inner"))})
    other = SpanContext(1, 2, is_remote=False)
    span.add_link(other, {"a": Busy(lambda: span.add_link(other))})
    name: Any = Busy(lambda: span.update_name("inner"))
    span.update_name(name)
    span.snapshot()
    span.set_attribute("last", Busy(span.end))
    span.set_attribute("c", 1)
    message = box.one()
    assert attributes_of(message) == {"b": 1, "a": "busy"}
    assert [event.name for event in message.events] == ["inner", "e"]
    assert len(message.links) == 2
    assert message.name == "busy"
    assert span.snapshot()[0] == {"b": 1, "a": "busy"}
    assert set(box.late) == {("set_attribute", "busy")}


def test_a_value_that_interrupts_the_program_does(box: Box) -> None:
    class Interrupt:
        def __str__(self) -> str:
            raise KeyboardInterrupt

    span = box.start()
    with pytest.raises(KeyboardInterrupt):
        span.set_attribute("a", Interrupt())
    span.end()
    assert attributes_of(box.one()) == {}
