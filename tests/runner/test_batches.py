import asyncio
import itertools

import httpx
import pytest

import spanrun as sr
from spanrun.errors import CircuitOpen, ConfigurationError, Rejected
from spanrun.runner.groups import batches

pytestmark = pytest.mark.usefixtures("fake_clock", "no_leaks")


class Service:
    """Doubles numbers, in batches; poisoned ones fail the whole batch."""

    def __init__(self, *poison, error=ValueError):
        self.poison = set(poison)
        self.error = error
        self.batches = []

    async def __call__(self, batch):
        self.batches.append(batch)
        await asyncio.sleep(1)
        if found := self.poison.intersection(batch):
            raise self.error(f"poisoned by {min(found)}")
        return [number * 2 for number in batch]


async def numbers(until, pace=0.0):
    for number in range(until):
        await asyncio.sleep(pace)
        yield number


@pytest.mark.parametrize(("size", "max_wait"), [(0, None), (-1, None), (2, 0), (2, -1)])
async def test_nonsense_is_refused(make_runner, size, max_wait):
    with pytest.raises(ConfigurationError, match="batches"):
        batches([1], size, max_wait)
    async with make_runner() as runner:
        with pytest.raises(ConfigurationError, match="batches"):
            await runner.map_batches(Service(), [1], size=size, max_wait=max_wait)


@pytest.mark.parametrize("errors", ["ignore", None])
async def test_nonsense_for_errors_is_refused(make_runner, errors):
    async with make_runner() as runner:
        with pytest.raises(ConfigurationError, match="errors="):
            await runner.map_batches(Service(), [1], size=2, errors=errors)


@pytest.mark.parametrize("size", [1, 3, 10, 99])
async def test_each_item_has_its_result_in_order(make_runner, size):
    service = Service()
    async with make_runner(limit=2) as runner:
        got = await runner.map_batches(service, range(10), size=size)
    assert got == [2 * number for number in range(10)]
    assert sum(map(len, service.batches)) == 10


async def test_any_sequence_of_values_will_do(make_runner):
    async def job(batch):
        return tuple(batch)

    async with make_runner() as runner:
        assert await runner.map_batches(job, range(3), size=2) == [0, 1, 2]


async def test_a_sequence_that_lies_about_its_length_is_an_error(make_runner):
    class Liar:
        def __len__(self):
            return 2

        def __getitem__(self, index):
            raise IndexError(index)

    async with make_runner() as runner:
        with pytest.raises(ValueError, match="gave 0 for"):
            await runner.map_batches(
                lambda _: asyncio.sleep(1, Liar()), range(2), size=2
            )


async def test_an_error_in_the_retrys_predicate_is_the_batchs_error(make_runner):
    def predicate(_):
        raise LookupError("in the predicate")

    async with make_runner(retry=sr.Retry(on=predicate)) as runner:
        with pytest.raises(LookupError, match="in the predicate"):
            await runner.map_batches(Service(1), range(4), size=4)


async def test_no_items_make_no_batch(make_runner):
    service = Service()
    async with make_runner() as runner:
        assert await runner.map_batches(service, [], size=3) == []
        assert await runner.map_batches(service, numbers(0), size=3) == []
    assert service.batches == []


async def test_a_slow_source_makes_smaller_batches(make_runner):
    service = Service()
    async with make_runner() as runner:
        got = await runner.map_batches(service, numbers(6, 2), size=4, max_wait=5)
    assert got == [0, 2, 4, 6, 8, 10]
    assert service.batches == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("poison", [0, 3, 7])
async def test_a_poisoned_item_costs_only_itself(make_runner, poison):
    service = Service(poison)
    async with make_runner() as runner:
        got = await runner.map_batches(service, range(8), size=8, errors="collect")
    assert [o.index for o in got] == list(range(8))
    failed = [o.index for o in got if isinstance(o, sr.Err)]
    assert failed == [poison]
    assert [o.value for o in got if isinstance(o, sr.Ok)] == [
        2 * number for number in range(8) if number != poison
    ]
    assert len(service.batches) == 7  # 8, 4 4, 2 2, 1 1


@pytest.mark.parametrize(
    ("poison", "calls", "ok"),
    [
        (range(64), 14, 0),  # after 2 · log2(64) + 2 none succeeded
        ([17], 13, 63),
        ([3, 40], 23, 62),
        (range(0, 64, 8), 63, 56),
    ],
)
async def test_a_few_calls_tell_whether_it_is_the_items(make_runner, poison, calls, ok):
    service = Service(*poison)
    async with make_runner() as runner:
        got = await runner.map_batches(service, range(64), size=64, errors="collect")
    assert [o.index for o in got] == list(range(64))
    assert sum(isinstance(o, sr.Ok) for o in got) == ok
    assert len(service.batches) == calls


async def test_where_nothing_succeeds_the_rest_has_the_batchs_own_error(make_runner):
    service = Service(*range(8))
    async with make_runner() as runner:
        got = await runner.map_batches(service, range(8), size=8, errors="collect")
    assert [len(batch) for batch in service.batches] == [8, 4, 2, 1, 1, 2, 1, 1]
    assert [str(o.error) for o in got] == [
        f"poisoned by {n}" for n in (0, 1, 2, 3, 0, 0, 0, 0)
    ]


async def test_halves_follow_at_once_when_one_succeeded(make_runner, fake_clock):
    service = Service(7)  # the last of all: each first half succeeds
    began = fake_clock.now()
    async with make_runner() as runner:
        await runner.map_batches(service, range(8), size=8, errors="collect")
    # 8, then 4 and after it 4, and from then on both halves at once: 2 2, 1 1
    assert fake_clock.now() - began == 1 + 2 + 1 + 1
    assert len(service.batches) == 7


class ForeignError(Exception):
    """As clients' errors are, with the status of an answer."""

    def __init__(self, status):
        super().__init__(f"answered {status}")
        self.status_code = status


def wrapped(error):
    outer = RuntimeError(f"of {error!r}")
    outer.__cause__ = error
    return outer


@pytest.mark.parametrize(
    ("error", "calls"),
    [
        (ConnectionRefusedError("refused"), 1),
        (httpx.ConnectError("refused"), 1),
        (httpx.ReadTimeout("slow"), 1),
        (wrapped(httpx.ConnectError("refused")), 1),
        (TimeoutError(), 1),
        (ForeignError(401), 1),
        (ForeignError(404), 1),
        (ForeignError(429), 1),
        (ForeignError(503), 1),
        (wrapped(ForeignError(503)), 1),
        (sr.ServiceError("an error in a 200", status=200), 1),
        (sr.ServiceError("an answer that can't be used"), 1),
        (sr.ServiceError("it unpacks to too much", status=400, final=True), 1),
        (CircuitOpen("embed", 1.0), 1),
        (ForeignError(400), 7),
        (ForeignError(413), 7),
        (ForeignError(422), 7),
        (sr.ServiceError("too long", status=400), 7),
        (KeyError("name"), 7),
        (FileNotFoundError("of one item"), 7),
    ],
    ids=repr,
)
async def test_only_what_may_lie_in_the_items_is_split(make_runner, error, calls):
    service = Service(3, error=lambda _: error)
    async with make_runner() as runner:
        got = await runner.map_batches(service, range(8), size=8, errors="collect")
    assert len(service.batches) == calls
    assert sum(isinstance(o, sr.Err) for o in got) == (8 if calls == 1 else 1)
    assert got[3].error is error


@pytest.mark.parametrize(
    ("split_on", "calls"),
    [
        (False, 1),
        (LookupError, 1),
        (ValueError, 7),
        ((ValueError, KeyError), 7),
        (lambda error: "poisoned" in str(error), 7),
        (lambda error: 1 / 0, 1),
    ],
)
async def test_the_user_says_what_is_split(make_runner, split_on, calls):
    service = Service(3)
    async with make_runner() as runner:
        got = await runner.map_batches(
            service, range(8), size=8, errors="collect", split_on=split_on
        )
    assert len(service.batches) == calls
    assert isinstance(got[3].error, ValueError)


@pytest.mark.parametrize("split_on", [True, "x", 5, BaseException, (ValueError, 1)])
async def test_nonsense_for_split_on_is_refused(make_runner, split_on):
    async with make_runner() as runner:
        with pytest.raises(ConfigurationError, match="split_on"):
            await runner.map_batches(Service(), [1], size=2, split_on=split_on)


@pytest.mark.parametrize(
    "answer", [{0: 1, 1: 2}, {1, 2}, "ab", b"xy", {0: 1, 1: 2}.values(), iter([1, 2])]
)
async def test_what_has_no_order_of_its_own_is_no_answer(make_runner, answer):
    calls = []

    async def job(batch):
        calls.append(batch)
        return answer

    async with make_runner() as runner:
        with pytest.raises(ValueError, match=f"gave {type(answer).__name__} for 2"):
            await runner.map_batches(job, range(2), size=2)
    assert len(calls) == 1


async def test_leaving_early_ends_a_batch_that_is_being_split(make_runner):
    service = Service(*range(1, 8))
    async with (
        make_runner() as runner,
        runner.stream_batches(service, range(8), size=8, ordered=False) as outcomes,
    ):
        async for _ in outcomes:
            break
    assert len(service.batches) == 4  # 8, 4, 2 and the 1 that was read


async def test_with_raise_the_poisoned_items_own_error_comes_out(make_runner):
    service = Service(5)
    async with make_runner() as runner:
        with pytest.raises(ValueError, match="poisoned by 5"):
            await runner.map_batches(service, range(8), size=8)


async def test_with_raise_the_first_error_is_not_held_back_by_slow_batches(
    make_runner, fake_clock
):
    async def job(batch):
        if 0 in batch:
            await asyncio.sleep(1_000)
        raise LookupError

    async with make_runner() as runner:
        with pytest.raises(LookupError):
            await runner.map_batches(job, range(4), size=1)
    assert fake_clock.now() < 1_000


@pytest.mark.parametrize("error", [ConnectionError, TimeoutError, Rejected])
async def test_an_error_that_says_nothing_of_the_items_is_not_halved(
    make_runner, error
):
    service = Service(1, error=error)
    retry = sr.Retry(on=ConnectionError, attempts=2, base=0, cap=0)
    async with make_runner(retry=retry) as runner:
        got = await runner.map_batches(service, range(4), size=4, errors="collect")
    assert all(isinstance(o, sr.Err) for o in got)
    assert len(service.batches) == (2 if error is ConnectionError else 1)


async def test_a_batch_that_runs_out_of_time_is_not_halved(make_runner):
    calls = []

    async def slow(batch):
        calls.append(batch)
        await asyncio.sleep(50)

    async with make_runner(timeout=sr.Timeout(total=5)) as runner:
        got = await runner.map_batches(slow, range(4), size=4, errors="collect")
    assert [o.outcome for o in got] == ["timed_out"] * 4
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("answer", "found"),
    [([1, 2, 3], "3"), ([], "0"), (None, "NoneType"), (5, "int")],
)
async def test_a_wrong_count_is_an_error_that_says_so(make_runner, answer, found):
    async with make_runner() as runner:
        with pytest.raises(ValueError, match=rf"gave {found} for"):
            await runner.map_batches(
                lambda _: asyncio.sleep(0, answer), range(4), size=2
            )


def failing_source():
    yield from range(5)
    raise LookupError("the source's own")


async def failing_async_source():
    for number in failing_source():
        await asyncio.sleep(0.1)
        yield number


sources = pytest.mark.parametrize(
    ("source", "max_wait"),
    [(failing_source, None), (failing_async_source, None), (failing_async_source, 5)],
)


@sources
async def test_an_error_of_the_source_comes_out(make_runner, source, max_wait):
    async with make_runner() as runner:
        with pytest.raises(LookupError, match="the source's own"):
            await runner.map_batches(Service(), source(), size=2, max_wait=max_wait)


@sources
async def test_the_outcomes_of_all_items_before_it_come_first(
    make_runner, source, max_wait
):
    async with (
        make_runner() as runner,
        runner.stream_batches(
            Service(), source(), size=2, max_wait=max_wait
        ) as outcomes,
    ):
        assert [(await anext(outcomes)).value for _ in range(5)] == [0, 2, 4, 6, 8]
        with pytest.raises(LookupError, match="the source's own"):
            await anext(outcomes)


async def test_a_source_that_times_out_itself_comes_out(make_runner):
    async def source():
        async with asyncio.timeout(3):
            for number in itertools.count():
                await asyncio.sleep(2)
                yield number

    async with make_runner() as runner:
        with pytest.raises(TimeoutError):
            await runner.map_batches(Service(), source(), size=4, max_wait=50)


async def test_outcomes_stream_as_the_batches_end(make_runner):
    async with (
        make_runner(limit=2) as runner,
        runner.stream_batches(Service(), itertools.count(), size=3) as outcomes,
    ):
        got = [(await anext(outcomes)).value for _ in range(10)]
    assert got == [2 * number for number in range(10)]


async def test_memory_is_bounded_in_items_whatever_the_size(make_runner):
    pulled = 0

    def source():
        nonlocal pulled
        while True:
            pulled += 1
            yield pulled

    async with (
        make_runner(limit=2) as runner,
        runner.stream_batches(Service(), source(), size=10) as outcomes,
    ):
        for taken in range(1, 50):
            await anext(outcomes)
            await asyncio.sleep(9)
            assert pulled <= taken + 2 * 2 * 10 + 10


async def test_an_async_source_is_closed_after_an_early_break(make_runner):
    closed = []

    async def source():
        try:
            for number in itertools.count():
                yield number
                await asyncio.sleep(1)
        finally:
            closed.append(True)

    async with make_runner() as runner:
        stream = runner.stream_batches(Service(), source(), size=2, max_wait=5)
        async with stream as outcomes:
            await anext(outcomes)
        assert closed


class Fatal(BaseException):
    """As a program's own exit may be."""


@pytest.mark.parametrize("fatal", [SystemExit(7), KeyboardInterrupt(), Fatal()])
@pytest.mark.parametrize("errors", ["raise", "collect"])
async def test_a_programs_exit_is_never_an_outcome(make_runner, fatal, errors):
    async def exits(batch):
        await asyncio.sleep(1)
        if 4 in batch:
            raise fatal
        return batch

    with pytest.raises(type(fatal)) as raised:
        async with make_runner() as runner:
            await runner.map_batches(exits, range(20), size=4, errors=errors)
    assert raised.value is fatal
