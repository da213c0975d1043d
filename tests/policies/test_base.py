import itertools

import pytest

from spanrun.policies.base import ORDER, compose

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
