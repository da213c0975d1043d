import itertools

import pytest

from spanrun.errors import ConfigurationError
from spanrun.policies.base import ORDER, above, at_least, compose

pytestmark = pytest.mark.usefixtures("fake_clock")

DOCUMENTED = [
    "deadline",
    "retry",
    "breaker",
    "hedge",
    "slot",
    "token",
    "timeout",
]


class Named:
    """A layer that writes down when it is passed, going in and coming out."""

    def __init__(self, name, log):
        self.name = name
        self.log = log

    def wrap(self, inner):
        async def step(job):
            self.log.append(self.name)
            try:
                return await inner(job)
            finally:
                self.log.append(f"/{self.name}")

        return step


async def call(job):
    return job


def test_order_is_the_documented_one():
    assert [name for name in ORDER if name in DOCUMENTED] == DOCUMENTED


async def test_layers_are_in_order_whatever_the_order_they_came_in():
    names = ("timeout", "slot", "retry")
    for order in itertools.permutations(names):
        log = []
        step = compose({name: Named(name, log) for name in order}, call)
        assert await step("job") == "job"
        assert log == ["retry", "slot", "timeout", "/timeout", "/slot", "/retry"]


async def test_without_layers_the_step_is_the_call():
    assert compose({}, call) is call


@pytest.mark.parametrize("value", [0, 0.999, -1, float("nan")])
def test_at_least_refuses_and_names_field_and_value(value):
    with pytest.raises(ConfigurationError) as caught:
        at_least("Limit", "concurrency", value, 1)
    assert str(caught.value) == f"Limit(concurrency={value!r}): must be ≥ 1"


@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_above_refuses_and_names_field_and_value(value):
    with pytest.raises(ConfigurationError) as caught:
        above("Timeout", "total", value, 0)
    assert str(caught.value) == f"Timeout(total={value!r}): must be > 0"


def test_bounds_are_allowed_where_they_belong():
    at_least("Limit", "concurrency", 1, 1)
    above("Timeout", "total", 1e-9, 0)
