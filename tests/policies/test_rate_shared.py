"""Runners that share one rate by its name."""

import asyncio
import gc

import pytest
from tests.policies.gated import Calls

from spanrun.errors import ConfigurationError
from spanrun.policies.rate import RateLimit
from spanrun.testing import FakeClock

pytestmark = pytest.mark.usefixtures("fake_clock", "no_leaks")


@pytest.fixture
def calls(fake_clock):
    return lambda rate=None: Calls(rate, fake_clock)


async def test_rates_of_one_name_draw_from_the_same_tokens(calls):
    rate = RateLimit(1, name="shared")
    one, other = calls(rate), calls(RateLimit(1, name="shared"))
    await asyncio.gather(one.make(3), other.make(3))
    assert sorted(one.began + other.began) == pytest.approx(range(6))


async def test_rates_of_one_name_pause_together(calls):
    one, other = (calls(RateLimit(1, name="shared")) for _ in range(2))
    one.gate.pause(20)
    assert await other.make(2) == [20, 21]


async def test_rates_without_a_name_are_separate(calls):
    one, other = calls(RateLimit(1)), calls(RateLimit(1))
    await asyncio.gather(one.make(2), other.make(2))
    assert one.began == other.began == [0, 1]


async def test_other_numbers_under_an_open_runners_name_are_refused(make_runner):
    async with make_runner(rate=RateLimit(1, name="shared")):
        with pytest.raises(ConfigurationError, match=r"rate=2.*rate=1"):
            async with make_runner(rate=RateLimit(2, name="shared")):
                raise AssertionError


async def test_other_numbers_hold_once_the_runner_is_closed(make_runner, fake_clock):
    began = []

    async def job(_):
        began.append(fake_clock.now())

    async with make_runner(rate=RateLimit(1, per=10, name="shared")) as runner:
        await runner.map(job, range(2))
    async with make_runner(rate=RateLimit(5, name="shared")) as runner:
        await runner.map(job, range(3))
    # The last token of the first runner was drawn for 10 seconds.
    assert began == pytest.approx([0, 10, 20, 20.2, 20.4])


def test_shared_tokens_go_with_their_loop():
    rate = RateLimit(1, per=1_000, name="shared")
    for _ in range(2):
        clock = FakeClock()

        async def main(clock=clock):
            return await Calls(rate, clock).make(1)

        assert clock.run(main()) == [0]
    gc.collect()
