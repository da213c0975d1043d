import asyncio
import random
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

import spanrun as sr
from spanrun.clock import SystemClock
from spanrun.errors import ConfigurationError, ServiceError
from spanrun.outcome import Timings
from spanrun.policies.base import Binding
from spanrun.policies.rate import Gate
from spanrun.policies.retry import Retry

pytestmark = pytest.mark.usefixtures("fake_clock", "no_leaks")


class Busy(ConnectionError):  # noqa: N818 -- what it is
    """What a service answers that asks for a pause."""

    def __init__(self, retry_after):
        super().__init__("busy")
        self.retry_after = retry_after


class Work:
    def __init__(self):
        self.timings = Timings()
        self.attempts = 0
        self.unit = None
        self.priority = 0
        self.task = None
        self.backs_off = 0
        self.delays = []
        self.refusals = []

    def paused(self, seconds):
        pass

    def backing_off(self, error, delay):
        self.backs_off += 1
        self.delays.append(delay)

    def back(self):
        self.backs_off -= 1

    def refused(self, reason):
        self.refusals.append(reason)


class Uniform(random.Random):
    """Draws the same place between the bounds each time, and notes the bounds."""

    def __init__(self, place=0.5):
        super().__init__()
        self.place = place
        self.bounds = []

    def uniform(self, a, b):
        self.bounds.append((a, b))
        return a + (b - a) * self.place


@pytest.fixture
def bind(fake_clock):
    def bind(retry, inner, chance=None):
        binding = Binding("test", fake_clock, chance or Uniform())
        return retry.bind(binding, Gate(binding)).wrap(inner)

    return bind


def failing(times, error=ConnectionError):
    """A step that fails so often, and then gives its number of calls."""
    calls = 0

    async def step(_):
        nonlocal calls
        calls += 1
        if calls <= times:
            raise error() if isinstance(error, type) else error
        return calls

    return step


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("attempts", 0),
        ("base", -1),
        ("cap", 0.01),
        ("retry_after_cap", -1),
        ("budget", 0),
        ("reserve", -1),
        ("on", BaseException),
        ("on", (KeyError, KeyboardInterrupt)),
        ("on", asyncio.CancelledError),
        ("on", "ConnectionError"),
        ("on", None),
    ],
)
def test_nonsense_is_refused_and_the_field_named(field, value):
    with pytest.raises(ConfigurationError, match=rf"Retry\({field}="):
        Retry(**{"on": ConnectionError, field: value})


def test_on_has_no_default():
    with pytest.raises(TypeError, match="on"):
        Retry()


@pytest.mark.parametrize(
    "on",
    [ConnectionError, (KeyError, OSError), lambda error: isinstance(error, OSError)],
    ids=["type", "types", "predicate"],
)
async def test_an_error_that_on_names_is_tried_again(bind, on):
    step = bind(Retry(on=on, attempts=3), failing(2))
    assert await step(Work()) == 3


async def test_another_error_stands_at_once(bind):
    job = Work()
    error = ValueError("mine")
    step = bind(Retry(on=ConnectionError), failing(1, error))
    with pytest.raises(ValueError, match="mine") as caught:
        await step(job)
    assert caught.value is error
    assert job.attempts == 1


async def test_an_error_that_stands_has_no_frame_of_who_decided_that(bind):
    step = bind(Retry(on=ConnectionError), failing(1, ValueError("mine")))
    with pytest.raises(ValueError, match="mine") as caught:
        await step(Work())
    frames = traceback.extract_tb(caught.value.__traceback__)
    assert not {"again", "_repeat"}.intersection(frame.name for frame in frames)


@pytest.mark.parametrize("on", [Exception, lambda _: True], ids=["type", "predicate"])
async def test_a_final_error_stands_whatever_on_says(bind, on):
    job = Work()
    error = ServiceError("it unpacks to gigabytes", status=503, final=True)
    step = bind(Retry(on=on, attempts=3), failing(1, error))
    with pytest.raises(ServiceError):
        await step(job)
    assert job.attempts == 1


async def test_the_last_error_stands_when_the_attempts_are_used_up(bind):
    job = Work()
    step = bind(Retry(on=ConnectionError, attempts=4), failing(99))
    with pytest.raises(ConnectionError):
        await step(job)
    assert job.attempts == 4


@pytest.mark.parametrize("place", [0.0, 0.25, 1.0])
async def test_wait_is_drawn_between_zero_and_the_doubling_bound(bind, place):
    chance, job = Uniform(place), Work()
    step = bind(
        Retry(on=OSError, attempts=6, base=0.5, cap=3, budget=None), failing(5), chance
    )
    await step(job)
    assert chance.bounds == [(0, 0.5), (0, 1), (0, 2), (0, 3), (0, 3)]
    assert job.delays == [high * place for _, high in chance.bounds]
    assert job.timings.backoff == pytest.approx(sum(job.delays))


async def test_thousands_of_attempts_are_no_overflow(bind):
    step = bind(
        Retry(on=OSError, attempts=2_000, base=1.0, cap=2, budget=None), failing(1_500)
    )
    assert await step(Work()) == 1_501


async def test_retry_after_is_waited_for_beside_the_jitter(bind):
    job = Work()
    step = bind(Retry(on=Busy, base=2), failing(1, Busy(10)))
    await step(job)
    assert job.delays == [10 + 1]


async def test_retry_after_is_capped(bind):
    job = Work()
    retry = Retry(on=Busy, base=0, cap=0, retry_after_cap=60)
    await bind(retry, failing(1, Busy(86_400)))(job)
    assert job.delays == [60]


@pytest.mark.parametrize("asked", [None, 0, -3, float("nan"), "12", object()])
async def test_nonsense_in_retry_after_is_passed_over(bind, asked):
    job = Work()
    await bind(Retry(on=Busy, base=2), failing(1, Busy(asked)))(job)
    assert job.delays == [1]


async def test_retry_after_pauses_the_other_jobs_of_the_runner(make_runner, fake_clock):
    calls = []

    async def job(item):
        calls.append((item, fake_clock.now()))
        if calls == [("a", 0)]:
            raise Busy(30)

    retry = sr.Retry(on=Busy, base=0, cap=0)
    async with make_runner(limit=1, retry=retry) as runner:
        outcomes = await runner.map(job, "ab", errors="collect")
    assert calls[0] == ("a", 0)
    assert [moment for _, moment in calls[1:]] == [30, 30]
    waited = {o.index: (o.timings.backoff, o.timings.rate_limit) for o in outcomes}
    assert waited[0] == (30, 0)
    assert waited[1] == (0, 30)


async def test_slot_is_free_during_backoff(make_runner, fake_clock):
    calls = []

    async def job(item):
        calls.append((item, fake_clock.now()))
        await asyncio.sleep(1)
        if item == "a" and len(calls) == 1:
            raise ConnectionError

    retry = sr.Retry(on=ConnectionError, base=64, cap=64)
    async with make_runner(limit=1, retry=retry) as runner:
        await runner.map(job, "ab")
    assert calls[:2] == [("a", 0), ("b", 1)]


async def test_cancellation_is_never_tried_again(bind):
    job = Work()
    step = bind(
        Retry(on=Exception, attempts=9), lambda _: asyncio.sleep(50, "not reached")
    )
    task = asyncio.create_task(step(job))
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert job.attempts == 1


async def test_an_error_in_place_of_a_cancellation_is_not_tried_again(bind):
    async def disguise(_):
        try:
            await asyncio.sleep(50)
        except asyncio.CancelledError:
            raise ConnectionError from None

    job = Work()
    step = bind(Retry(on=ConnectionError, attempts=9), disguise)
    task = asyncio.create_task(step(job))
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(ConnectionError):
        await task
    assert job.attempts == 1


async def test_cancelled_while_backing_off_the_job_is_told_and_the_wait_booked(bind):
    job = Work()
    step = bind(Retry(on=OSError, base=40, cap=40), failing(1))
    task = asyncio.create_task(step(job))
    await asyncio.sleep(5)
    assert job.backs_off == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert job.backs_off == 0
    assert job.timings.backoff == 5


@pytest.mark.parametrize("fatal", [KeyboardInterrupt, SystemExit, GeneratorExit])
async def test_the_programs_end_is_never_tried_again(bind, fatal):
    job = Work()
    step = bind(Retry(on=lambda _: True, attempts=9), failing(9, fatal))
    coroutine = step(job)
    with pytest.raises(fatal):
        coroutine.send(None)
    assert job.attempts == 1


async def test_retries_stop_when_the_budget_is_used_up(bind):
    calls = 0

    async def dead(_):
        nonlocal calls
        calls += 1
        raise ConnectionError

    retry = Retry(on=ConnectionError, attempts=4, budget=0.1, reserve=10)
    step = bind(retry, dead)
    jobs = 1_000
    for _ in range(jobs):
        with pytest.raises(ConnectionError):
            await step(Work())
    assert calls <= jobs * 1.1 + 10
    assert calls >= jobs * 1.1


async def test_the_error_says_that_the_budget_was_used_up(bind):
    step = bind(Retry(on=OSError, reserve=0), failing(9))
    with pytest.raises(ConnectionError) as caught:
        await step(Work())
    assert any("budget" in note for note in caught.value.__notes__)


async def test_without_a_budget_every_attempt_is_made(bind):
    step = bind(Retry(on=OSError, attempts=3, budget=None, reserve=0), failing(99))
    for _ in range(20):
        job = Work()
        with pytest.raises(ConnectionError):
            await step(job)
        assert job.attempts == 3


async def test_an_error_in_the_predicate_is_the_jobs_error(bind):
    def predicate(error):
        raise LookupError("the predicate's own") from error

    with pytest.raises(LookupError, match="predicate"):
        await bind(Retry(on=predicate), failing(1))(Work())


@given(
    attempts=st.integers(1, 50),
    base=st.floats(0, 10),
    extra=st.floats(0, 100),
    seed=st.integers(0, 2**32),
)
def test_no_wait_is_beyond_its_bounds(attempts, base, extra, seed):
    retry = Retry(on=OSError, attempts=attempts, base=base, cap=base + extra)
    binding = Binding("test", SystemClock(), random.Random(seed))
    layer = retry.bind(binding, Gate(binding))
    for attempt in range(1, attempts + 1):
        bound = min(retry.cap, retry.base * 2 ** (attempt - 1))
        assert 0 <= layer._delay(attempt, OSError()) <= bound


async def test_a_group_is_tried_again_when_all_in_it_is():
    retry = sr.Retry(on=ConnectionError)
    refused, wrong = ConnectionRefusedError("x"), ValueError("x")
    assert retry.wants(ExceptionGroup("g", [refused, ExceptionGroup("h", [refused])]))
    assert not retry.wants(ExceptionGroup("g", [refused, wrong]))
    assert not retry.wants(wrong)
    assert sr.Retry(on=ExceptionGroup).wants(ExceptionGroup("g", [wrong]))
