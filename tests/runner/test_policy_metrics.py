"""What policies do is in a runner's metrics, and in events of its jobs' spans."""

import asyncio

import pytest

import spanrun as sr
from spanrun import semconv
from spanrun.errors import CircuitOpen, ConfigurationError, ShuttingDown

pytestmark = pytest.mark.usefixtures("fake_clock", "no_leaks")

STATE = semconv.SPANRUN_BREAKER_STATE
REASON = semconv.SPANRUN_REFUSAL_REASON
RESULT = semconv.SPANRUN_HEDGE_RESULT
DECISION = semconv.SPANRUN_LIMIT_DECISION
OF_POLICIES = (
    "spanrun.job.refusals",
    "spanrun.breaker.status",
    "spanrun.breaker.transitions",
    "spanrun.hedge.sent",
    "spanrun.hedge.ended",
    "spanrun.rate_limit.rate",
    "spanrun.rate_limit.tokens",
    "spanrun.rate_limit.waits",
    "spanrun.retry.budget",
    "spanrun.limit.decisions",
)


class Service:
    """Fails while it is down."""

    down = True

    async def __call__(self, _):
        if self.down:
            raise ConnectionRefusedError("nobody listens")


def events(captured, kind):
    """Of all jobs: the attributes of their events of one kind."""
    return [
        dict(event.attributes)
        for span in captured.spans
        if span.name == "job test"
        for event in span.events
        if event.name == kind
    ]


def counts(captured):
    return captured.points("spanrun.limit.decisions")


def nonzero(totals):
    return {value: total for value, total in totals.items() if total}


async def test_a_runner_without_policies_has_none_of_their_metrics(
    spanrun_capture, make_runner
):
    async with make_runner() as runner:
        await runner.map(asyncio.sleep, [1])
        assert not any(map(spanrun_capture.points, OF_POLICIES))


async def test_a_breaker_shows_its_state_its_changes_and_what_it_refuses(
    spanrun_capture, make_runner, fake_clock
):
    service = Service()

    def status():
        return nonzero(spanrun_capture.totals("spanrun.breaker.status", by=STATE))

    breaker = sr.Breaker(failures=2, open_for=30)
    async with make_runner(limit=1, breaker=breaker) as runner:
        assert status() == {"closed": 1}
        await runner.map(service, range(9), errors="collect")
        assert status() == {"open": 1}
        service.down = False
        fake_clock.advance(31)
        await runner.call(service, 0)
        assert status() == {"closed": 1}
    assert spanrun_capture.totals("spanrun.breaker.transitions", by=STATE) == {
        "open": 1,
        "half_open": 1,
        "closed": 1,
    }
    assert spanrun_capture.totals("spanrun.job.refusals", by=REASON) == {"breaker": 7}
    told = events(spanrun_capture, semconv.EVENT_SPANRUN_JOB_REFUSED)
    assert told == [{REASON: "breaker"}] * 7


async def test_who_waited_while_it_opened_counts_as_refused(
    spanrun_capture, make_runner
):
    breaker = sr.Breaker(failures=1, ratio=0)
    rate = sr.RateLimit(1)
    async with make_runner(breaker=breaker, rate=rate) as runner:
        outcomes = await runner.map(Service(), range(3), errors="collect")
    errors = [type(outcome.error) for outcome in outcomes]
    assert errors == [ConnectionRefusedError, CircuitOpen, CircuitOpen]
    assert spanrun_capture.totals("spanrun.job.refusals", by=REASON) == {"breaker": 2}


async def test_hedges_are_counted_by_what_became_of_them(spanrun_capture, make_runner):
    calls = {"won": [9, 1], "cancelled": [3, 9], "failed": [3, None], "none": [1]}

    async def work(item):
        seconds = calls[item].pop(0)
        if seconds is None:
            raise LookupError
        await asyncio.sleep(seconds)

    hedge = sr.Hedge(at=2, share=1)
    async with make_runner(hedge=hedge) as runner:
        await runner.map(work, list(calls))
        assert spanrun_capture.value("spanrun.hedge.sent") == 3
    each = {"won": 1, "cancelled": 1, "failed": 1}
    assert spanrun_capture.totals("spanrun.hedge.ended", by=RESULT) == each
    told = events(spanrun_capture, semconv.EVENT_SPANRUN_JOB_HEDGE_ENDED)
    assert sorted(event[RESULT] for event in told) == sorted(each)


async def test_a_second_call_beyond_the_share_is_refused(spanrun_capture, make_runner):
    hedge = sr.Hedge(at=2, share=0.1)
    async with make_runner(hedge=hedge) as runner:
        await runner.map(asyncio.sleep, [9])
    assert spanrun_capture.value("spanrun.hedge.sent") == 0
    refused = spanrun_capture.totals("spanrun.job.refusals", by=REASON)
    assert refused == {"hedge_share": 1}


async def test_a_rate_limit_shows_its_tokens_and_those_waited_for(
    spanrun_capture, make_runner
):
    for number in (1, 2):  # the count goes on after a runner is closed
        async with make_runner(rate=sr.RateLimit(8, per=4)) as runner:
            await runner.map(asyncio.sleep, [0] * 5)
            assert spanrun_capture.value("spanrun.rate_limit.rate") == 2
            assert spanrun_capture.value("spanrun.rate_limit.tokens") == 5 * number
            assert spanrun_capture.value("spanrun.rate_limit.waits") == 4 * number
    assert spanrun_capture.value("spanrun.rate_limit.tokens") == 10


async def test_tokens_that_runners_share_count_where_they_were_taken(
    spanrun_capture, fake_clock
):
    rate = sr.RateLimit(8, name="shared")
    runner = semconv.SPANRUN_RUNNER_NAME
    async with (
        sr.Runner("few", rate=rate, clock=fake_clock) as few,
        sr.Runner("many", rate=rate, clock=fake_clock) as many,
    ):
        await few.map(asyncio.sleep, [0])
        await many.map(asyncio.sleep, [0] * 3)
        taken = spanrun_capture.totals("spanrun.rate_limit.tokens", by=runner)
    assert taken == {"few": 1, "many": 3}


async def test_the_retry_budget_is_shown_as_it_is_spent(spanrun_capture, make_runner):
    retry = sr.Retry(on=ConnectionError, attempts=5, budget=0.1, reserve=3, base=0)
    async with make_runner(limit=1, retry=retry) as runner:
        assert spanrun_capture.value("spanrun.retry.budget") == 3
        await runner.map(Service(), [1, 2], errors="collect")
        assert spanrun_capture.value("spanrun.retry.budget") == 0
    refused = spanrun_capture.totals("spanrun.job.refusals", by=REASON)
    assert refused == {"retry_budget": 2}
    assert events(spanrun_capture, semconv.EVENT_SPANRUN_JOB_REFUSED)


async def test_retries_without_a_budget_have_none(spanrun_capture, make_runner):
    retry = sr.Retry(on=ConnectionError, budget=None)
    async with make_runner(retry=retry) as runner:
        await runner.map(asyncio.sleep, [1])
        assert not spanrun_capture.points("spanrun.retry.budget")


async def test_each_change_of_an_adaptive_limit_is_counted_with_its_reason(
    spanrun_capture, make_runner
):
    free = asyncio.Semaphore(8)
    changes = []

    async def work(_):
        async with free:
            await asyncio.sleep(1)

    limit = sr.AdaptiveLimit(start=2, max=64)
    async with make_runner(limit=limit) as runner:
        slots = runner._core.slots
        slots.on_resize = changes.append
        await runner.map(work, range(2_000))
    decided = spanrun_capture.totals("spanrun.limit.decisions", by=DECISION)
    every = {point.attributes[DECISION] for point in counts(spanrun_capture)}
    assert every == set(semconv.SPANRUN_LIMIT_DECISION_VALUES)
    assert sum(decided.values()) == len(changes)
    assert all(decided[each] for each in ("grown", "probed", "restored"))
    assert not decided.get("refused")


async def test_a_limit_that_falls_by_refusals_says_so(spanrun_capture, make_runner):
    async def work(number):
        await asyncio.sleep(1)
        if number > 500 and number % 3:
            raise TimeoutError

    limit = sr.AdaptiveLimit(start=16, max=16)
    async with make_runner(limit=limit) as runner:
        await runner.map(work, range(1_500), errors="collect")
    decided = spanrun_capture.totals("spanrun.limit.decisions", by=DECISION)
    assert decided["refused"] > 0


@pytest.mark.parametrize("waits", ["slot", "token"])
async def test_the_age_of_the_queue_is_that_of_who_waits_longest(
    spanrun_capture, make_runner, fake_clock, waits
):
    policy = {"limit": 1} if waits == "slot" else {"rate": sr.RateLimit(1, per=9)}

    def age():
        return spanrun_capture.value("spanrun.runner.queue.age")

    async with make_runner(**policy) as runner, asyncio.TaskGroup() as group:
        assert age() == 0
        group.create_task(runner.call(asyncio.sleep, 9))
        await asyncio.sleep(1)
        group.create_task(runner.call(asyncio.sleep, 0))
        await asyncio.sleep(3)
        group.create_task(runner.call(asyncio.sleep, 0))
        await asyncio.sleep(1)
        assert age() == 4


async def test_the_oldest_that_has_left_the_queue_counts_no_more(
    spanrun_capture, make_runner
):
    async with make_runner(limit=1) as runner, asyncio.TaskGroup() as group:
        group.create_task(runner.call(asyncio.sleep, 9))
        await asyncio.sleep(1)
        first = group.create_task(runner.call(asyncio.sleep, 0))
        await asyncio.sleep(1)
        group.create_task(runner.call(asyncio.sleep, 0))
        await asyncio.sleep(1)
        first.cancel()
        await asyncio.wait([first])
        assert spanrun_capture.value("spanrun.runner.queue.age") == 1


async def test_who_waits_for_a_service_that_is_gone_is_in_the_queue(
    spanrun_capture, make_runner
):
    service = Service()
    retry = sr.Retry(on=ConnectionError, attempts=1, outage=600)
    async with (
        make_runner(limit=2, retry=retry) as runner,
        asyncio.TaskGroup() as group,
    ):
        run = group.create_task(runner.map(service, range(9)))
        await asyncio.sleep(100)
        assert spanrun_capture.value("spanrun.runner.queue.age") > 0
        service.down = False
        await run
    assert events(spanrun_capture, semconv.EVENT_SPANRUN_JOB_HELD)


async def test_a_job_that_would_wait_for_itself_is_refused(
    spanrun_capture, make_runner
):
    async with make_runner(limit=1) as runner:
        with pytest.raises(ConfigurationError, match="would wait for ever"):
            await runner.call(runner.call, asyncio.sleep, 0)
    assert spanrun_capture.totals("spanrun.job.refusals", by=REASON) == {"nested": 1}


async def test_what_comes_while_a_runner_closes_is_refused(
    spanrun_capture, make_runner
):
    async with make_runner() as runner:
        runner._core.draining = True
        for refused in (runner.call(asyncio.sleep, 0), runner.map(asyncio.sleep, [0])):
            with pytest.raises(ShuttingDown):
                await refused
    assert spanrun_capture.totals("spanrun.job.refusals", by=REASON) == {"shutdown": 2}


class TiredError(Exception):
    def __init__(self):
        super().__init__("ask again later")
        self.retry_after = 10.0


ONCE_MORE = sr.Retry(on=TiredError, attempts=2, base=0.001)


def paused(captured):
    found = events(captured, semconv.EVENT_SPANRUN_JOB_PAUSED)
    return sorted(event[semconv.SPANRUN_JOB_PAUSE_DURATION] for event in found)


def tired_once(after=0.0):
    """A job that is refused at its first call, and the calls that began."""
    asked = []

    async def job(number):
        asked.append(number)
        if asked.count(0) == 1 and number == 0:
            await asyncio.sleep(after)
            raise TiredError
        await asyncio.sleep(0.1)

    return job


async def test_a_pause_that_a_service_asked_for_is_on_the_jobs_that_waited(
    spanrun_capture, make_runner
):
    async with make_runner(limit=2, retry=ONCE_MORE) as runner:
        await runner.map(tired_once(), range(6))
    # Job 1 was called already; the two behind it wait, and others for their slots.
    assert paused(spanrun_capture) == [pytest.approx(10, abs=0.2)] * 2


async def test_so_it_is_on_those_that_waited_for_a_token_as_it_began(
    spanrun_capture, make_runner
):
    async with make_runner(limit=3, retry=ONCE_MORE, rate=sr.RateLimit(1)) as runner:
        await runner.map(tired_once(0.5), range(3))
    assert paused(spanrun_capture) == [pytest.approx(10.5, abs=0.02)] * 2


async def test_also_where_the_wait_was_given_up(spanrun_capture, make_runner):
    timeout = sr.Timeout(total=4)
    async with make_runner(limit=1, retry=ONCE_MORE, timeout=timeout) as runner:
        await runner.map(tired_once(), range(2), errors="collect")
    (waited,) = paused(spanrun_capture)
    assert waited == pytest.approx(4, abs=0.1)


async def test_a_job_that_waits_for_a_token_alone_says_nothing(
    spanrun_capture, make_runner
):
    async with make_runner(rate=sr.RateLimit(10)) as runner:
        await runner.map(asyncio.sleep, [0] * 5)
    assert paused(spanrun_capture) == []
