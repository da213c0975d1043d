"""The log says where a breaker opens and closes. (Of outages: `test_outage`.)"""

import pytest

import spanrun as sr
from spanrun.errors import CircuitOpen

pytestmark = pytest.mark.usefixtures("fake_clock", "no_leaks")


class Service:
    """Fails while it is down."""

    down = True

    async def __call__(self, _):
        if self.down:
            raise ConnectionRefusedError("nobody listens")


async def test_the_log_says_when_a_breaker_opens_and_closes(
    make_runner, fake_clock, caplog
):
    service = Service()
    breaker = sr.Breaker(failures=2, open_for=30)
    async with make_runner(limit=1, breaker=breaker) as runner:
        await runner.map(service, range(9), errors="collect")
        with pytest.raises(CircuitOpen):
            await runner.call(service, 0)
        service.down = False
        fake_clock.advance(31)
        await runner.call(service, 0)
    assert caplog.messages == [
        (
            "the breaker of 'test' is open (ConnectionRefusedError: nobody listens): "
            "for 30 s no call is made"
        ),
        "the breaker of 'test' is closed again after 31 s",
    ]


async def test_a_breaker_that_opens_again_and_again_says_so_once_a_minute(
    make_runner, fake_clock, caplog
):
    service = Service()
    breaker = sr.Breaker(failures=2, open_for=20)
    async with make_runner(limit=1, breaker=breaker) as runner:
        for _ in range(5):  # one probe each time
            await runner.map(service, range(9), errors="collect")
            fake_clock.advance(21)
    first, second = caplog.messages
    assert first.endswith("no call is made")
    assert second.endswith("no call is made; 2 more since the last line")
