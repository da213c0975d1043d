"""With `Retry(outage=…)` a run outlasts a service that is gone for a while."""

import asyncio
import dataclasses
import itertools
import os
import random

import pytest

import spanrun as sr
from spanrun.errors import CircuitOpen, ConfigurationError, DeadlineExceeded
from spanrun.policies.outage import looks_gone, outlasting

pytestmark = pytest.mark.usefixtures("fake_clock", "no_leaks")

SEEDS = [
    *range(2),
    *(
        pytest.param(seed, marks=pytest.mark.slow)
        for seed in range(2, 100 if os.environ.get("SPANRUN_SOAK") else 10)
    ),
]


class Busy(Exception):  # noqa: N818 -- what it is
    def __init__(self, status=503, retry_after=None):
        super().__init__(f"status {status}")
        self.status = status
        self.retry_after = retry_after


def named(error):
    return isinstance(error, ConnectionError | Busy | TimeoutError)


class Service:
    """Answers in 0.05 s; fails while it is down, which is between two times."""

    def __init__(self, clock, *down, error=ConnectionRefusedError, seconds=0.05):
        self.clock = clock
        self.down = down
        self.error = error
        self.seconds = seconds
        self.asked = []  # when
        self.items = []
        self.more = asyncio.Event()

    @property
    def is_down(self):
        return any(a <= self.clock.now() < b for a, b in self.down)

    @property
    def while_down(self):
        return [at for at in self.asked if any(a <= at < b for a, b in self.down)]

    async def calls(self, count):
        """Wait for so many."""
        while len(self.asked) < count:
            self.more.clear()
            await self.more.wait()

    async def __call__(self, item):
        self.asked.append(self.clock.now())
        self.items.append(item)
        self.more.set()
        down = self.is_down
        await asyncio.sleep(self.seconds)
        if down:
            raise self.error
        return item


def patient(outage=60, **more):
    return sr.Retry(on=named, outage=outage, **{"attempts": 5, "cap": 5, **more})


@pytest.mark.parametrize("value", [0, -1, "60", float("inf"), float("nan"), True])
def test_nonsense_is_refused_and_the_field_named(value):
    with pytest.raises(ConfigurationError, match=r"Retry\(outage="):
        sr.Retry(on=ConnectionError, outage=value)


@pytest.mark.parametrize("limit", [1, 2, 8, 300, sr.AdaptiveLimit(start=8, max=32)])
@pytest.mark.parametrize("attempts", [1, 3, 5])
async def test_a_run_outlasts_an_outage(make_runner, fake_clock, limit, attempts):
    service = Service(fake_clock, (0.1, 60))
    async with make_runner(limit=limit, retry=patient(attempts=attempts)) as runner:
        values = await runner.map(service, range(500))
    assert values == list(range(500))
    assert len(service.asked) <= 1.25 * 500


async def test_a_plain_retry_loses_the_run(make_runner, fake_clock):
    service = Service(fake_clock, (0.1, 10))
    retry = sr.Retry(on=named, attempts=5, cap=5)
    async with make_runner(limit=8, retry=retry) as runner:
        with pytest.raises(ConnectionRefusedError):
            await runner.map(service, range(500))


async def test_one_request_at_a_time_probes_at_growing_intervals(
    make_runner, fake_clock
):
    service = Service(fake_clock, (1, 61))
    async with make_runner(limit=8, retry=patient()) as runner:
        await runner.map(service, range(500))
    in_flight = [at for at in service.while_down if at < 1.2]
    probes = [at for at in service.while_down if at >= 1.2]
    assert len(in_flight) <= 8 + 4  # before it was known
    assert 12 <= len(probes) <= 24
    gaps = [b - a for a, b in itertools.pairwise(probes)]
    assert all(gap >= 0.05 for gap in gaps)  # never two at once
    assert all(2.5 <= gap <= 5.1 for gap in gaps[7:])
    back = min(at for at in service.asked if at >= 61)
    assert back <= 66.1


async def test_all_go_on_when_the_probe_is_answered(make_runner, fake_clock):
    service = Service(fake_clock, (1, 31))
    async with make_runner(limit=8, retry=patient()) as runner:
        await runner.map(service, range(500))
    after = sorted(at for at in service.asked if at >= 31)
    assert after[1] == pytest.approx(after[0] + service.seconds)
    assert after[7] == after[1]


async def test_an_outage_takes_nothing_of_budget_and_attempts(make_runner, fake_clock):
    down = [(t, t + 20) for t in range(1, 400, 30)]
    service = Service(fake_clock, *down, seconds=0.5)
    retry = patient(attempts=2, reserve=0, budget=0.001)
    async with make_runner(limit=4, retry=retry) as runner:
        assert await runner.map(service, range(500)) == list(range(500))


async def test_longer_than_that_the_services_own_error_stands(make_runner, fake_clock):
    service = Service(fake_clock, (1, 1_000))
    async with make_runner(limit=8, retry=patient()) as runner:
        with pytest.raises(ConnectionRefusedError) as raised:
            await runner.map(service, range(500))
    assert 61 <= fake_clock.now() < 62
    assert "gone for 60 s" in "".join(raised.value.__notes__)
    assert len(service.while_down) <= 8 + 4 + 24


async def test_jobs_after_it_was_too_long_fail_at_once(make_runner, fake_clock):
    service = Service(fake_clock, (1, 1_000))
    async with make_runner(limit=8, retry=patient()) as runner:
        outcomes = await runner.map(service, range(500), errors="collect")
    assert fake_clock.now() < 70
    assert len(outcomes) == 500
    assert len(service.asked) <= 1.25 * 500
    failed = [each for each in outcomes if isinstance(each, sr.Err)]
    assert {type(each.error) for each in failed} == {ConnectionRefusedError}


async def test_another_run_waits_anew(make_runner, fake_clock):
    service = Service(fake_clock, (0, 100))
    async with make_runner(limit=8, retry=patient()) as runner:
        with pytest.raises(ConnectionRefusedError):
            await runner.map(service, range(50))
        assert await runner.map(service, range(50)) == list(range(50))


@pytest.mark.parametrize("share", [0.03, 0.3])
async def test_scattered_failures_are_no_outage(make_runner, fake_clock, caplog, share):
    chance = random.Random(7)

    async def scattered(item):
        await asyncio.sleep(0.1)
        if chance.random() < share:
            raise Busy
        return item

    retry = patient(budget=None)
    async with make_runner(limit=64, retry=retry) as runner:
        await runner.map(scattered, range(5_000), errors="collect")
    assert "is gone" not in caplog.text


async def test_one_job_that_always_fails_costs_no_wait(make_runner, fake_clock):
    async def poisoned(item):
        await asyncio.sleep(0.1)
        if item == 7:
            raise Busy
        return item

    async with make_runner(limit=8, retry=patient()) as runner:
        outcomes = await runner.map(poisoned, range(500), errors="collect")
    assert [type(each).__name__ for each in outcomes].count("Err") == 1
    assert fake_clock.now() < 20


async def test_a_500_alone_is_no_outage(make_runner, fake_clock):
    async def broken(_):
        raise Busy(500)

    async with make_runner(limit=8, retry=patient()) as runner:
        with pytest.raises(Busy):
            await runner.map(broken, range(3))
    assert fake_clock.now() < 20


def test_what_looks_gone():
    yes = [ConnectionError(), TimeoutError(), Busy(503), Busy(429), Busy(522)]
    assert all(map(looks_gone, yes))
    assert not any(map(looks_gone, [Busy(500), Busy(400), Busy(408)]))


async def test_an_answer_of_another_kind_ends_it(make_runner, fake_clock):
    class Refused(Exception):  # noqa: N818 -- what it is
        pass

    service = Service(fake_clock, (0, 5))

    async def job(item):
        await service(item)
        if item % 2:
            raise Refused
        return item

    async with make_runner(limit=4, retry=patient()) as runner:
        outcomes = await runner.map(job, range(40), errors="collect")
    assert [isinstance(each, sr.Ok) for each in outcomes] == [True, False] * 20
    assert fake_clock.now() < 12


async def test_retry_after_holds_the_probe(make_runner, fake_clock):
    service = Service(fake_clock, (0, 45), error=Busy(503, retry_after=20))
    async with make_runner(limit=8, retry=patient()) as runner:
        await runner.map(service, range(100))
    later = [at for at in service.while_down if at > 1]
    assert [round(at) for at in later] == [20, 40]


async def test_a_rate_holds_after_the_outage(make_runner, fake_clock):
    service = Service(fake_clock, (1, 21))
    async with make_runner(limit=50, rate=sr.RateLimit(20), retry=patient()) as runner:
        await runner.map(service, range(200))
    after = sorted(at for at in service.asked if at >= 21)
    gaps = [b - a for a, b in itertools.pairwise(after)]
    assert min(gaps) > 0.04
    assert len([at for at in service.while_down if at > 2]) <= 24


async def test_who_waits_for_a_token_as_it_begins_does_not_call(
    make_runner, fake_clock
):
    service = Service(fake_clock, (1, 31))
    retry = patient()
    async with make_runner(limit=64, rate=sr.RateLimit(20), retry=retry) as runner:
        await runner.map(service, range(200))
    assert len(service.while_down) <= 16 + 24


async def test_no_slot_is_held_by_who_waits(make_runner, fake_clock):
    service = Service(fake_clock, (0, 30))

    async def single():
        outlasting.set(False)
        return await runner.call(asyncio.sleep, 0.1, "answer")

    async with make_runner(limit=4, retry=patient()) as runner:
        run = asyncio.create_task(runner.map(service, range(40)))
        await asyncio.sleep(10)
        await asyncio.create_task(single())
        assert fake_clock.now() < 10.2
        await run


async def test_who_does_not_outlast_keeps_the_limits(make_runner, fake_clock):
    service = Service(fake_clock, (0, 1_000))

    async def single():
        outlasting.set(False)
        await runner.call(service, "query")

    async with make_runner(limit=4, retry=patient(attempts=3)) as runner:
        with pytest.raises(ConnectionRefusedError):
            await asyncio.create_task(single())
    assert len(service.asked) == 3
    assert fake_clock.now() < 2


async def test_the_total_timeout_cuts_the_wait(make_runner, fake_clock):
    service = Service(fake_clock, (0, 1_000))
    timeout = sr.Timeout(total=10)
    async with make_runner(limit=4, retry=patient(), timeout=timeout) as runner:
        with pytest.raises(DeadlineExceeded):
            await runner.map(service, range(40))
    assert fake_clock.now() == 10


async def test_cancelled_while_it_waits(make_runner, fake_clock):
    service = Service(fake_clock, (0, 30))
    async with make_runner(limit=4, retry=patient()) as runner:
        run = asyncio.create_task(runner.map(service, range(40)))
        await asyncio.sleep(10)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        assert fake_clock.now() == 10


async def test_a_cancelled_probe_is_followed_by_another(make_runner, fake_clock):
    service = Service(fake_clock, (0, 10_000), seconds=1)

    async with make_runner(limit=8, retry=patient()) as runner:
        calls = [asyncio.create_task(runner.call(service, item)) for item in range(8)]
        await service.calls(9)
        probing = service.items[-1]
        calls[probing].cancel()
        await service.calls(10)
        assert service.items[-1] != probing
        assert service.asked[-1] - service.asked[-2] < 0.1
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)


async def test_who_is_cancelled_as_it_becomes_the_probe_is_followed(
    make_runner, fake_clock
):
    service = Service(fake_clock, (0, 5))
    async with make_runner(limit=8, retry=patient()) as runner:
        calls = [asyncio.create_task(runner.call(service, item)) for item in range(8)]
        await service.calls(8)
        for step in range(400):  # whatever moment that is
            fake_clock.at_step(fake_clock.steps + step + 1, calls[step % 7].cancel)
        ends = await asyncio.gather(*calls, return_exceptions=True)
    assert ends[7] == 7


async def test_a_hedge_of_the_probe_waits(make_runner, fake_clock):
    service = Service(fake_clock, (1, 31), seconds=0.5)
    hedge = sr.Hedge(at=0.2, share=1)
    async with make_runner(limit=8, retry=patient(), hedge=hedge) as runner:
        assert await runner.map(service, range(200)) == list(range(200))
    late = [at for at in service.while_down if at > 3]
    assert all(b - a >= 0.5 for a, b in itertools.pairwise(late))


async def test_a_breaker_is_outlasted(make_runner, fake_clock):
    service = Service(fake_clock, (1, 41))
    breaker = sr.Breaker(failures=5, open_for=10, on=named)
    async with make_runner(limit=8, retry=patient(), breaker=breaker) as runner:
        assert await runner.map(service, range(400)) == list(range(400))
    assert len(service.while_down) <= 16 + 24


async def test_a_breaker_that_stays_open_refuses(make_runner, fake_clock):
    service = Service(fake_clock, (1, 1_000))
    breaker = sr.Breaker(failures=5, open_for=10, on=named)
    async with make_runner(limit=8, retry=patient(), breaker=breaker) as runner:
        with pytest.raises((CircuitOpen, ConnectionRefusedError)):
            await runner.map(service, range(400))
    assert 61 <= fake_clock.now() < 80


async def test_runners_have_an_outage_each(make_runner, fake_clock):
    gone, there = Service(fake_clock, (0, 30)), Service(fake_clock)
    async with (
        make_runner(limit=4, retry=patient()) as one,
        make_runner(limit=4, retry=patient()) as two,
    ):
        waits = asyncio.create_task(one.map(gone, range(40)))
        await asyncio.sleep(5)
        await two.map(there, range(40))
        assert fake_clock.now() < 6
        await waits


async def test_attempts_that_hang_are_an_outage(make_runner, fake_clock):
    async def job(item):
        if fake_clock.now() < 60:
            await asyncio.sleep(1_000)
        await asyncio.sleep(0.1)
        return item

    timeout = sr.Timeout(attempt=10, total=120)
    async with make_runner(limit=8, retry=patient(), timeout=timeout) as runner:
        assert await runner.map(job, range(100)) == list(range(100))


async def test_the_log_says_when_it_begins_and_ends(make_runner, fake_clock, caplog):
    service = Service(fake_clock, (1, 11))
    async with make_runner(limit=8, retry=patient()) as runner:
        await runner.map(service, range(200))
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert said[0].startswith("the service of 'test' is gone (ConnectionRefusedError")
    assert said[1].startswith("the service of 'test' is back after 1")


async def test_the_wait_is_booked_and_the_parts_add_up(make_runner, fake_clock):
    service = Service(fake_clock, (0, 20))
    async with make_runner(limit=8, retry=patient()) as runner:
        outcomes = await runner.map(service, range(8), errors="collect")
    for each in outcomes:
        assert sum(each.timings.parts()) == pytest.approx(each.timings.duration)
        assert each.timings.rate_limit > 15


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"rate": sr.RateLimit(40, burst=3)},
        {"hedge": sr.Hedge(at=0.2, share=1)},
        {"breaker": sr.Breaker(failures=3, open_for=1, on=named)},
        {"timeout": sr.Timeout(attempt=0.5, total=40), "limit": sr.AdaptiveLimit(4)},
    ],
    ids=["plain", "rate", "hedge", "breaker", "timeout"],
)
async def test_whatever_happens_all_jobs_end(make_runner, fake_clock, seed, more):
    chance = random.Random(seed)
    down = []
    at = 0.0
    for _ in range(6):
        at += chance.uniform(0.2, 3)
        down.append((at, at + chance.choice([0.2, 1, 5, 30])))
        at = down[-1][1]
    service = Service(fake_clock, *down)

    async def job(item):
        service.seconds = chance.choice([0, 0.05, 0.05, 0.4, 2])
        await service(item)
        if chance.random() < 0.1:
            raise chance.choice([Busy, Busy(503, 0.3), Busy(500), ValueError])
        return item

    options = {"limit": chance.choice([1, 3, 10]), "retry": patient(outage=20), **more}
    async with make_runner(**options) as runner:
        calls = [asyncio.create_task(runner.call(job, n)) for n in range(60)]
        runs = [
            asyncio.create_task(runner.map(job, range(60), errors="collect"))
            for _ in range(2)
        ]
        for _ in range(40):
            await asyncio.sleep(chance.uniform(0, 1))
            chance.choice(calls).cancel()
        await asyncio.gather(*calls, *runs, return_exceptions=True)
        assert all(task.done() for task in calls + runs)
    assert fake_clock.now() < 2_000


async def test_a_spent_budget_does_not_replace_an_error_that_cannot_change(
    make_runner,
):
    @dataclasses.dataclass(frozen=True)
    class Frozen(Exception):  # noqa: N818 -- what it is
        status: int = 503

    async def fail(_):
        raise Frozen

    retry = sr.Retry(on=Frozen, reserve=0, budget=0.1)
    async with make_runner(limit=1, retry=retry) as runner:
        with pytest.raises(Frozen):
            await runner.call(fail, 1)
