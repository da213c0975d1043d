"""A service that is down isn't buried under retries."""

import asyncio

import pytest

import spanrun as sr

pytestmark = pytest.mark.usefixtures("fake_clock", "no_leaks")

JOBS = 10_000


class Service:
    """Counts its requests, and can be down."""

    def __init__(self):
        self.requests = 0
        self.down = True

    async def __call__(self, _):
        self.requests += 1
        await asyncio.sleep(0.1)
        if self.down:
            raise ConnectionError


@pytest.mark.slow
async def test_retry_storm_sends_no_more_than_a_tenth_of_extra_requests(make_runner):
    service = Service()
    retry = sr.Retry(on=ConnectionError, attempts=4)
    async with make_runner(limit=100, retry=retry) as runner:
        await runner.map(service, range(JOBS), errors="collect")
    assert service.requests <= 1.1 * JOBS
    assert service.requests >= 1.09 * JOBS  # but what is allowed is made use of


async def test_calm_time_saves_up_little_for_a_storm(make_runner):
    service = Service()
    retry = sr.Retry(on=ConnectionError, attempts=4)
    async with make_runner(limit=100, retry=retry) as runner:
        service.down = False
        await runner.map(service, range(5_000))
        service.down, service.requests = True, 0
        await runner.map(service, range(1_000), errors="collect")
    assert 1_000 < service.requests <= 1.1 * 1_000 + 100


async def test_first_errors_of_a_run_are_tried_again(make_runner):
    service = Service()
    retry = sr.Retry(on=ConnectionError, attempts=4, reserve=10)
    async with make_runner(limit=4, retry=retry) as runner:
        await runner.map(service, range(3), errors="collect")
    assert service.requests == 3 * 4
