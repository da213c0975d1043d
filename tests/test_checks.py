"""Checkers of arguments: what they say, and what they give back."""

import inspect
import math
import warnings
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import spanrun as sr
from spanrun import checks
from spanrun.errors import ConfigurationError


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            lambda: sr.Runner("r", rate=20),
            "Runner(rate=20): must be a RateLimit, such as RateLimit(20, per=1.0)",
        ),
        (
            lambda: sr.Runner("r", retry=ValueError),
            (
                "Runner(retry=ValueError): must be a Retry, such as "
                "Retry(on=ConnectionError)"
            ),
        ),
        (
            lambda: sr.Runner("r", timeout="5"),
            "Runner(timeout='5'): must be a finite number > 0",
        ),
        (
            lambda: sr.Timeout(attempt=5, total=1),
            (
                "Timeout(attempt=5, total=1): attempt must be ≤ total, which holds all "
                "attempts and their waits"
            ),
        ),
        (
            lambda: sr.Limit(concurrency=0),
            "Limit(concurrency=0): must be ≥ 1",
        ),
    ],
)
def test_an_error_says_what_to_write_instead(wrong: Any, said: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        wrong()
    assert str(refused.value) == said


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (3, 3),
        (3.5, 3.5),
        (np.int8(100), 100),
        (np.float32(0.5), 0.5),
        (np.float64(0.5), 0.5),
        (Fraction(1, 2), 0.5),
    ],
)
def test_numbers_come_back_as_pythons_own(value: Any, plain: float) -> None:
    found = checks.above("Test", "value", value, 0)
    assert found == plain
    assert type(found) is type(plain)


@pytest.mark.parametrize("value", [True, np.True_, "3", None, 1j, math.nan, 10**400])
def test_what_is_no_number_is_none(value: Any) -> None:
    assert checks.plain(value) is None
    with pytest.raises(ConfigurationError, match="finite number"):
        checks.above("Test", "value", value, 0)


def test_numpys_numbers_do_not_overflow_in_a_policy() -> None:
    limit = sr.Limit(np.int8(100))  # type: ignore[arg-type]
    assert limit.concurrency * 2 == 200
    assert repr(limit) == "Limit(concurrency=100, ageing=1.0)"
    assert type(sr.Timeout(total=np.float32(2)).total) is float


def test_infinity_is_taken_only_where_it_means_no_bound() -> None:
    assert sr.Retry(on=OSError, cap=math.inf).cap == math.inf
    with pytest.raises(ConfigurationError, match=r"Timeout\(total=inf\)"):
        sr.Timeout(total=math.inf)


def test_a_coroutine_that_is_refused_is_closed() -> None:
    async def work() -> None:
        pass

    coroutine = work()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ConfigurationError, match="the function itself"):
            checks.function("map", "function", coroutine)
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED


class Unshowable:
    def __repr__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (ValueError, "ValueError"),
        (len, "len"),
        ("a" * 100, "'" + "a" * 79 + "…"),
        (Unshowable(), "<Unshowable>"),
    ],
)
def test_values_are_shown_on_one_short_line(value: Any, shown: str) -> None:
    assert checks.shown(value) == shown


def test_what_may_be_a_secret_is_not_shown() -> None:
    with pytest.raises(ConfigurationError) as refused:
        checks.headers("Client", {"Authorization": ["Bearer key"]})
    assert "Authorization" in str(refused.value)
    assert "key" not in str(refused.value)


@pytest.mark.parametrize("value", [0, 1, True, False])
def test_a_flag_may_be_1_or_0(value: Any) -> None:
    assert checks.flag("Test", "on", value) is bool(value)


def test_a_generator_marked_as_a_coroutine_is_a_function() -> None:
    import types  # noqa: PLC0415

    @types.coroutine
    def old() -> Any:
        yield

    checks.function("map", "function", old)


def test_a_field_is_set_to_what_its_check_gives() -> None:
    @dataclass(frozen=True)
    class Policy:
        size: int
        name: str | None = None

        def __post_init__(self) -> None:
            checks.field(self, "size", checks.whole, 1)
            checks.field(self, "name", checks.optional(checks.text))

    policy = Policy(np.int64(3))  # type: ignore[arg-type]
    assert type(policy.size) is int
    with pytest.raises(ConfigurationError, match=r"Policy\(name=''\)"):
        Policy(1, "")
