"""Large JSON is decoded in parts, to what `json.loads` makes of it."""

import asyncio
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanrun.clients import _parse
from spanrun.clients._parse import parsed

ANY = 2**40  # bytes: as many lists and objects as there may be
CORE = _parse.core


@pytest.fixture(autouse=True, scope="module", params=["compiled", "python"])
def _sides(request: pytest.FixtureRequest) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "python":
            patch.setattr(_parse, "core", None)
        elif CORE is None:
            pytest.skip("spanrun._core isn't built")
        yield


def rows(count: int, numbers: int) -> list[dict[str, Any]]:
    draw = random.Random(1)
    return [
        {"object": "embedding", "index": n, "embedding": [draw.random()] * numbers}
        for n in range(count)
    ]


LARGE: dict[str, Any] = {
    "numbers": [0.5, -1e9, 7] * 40_000,
    "embeddings": {"object": "list", "data": rows(9, 1536), "model": "m"},
    "long embeddings": {"data": rows(4, 9000), "usage": {"prompt_tokens": 1}},
    "documents": [{"id": n, "tags": ["a"], "sub": [{"x": n}]} for n in range(9000)],
    "mixed": [[1, 2]] * 20_000 + [{"a": {"b": []}}] * 5_000 + ["x,]}"] * 9_000,
    "names": {f"k{n}": [n, {"a": None}] for n in range(12_000)},
    "a long text": {"a": ['}],{"' * 60_000, True], "b": "é😀" * 40_000},
    "brackets in texts": [{"a": "}" * n, "b": '"]\\'} for n in range(800)],
    "deep": [[[[["x" * 120_000, 1], 2], {"a": {"b": [3] * 60_000}}], 4], 5],
}


@pytest.mark.parametrize("space", [None, 2])
@pytest.mark.parametrize("value", LARGE.values(), ids=LARGE)
async def test_it_is_what_json_loads_gives(value: Any, space: int | None) -> None:
    text = json.dumps(value, indent=space).encode()
    assert len(text) > _parse._PART
    assert await parsed(text, ANY) == value
    assert await parsed(b"\n " + text + b" \r\n", ANY) == value
    plain = json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
    assert await parsed(plain, ANY) == value


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=9) | st.dictionaries(st.text(max_size=4), inner)
    ),
    max_leaves=60,
)


@given(value=values, space=st.none() | st.integers(0, 2), end=st.text(" \n}]1"))
def test_a_small_one(value: Any, space: int | None, end: str) -> None:
    text = f"{json.dumps(value, indent=space)}{end}"
    wanted, expected = outcome(lambda: json.loads(text))
    found, error = outcome(lambda: asyncio.run(parsed(text.encode(), ANY)))
    assert (error is None) == (expected is None)
    assert repr(found) == repr(wanted)


@given(
    value=values,
    part=st.integers(1, 40),
    change=st.none() | st.randoms(use_true_random=False),
)
def test_whatever_the_size_of_a_part(value: Any, part: int, change: Any) -> None:
    text = json.dumps(value)
    if change is not None:  # break it, most of the time
        at = change.randrange(len(text))
        text = text[:at] + change.choice('[]{},:"0 \\x') + text[at + 1 :]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_parse, "_PART", part)
        found, error = outcome(lambda: asyncio.run(parsed(text.encode(), ANY)))
    wanted, expected = outcome(lambda: json.loads(text))
    assert (error is None) == (expected is None)
    assert repr(found) == repr(wanted)


def outcome(make: Any) -> tuple[Any, Exception | None]:
    try:
        return make(), None
    except (ValueError, RecursionError) as error:
        return None, error


PLAIN = [
    *("0", "7", "-12", "1.5e3", "1E-2", "0e0", "9e18", "5e-324", "3 ", "0]"),
    *(str(2**64 - 1), str(-(2**63)), "0.12345678901234567", "2.2250738585072011e-308"),
    *("true", "false", "null", '""', '"a b"', "[]", "{}", "[ ]", "{ }"),
    *(r'"\n\/\u00e9\ud83d\ude00"', "[" * 99 + "]" * 99),
    *('[1 , [2.5,null]\n,{"a" :\t"b"}]', '{"a":1,"b":2,"a":[3]}'),
]
ODD = [
    *("", " 1", "-", "01", "1.", ".5", "1e", "1e+", "+1", "tru", "nan", "NaN"),
    *(str(2**64), str(-(2**63) - 1), "1e400", "-0", "-0.0", "[-0]", "[1,]", "[1"),
    *("Infinity", "-Infinity", '"', '"é"', '"\t"', '"\x00"', r'"\x"', r'{"\n":1}'),
    *("[,1]", "[1 2]", '{"a"}', '{"a":}', '{"a":1,}', "{1:2}", "[" * 200 + "]" * 200),
    *('"\ud800"', r'"\ud800"', r'["\ude00\ud83d"]', '{"a":1', "[", "{", "\n[]"),
]


@pytest.mark.skipif(CORE is None, reason="spanrun._core isn't built")
@pytest.mark.parametrize("text", [*PLAIN, *ODD])
def test_the_compiled_part_leaves_what_is_odd_to_json(text: str) -> None:
    assert CORE is not None
    found = CORE.scan_json(text, 0)
    assert (found is None) == (text in ODD)
    if found is not None:
        assert repr(found) == repr(_parse.scan_in_python(text, 0))
        assert CORE.scan_json("[" + text, 1) == (found[0], found[1] + 1)
    assert CORE.scan_json(text, 999) is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[1,1" + ",1" * 60_000 + ",]", "Expecting value"),
        ("[1,1" + ",1" * 60_000, "Expecting ','"),
        ("[1,1" + ",1" * 60_000 + "]]", "Extra data"),
        ('{"a":[1' + ",1" * 60_000 + "],3:4}", "property name"),
        ('{"a":[1' + ",1" * 60_000 + "],nope:4}", "Expecting value"),
        ('{"a":[1' + ",1" * 60_000 + '],"b" 4}', "Expecting ':'"),
        ('["' + "x" * 200_000, "Unterminated string"),
        (" " * 200_000, "Expecting value"),
        ("[" + "9" * 200_000 + "]", "integer string conversion"),
        ("[" * 200_000, "recursion"),
        ('[{"a":' + '{"a":' * 200_000, "recursion"),
    ],
)
async def test_what_is_no_json_says_why(text: str, why: str) -> None:
    with pytest.raises((ValueError, RecursionError), match=why):
        await parsed(text.encode(), ANY)


async def test_lists_that_are_large_on_each_level_are_too_deep(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_parse, "_PART", 100)
    text = ("[" + "1," * 70) * 101 + "0" + "]" * 101
    with pytest.raises(RecursionError, match="nested too deeply"):
        await parsed(text.encode(), ANY)


@pytest.mark.parametrize("tiny", ["[]", "{}", '{"a":0}', "[[]]"])
async def test_nothing_but_tiny_objects_is_refused_unread(tiny: str) -> None:
    text = f"[{tiny}{f',{tiny}' * 60_000}]".encode()
    with pytest.raises(ValueError, match="more than 16384 lists and objects"):
        await parsed(text, 2**20)


@pytest.mark.parametrize("value", LARGE.values(), ids=LARGE)
async def test_the_loop_has_its_turn_between_the_parts(value: Any) -> None:
    text = json.dumps(value).encode()
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(others())
    await parsed(text, ANY)
    task.cancel()
    assert turns >= 2
    if "text" not in text[:20].decode() and value is not LARGE["a long text"]:
        assert turns >= len(text) // _parse._PART
