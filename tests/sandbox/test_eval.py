"""`safe_eval` and `asafe_eval`: values in, a value out, and what goes wrong."""

import asyncio
import datetime
import decimal
import subprocess
import sys
from typing import Any

import pytest

import spanrun as sr
from spanrun.errors import ConfigurationError, SandboxError, SandboxLimit
from spanrun.sandbox import asafe_eval, safe_eval
from spanrun.testing import Captured


def test_the_value_of_an_expression() -> None:
    assert safe_eval("sum(n * n for n in range(10))") == 285


async def test_inside_a_running_loop_too() -> None:
    assert await asafe_eval("1 + 1") == 2
    assert safe_eval("1 + 1") == 2


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        -3,
        10**4000,
        1.5,
        2j,
        "text é 語",
        b"bytes",
        (1, [2, {"k": {3}}], frozenset({4})),
        datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.UTC),
        datetime.date(2024, 2, 29),
        datetime.time(1, 2),
        datetime.timedelta(days=1),
        decimal.Decimal("1.10"),
    ],
)
async def test_data_goes_in_and_comes_back_as_it_was(value: object) -> None:
    back = await asafe_eval("value", {"value": value})
    assert back == value
    assert type(back) is type(value)


async def test_what_comes_back_is_a_copy() -> None:
    given = [1]
    assert await asafe_eval("given", {"given": given}) is not given


async def test_locals_come_before_globals_and_only_what_is_named_goes_in() -> None:
    both: dict[str, Any] = {"x": 1, "y": 1, "unused": object()}
    assert await asafe_eval("x + y", both, {"x": 10}) == 11


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("range(3)", "range"),
        ("lambda: 1", "function"),
        ("[len]", "builtin_function_or_method"),
        ("int", "type"),
        ("...", "ellipsis"),
    ],
)
async def test_what_is_no_data_stays_inside(code: str, kind: str) -> None:
    with pytest.raises(SandboxError, match=f"the value is a {kind}"):
        await asafe_eval(code)


@pytest.mark.parametrize("value", [object(), print, int, [object()]])
async def test_what_is_no_data_can_not_go_in(value: object) -> None:
    with pytest.raises(ConfigurationError, match="'value'"):
        await asafe_eval("value", {"value": value})


async def test_what_the_code_raises_comes_out_with_its_line() -> None:
    with pytest.raises(ZeroDivisionError, match="division by zero") as caught:
        await asafe_eval("[\n  1,\n  1 / 0\n]")
    assert caught.value.__notes__ == ["sandbox: line 3"]
    assert caught.value.__cause__ is None


async def test_a_giant_text_of_an_error_is_cut() -> None:
    with pytest.raises(KeyError) as caught:
        await asafe_eval("{}['a' * 100_000]", output=100)
    assert len(str(caught.value)) < 200


async def test_shadowed_built_ins_do_not_change_what_leaves() -> None:
    given = {"len": 1, "isinstance": 2, "str": 3, "type": 4, "list": 5}
    assert await asafe_eval("[len, isinstance, str, type, list]", given) == [
        *range(1, 6)
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seconds": 0}, r"seconds=0\): must be > 0"),
        ({"seconds": float("nan")}, "seconds=nan"),
        ({"seconds": float("inf")}, "seconds=inf"),
        ({"memory": 1}, r"memory=1\): must be"),
        ({"recursion": 0}, "recursion=0"),
        ({"output": -1}, "output=-1"),
        ({"sleep": -1}, "sleep=-1"),
        ({"imports": "math"}, "imports='math'"),
    ],
)
async def test_a_limit_out_of_range_is_named(options: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        await asafe_eval("1", **options)


@pytest.mark.parametrize(
    ("code", "options", "limit"),
    [
        ("sum(range(10**15))", {"seconds": 0.1}, "seconds"),
        ("'a' * 10**8", {}, "memory"),
        ("(lambda f: f(f))(lambda f: f(f))", {"recursion": 50}, "recursion"),
        ("'a' * 101", {"output": 100}, "output"),
        ("[1] * 101", {"output": 100}, "output"),
        ("[print('a') for n in range(101)]", {"output": 200}, "output"),
        ("10 ** 5000", {}, "output"),
    ],
)
async def test_each_limit_says_which_it_is(code: str, options: Any, limit: str) -> None:
    with pytest.raises(SandboxLimit) as caught:
        await asafe_eval(code, **options)
    assert caught.value.limit == limit
    assert f"{limit}=" in str(caught.value)


async def test_without_the_extra_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ConfigurationError, match=r"pip install 'spanrun\[sandbox\]'"):
        await asafe_eval("1")


def test_importing_it_needs_no_extra_and_starts_nothing() -> None:
    code = "import sys, spanrun.sandbox; sys.exit('pydantic_monty' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


async def test_a_call_is_a_span_without_the_code(spanrun_capture: Captured) -> None:
    await asafe_eval("1 + 1")
    with pytest.raises(KeyError):
        await asafe_eval("{}['hidden']")
    with pytest.raises(SyntaxError):
        await asafe_eval("hidden hidden")
    spans = spanrun_capture.spans
    assert [span.name for span in spans] == ["sandbox eval"] * 3
    assert [span.attributes.get("error.type") for span in spans] == [
        None,
        "KeyError",
        "SyntaxError",
    ]
    assert "hidden" not in repr(spans)


async def test_as_jobs_of_a_runner(spanrun_capture: Captured) -> None:
    codes = ["1 + 1", "1 / 0", "2 * 3"]
    async with sr.Runner("judge", limit=2) as runner:
        outcomes = await runner.map(asafe_eval, codes, errors="collect")
    assert [getattr(o, "value", None) for o in outcomes] == [2, None, 6]
    evals = [s for s in spanrun_capture.spans if s.name == "sandbox eval"]
    jobs = {s.span_id for s in spanrun_capture.spans if s.name == "job judge"}
    assert {s.parent_id for s in evals} == jobs


async def test_many_at_once() -> None:
    codes = [f"{n} * 2" for n in range(40)]
    assert await asyncio.gather(*map(asafe_eval, codes)) == [*range(0, 80, 2)]
