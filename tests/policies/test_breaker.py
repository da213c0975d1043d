import asyncio
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

import spanrun as sr
from spanrun.errors import CircuitOpen, ConfigurationError
from spanrun.outcome import Timings
from spanrun.policies.base import Binding
from spanrun.policies.breaker import Breaker
from spanrun.testing import FakeClock

pytestmark = pytest.mark.usefixtures("fake_clock", "no_leaks")


class Work:
    def __init__(self, does=None):
        self.does = does
        self.timings = Timings()
        self.attempts = 0
        self.priority = 0
        self.task = None
        self.refusals = []

    def refused(self, reason):
        self.refusals.append(reason)


class Guarded:
    """A breaker around a call that does what its job says."""

    def __init__(self, clock, policy):
        self.circuit = policy.bind(Binding("test", clock))
        self.step = self.circuit.wrap(self.circuit.fuse.wrap(self.call))
        self.calls = 0

    async def call(self, job):
        self.calls += 1
        if isinstance(job.does, float):
            await asyncio.sleep(job.does)
        elif job.does is not None:
            raise job.does

    async def do(self, *what):
        return await asyncio.gather(
            *(self.step(Work(does)) for does in what), return_exceptions=True
        )

    def start(self, does):
        return asyncio.create_task(self.step(Work(does)))


@pytest.fixture
def guard(fake_clock):
    return lambda **values: Guarded(fake_clock, Breaker(**values))


DOWN = ConnectionRefusedError()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("failures", 0),
        ("failures", 2.5),
        ("ratio", -0.1),
        ("ratio", 1.1),
        ("ratio", float("nan")),
        ("window", 0),
        ("open_for", 0),
        ("probes", 0),
        ("on", BaseException),
    ],
)
def test_nonsense_is_refused_with_field_and_value(field, value):
    with pytest.raises(ConfigurationError, match=rf"Breaker\({field}="):
        Breaker(**{field: value})


async def test_failures_open_it_and_jobs_are_refused_at_once(guard, fake_clock):
    guarded = guard(failures=3, open_for=60)
    await guarded.do(DOWN, DOWN)
    assert guarded.circuit.state == "closed"
    await guarded.do(DOWN)
    assert guarded.circuit.state == "open"
    await asyncio.sleep(20)
    (refused,) = await guarded.do(None)
    assert isinstance(refused, CircuitOpen)
    assert guarded.calls == 3
    assert refused.retry_after == 40
    assert "'test'" in str(refused)
    assert "40 s" in str(refused)


async def test_error_survives_pickling():
    error = pickle.loads(pickle.dumps(CircuitOpen("test", 7.5)))  # noqa: S301 -- ours
    assert (error.runner, error.retry_after) == ("test", 7.5)


async def test_the_jobs_own_errors_do_not_open_it(guard):
    guarded = guard(failures=2)
    await guarded.do(*[ValueError("mine")] * 10)
    assert guarded.circuit.state == "closed"


async def test_which_errors_count_can_be_chosen(guard):
    guarded = guard(failures=2, on=(KeyError, sr.ServiceError))
    await guarded.do(*[DOWN] * 10)
    assert guarded.circuit.state == "closed"
    await guarded.do(*[KeyError()] * 10, sr.ServiceError("x"))
    assert guarded.circuit.state == "open"


async def test_few_failures_among_many_calls_do_not_open_it(guard):
    guarded = guard(failures=5, ratio=0.5)
    for _ in range(10):
        await guarded.do(DOWN, None, None)
    assert guarded.circuit.state == "closed"
    guarded = guard(failures=5, ratio=0)
    for _ in range(5):
        await guarded.do(DOWN, None, None)
    assert guarded.circuit.state == "open"


async def test_calls_before_the_first_failure_do_not_hide_an_outage(guard):
    guarded = guard(failures=5, ratio=0.9)
    await guarded.do(*[None] * 1_000)
    await guarded.do(*[DOWN] * 5)
    assert guarded.circuit.state == "open"


async def test_failures_further_apart_than_the_window_do_not_open_it(guard):
    guarded = guard(failures=3, window=10)
    for _ in range(9):
        await guarded.do(DOWN)
        await asyncio.sleep(6)
    assert guarded.circuit.state == "closed"


async def test_after_its_time_one_probe_goes_through_and_others_are_refused(guard):
    guarded = guard(failures=1, open_for=30)
    await guarded.do(DOWN)
    await asyncio.sleep(30)
    probe = guarded.start(1.0)
    await asyncio.sleep(0)
    assert guarded.circuit.state == "half_open"
    (refused,) = await guarded.do(None)
    assert isinstance(refused, CircuitOpen)
    assert refused.retry_after == 0
    assert "just now" in str(refused)
    await probe
    assert guarded.circuit.state == "closed"
    assert await guarded.do(None, None) == [None, None]


async def test_failed_probe_opens_it_again_for_the_whole_time(guard):
    guarded = guard(failures=1, open_for=30)
    await guarded.do(DOWN)
    await asyncio.sleep(31)
    await guarded.do(DOWN)
    assert guarded.circuit.state == "open"
    (refused,) = await guarded.do(None)
    assert refused.retry_after == 30


async def test_all_probes_must_succeed(guard):
    guarded = guard(failures=1, open_for=30, probes=3)
    await guarded.do(DOWN)
    await asyncio.sleep(30)
    probes = [guarded.start(seconds) for seconds in (1.0, 2.0, 3.0, 4.0)]
    await asyncio.sleep(2.5)
    assert isinstance(probes[3].exception(), CircuitOpen)
    assert guarded.circuit.state == "half_open"
    (refused,) = await guarded.do(None)  # two have passed, one runs
    assert isinstance(refused, CircuitOpen)
    await asyncio.sleep(1)
    assert guarded.circuit.state == "closed"


async def test_failures_from_before_do_not_count_after_it_closed(guard):
    guarded = guard(failures=2, open_for=5, window=1_000)
    await guarded.do(DOWN, DOWN)
    await asyncio.sleep(5)
    await guarded.do(None)
    await guarded.do(DOWN)
    assert guarded.circuit.state == "closed"


async def test_time_left_is_never_below_zero(guard):
    guarded = guard(failures=1, open_for=5)
    await guarded.do(DOWN)
    await asyncio.sleep(9)
    assert guarded.circuit.refusal(Work()).retry_after == 0


async def test_probe_with_an_error_of_its_own_shows_that_the_service_is_there(guard):
    guarded = guard(failures=1, open_for=30)
    await guarded.do(DOWN)
    await asyncio.sleep(30)
    await guarded.do(ValueError("mine"))
    assert guarded.circuit.state == "closed"


async def test_cancelled_probe_gives_its_place_back(guard):
    guarded = guard(failures=1, open_for=30)
    await guarded.do(DOWN)
    await asyncio.sleep(30)
    probe = guarded.start(100.0)
    await asyncio.sleep(1)
    probe.cancel()
    await asyncio.gather(probe, return_exceptions=True)
    assert guarded.circuit.state == "half_open"
    assert await guarded.do(None) == [None]
    assert guarded.circuit.state == "closed"


async def test_call_from_before_it_opened_has_no_say(guard):
    guarded = guard(failures=1, open_for=30)

    async def late(_):
        await asyncio.sleep(40)
        raise DOWN

    lingering = asyncio.create_task(guarded.circuit.wrap(late)(Work()))
    succeeds = guarded.start(35.0)
    await asyncio.sleep(1)
    await guarded.do(DOWN)
    await succeeds
    assert guarded.circuit.state == "open"
    await guarded.do(None)
    assert guarded.circuit.state == "closed"
    await asyncio.gather(lingering, return_exceptions=True)
    assert guarded.circuit.state == "closed"


async def test_job_that_waited_while_it_opened_is_refused_too(make_runner):
    calls = 0

    async def job():
        nonlocal calls
        calls += 1
        await asyncio.sleep(1)
        raise ConnectionError

    breaker = Breaker(failures=4, open_for=1_000)
    async with make_runner(limit=2, breaker=breaker) as runner:
        results = await asyncio.gather(
            *(runner.call(job) for _ in range(100)), return_exceptions=True
        )
    # The two that began as it opened were in their calls already.
    assert calls <= 6
    assert sum(isinstance(error, CircuitOpen) for error in results) == 100 - calls


async def test_attempts_are_counted_and_an_open_circuit_can_be_retried(make_runner):
    calls = []
    loop = asyncio.get_running_loop()

    async def job():
        calls.append(loop.time())
        if len(calls) < 3:
            raise ConnectionError
        return "back"

    retry = sr.Retry(
        on=(ConnectionError, CircuitOpen), attempts=5, base=0, cap=0, budget=None
    )
    breaker = Breaker(failures=2, open_for=30)
    async with make_runner(retry=retry, breaker=breaker) as runner:
        assert await runner.call(job) == "back"
    assert calls == [0, 0, 30]  # retry_after was obeyed


async def test_refused_job_waits_for_nothing(make_runner, fake_clock):
    async def job(_):
        raise ConnectionError

    breaker = Breaker(failures=1)
    async with make_runner(rate=sr.RateLimit(1, per=60), breaker=breaker) as runner:
        outcomes = await runner.map(job, range(50), errors="collect")
    assert fake_clock.now() <= 60
    kinds = [type(outcome.error) for outcome in outcomes]
    assert kinds.count(CircuitOpen) == 49


async def test_changes_of_state_are_told(guard):
    told = []
    guarded = guard(
        failures=1,
        open_for=30,
        on_change=lambda runner, state: told.append((runner, state)),
    )
    await guarded.do(DOWN)
    await asyncio.sleep(30)
    await guarded.do(DOWN)
    await asyncio.sleep(30)
    await guarded.do(None)
    assert [state for _, state in told] == [
        "open",
        "half_open",
        "open",
        "half_open",
        "closed",
    ]
    assert {runner for runner, _ in told} == {"test"}


async def test_what_on_change_raises_goes_to_the_loop_and_no_further(guard):
    def told(runner, state):
        raise LookupError(state)

    heard = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: heard.append(context["exception"])
    )
    guarded = guard(failures=1, on_change=told)
    assert await guarded.do(DOWN) == [DOWN]
    assert [repr(error) for error in heard] == ["LookupError('open')"]


@given(
    probes=st.integers(1, 3),
    failures=st.integers(1, 4),
    plan=st.lists(
        st.tuples(
            st.sampled_from(["ok", "down", "mine", "cancel"]),
            st.floats(0, 20),  # until it begins
            st.floats(0, 20),  # how long it takes
        ),
        max_size=40,
    ),
)
def test_probing_places_are_never_lost_and_never_too_many(probes, failures, plan):
    clock = FakeClock()
    errors = {"down": DOWN, "mine": ValueError("mine")}

    async def main():
        policy = Breaker(failures=failures, open_for=10, probes=probes)
        circuit = policy.bind(Binding("test", clock))

        async def call(job):
            what, _, seconds = job.does
            assert circuit.state != "open"
            assert len(circuit._probing) <= probes
            await asyncio.sleep(seconds)
            if what in errors:
                raise errors[what]

        step = circuit.wrap(circuit.fuse.wrap(call))
        tasks = []
        for job in plan:
            await asyncio.sleep(job[1])
            task = asyncio.create_task(step(Work(job)))
            if job[0] == "cancel":
                asyncio.get_running_loop().call_later(job[2] / 2, task.cancel)
            tasks.append(task)
        await asyncio.gather(*tasks, return_exceptions=True)
        assert not circuit._probing
        await asyncio.sleep(11)  # it is always possible to close it again
        for _ in range(probes):
            await step(Work(("ok", 0, 0)))
        assert circuit.state == "closed"

    clock.run(main())
