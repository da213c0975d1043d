"""What a service's headers ask for."""

import math

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanrun.retry_after import retry_after, wait_asked

NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("1s", 1),
        ("6m0s", 360),
        ("2m59.56s", 179.56),
        ("1h0m1s", 3601),
        ("120ms", 0.12),
        ("20", 20),
        ("0", 0),
        ("1.5", 1.5),
        ("1700000030", 30),
        ("1700000030.5", 30.5),
        ("1700000030000", 30),
        ("1600000000", 0),
        ("2023-11-14T22:13:50Z", 30),
        ("Tue, 14 Nov 2023 22:13:50 GMT", 30),
        ("soon", None),
        ("", None),
        ("-5", None),
        ("1e400", None),
        ("nan", None),
        ("1s and more", None),
        ("9" * 400, None),
    ],
)
def test_a_reset_is_a_duration_or_seconds_or_a_time(value, seconds):
    headers = {"x-ratelimit-reset-requests": value}
    asked = wait_asked(headers, limited=True, now=NOW)
    assert asked == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9),
        ({"retry-after": "2", "x-ratelimit-reset-tokens": "6m0s"}, 2),
        ({"x-ratelimit-reset": "7"}, 7),
        ({"ratelimit-reset": "7"}, 7),
        (
            {
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": "1s",
                "x-ratelimit-remaining-tokens": "149984",
                "x-ratelimit-reset-tokens": "6m0s",
            },
            1,
        ),
        (
            {"x-ratelimit-reset-requests": "1s", "x-ratelimit-reset-tokens": "6m0s"},
            360,
        ),
        (
            {
                "x-ratelimit-remaining-tokens": "10",  # fewer than were wanted
                "x-ratelimit-reset-tokens": "4s",
            },
            4,
        ),
    ],
)
def test_which_header_counts(headers, seconds):
    assert wait_asked(headers, limited=True, now=NOW) == seconds
    capitals = httpx.Headers({name.title(): value for name, value in headers.items()})
    assert wait_asked(capitals, limited=True, now=NOW) == seconds


def test_only_a_429_asks_by_its_resets():
    headers = {"x-ratelimit-reset-requests": "6m0s"}
    assert wait_asked(headers, limited=False) is None
    assert wait_asked({**headers, "retry-after": "3"}, limited=False) == 3


@given(value=st.text(max_size=80))
def test_whatever_it_says_it_is_a_time_or_nothing(value):
    for asked in (
        retry_after(value),
        wait_asked({"retry-after-ms": value}, limited=True),
        wait_asked({"x-ratelimit-reset-tokens": value}, limited=True),
    ):
        assert asked is None or (asked >= 0 and math.isfinite(asked))
