import asyncio
import itertools
from contextvars import ContextVar

import pytest
from opentelemetry import trace

pytestmark = pytest.mark.usefixtures("fake_clock", "no_leaks")

variable: ContextVar[str] = ContextVar("variable", default="unset")


async def see_and_set(item):
    before = variable.get()
    variable.set(f"job {item}")
    await asyncio.sleep(1)
    assert variable.get() == f"job {item}"
    return before


@pytest.fixture(autouse=True)
def _restored():
    token = variable.set("caller")
    yield
    variable.reset(token)


async def test_jobs_see_the_callers_variables_and_none_of_each_others(make_runner):
    async with make_runner(limit=3) as runner:
        seen = await runner.map(see_and_set, range(30))
        assert seen == ["caller"] * 30
        assert await runner.call(see_and_set, 0) == "caller"
    assert variable.get() == "caller"


async def test_each_half_of_a_batch_has_a_context_of_its_own(make_runner):
    async def job(batch):
        await see_and_set(batch[0])
        if len(batch) > 1:
            raise ValueError
        return [variable.get()]

    async with make_runner(limit=3) as runner:
        got = await runner.map_batches(job, range(4), size=4)
    assert got == [f"job {number}" for number in range(4)]


async def test_a_call_sees_the_variables_as_they_are_when_it_is_made(make_runner):
    async with make_runner() as runner:
        token = variable.set("later")
        assert await runner.call(see_and_set, 0) == "later"
        variable.reset(token)


async def test_a_source_runs_in_the_callers_context_and_keeps_its_own_changes(
    make_runner,
):
    seen = []

    def source():
        for number in range(9):
            seen.append(variable.get())
            variable.set(f"source {number}")
            yield number

    async with make_runner(limit=2) as runner:
        await runner.map(see_and_set, source())
    assert seen == ["caller", *(f"source {n}" for n in range(8))]
    assert variable.get() == "caller"


async def test_an_async_source_does_too(make_runner):
    seen = []

    async def source():
        for number in range(9):
            seen.append(variable.get())
            variable.set(f"source {number}")
            await asyncio.sleep(0.1)
            yield number

    async with make_runner(limit=2) as runner:
        await runner.map(see_and_set, source())
        assert seen == ["caller", *(f"source {n}" for n in range(8))]
        for max_wait in (None, 5):
            seen.clear()
            await runner.map_batches(
                lambda batch: asyncio.sleep(1, batch),
                source(),
                size=2,
                max_wait=max_wait,
            )
            assert seen == ["caller", *(f"source {n}" for n in range(8))]


async def test_the_current_span_in_a_source_is_the_callers(
    make_runner, spanrun_capture
):
    seen = set()

    def source():
        for number in range(5):
            seen.add(trace.get_current_span())
            yield number

    tracer = spanrun_capture.tracers.get_tracer("test")
    with tracer.start_as_current_span("caller") as caller:
        async with make_runner(limit=2) as runner:
            await runner.map(see_and_set, source())
        assert trace.get_current_span() is caller
    assert seen == {caller}


async def test_no_span_is_current_in_the_consumer_of_a_stream(
    make_runner, spanrun_capture
):
    before = trace.get_current_span()
    async with (
        make_runner(limit=2) as runner,
        runner.stream(see_and_set, itertools.count()) as outcomes,
    ):
        assert trace.get_current_span() is before
        async for outcome in outcomes:
            assert trace.get_current_span() is before
            if outcome.index == 5:
                break
    assert trace.get_current_span() is before


async def test_the_loops_own_way_to_make_tasks_is_kept(make_runner):
    made = []

    def factory(loop, coroutine, **options):
        made.append(coroutine)
        return asyncio.Task(coroutine, loop=loop, **options)

    loop = asyncio.get_running_loop()
    loop.set_task_factory(factory)
    try:
        async with make_runner(limit=2) as runner:
            before = variable.get()
            assert await runner.map(see_and_set, range(5)) == [before] * 5
    finally:
        loop.set_task_factory(None)
    assert len(made) == 5
