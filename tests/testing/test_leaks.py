import asyncio
import contextvars
import socket
import threading

import pytest
from opentelemetry import context as otel_context

import spanrun as sr
from spanrun.testing import FakeClock, Leaked, capture, no_leaks


async def test_nothing_left_is_no_error(fake_clock):
    async with no_leaks():
        async with sr.Runner("test", clock=fake_clock) as runner:
            await runner.map(asyncio.sleep, [1, 2, 3])
        with socket.socket():
            pass
        await asyncio.to_thread(int)


async def test_a_task_is_named_with_where_it_is_and_was_made():
    async def waiter():
        await asyncio.sleep(50)

    async def leak():
        async with no_leaks():
            left.append(asyncio.create_task(waiter(), name="mine"))
            await asyncio.sleep(0)

    left = []
    with pytest.raises(Leaked) as caught:
        await leak()
    assert "task 'mine' in " in str(caught.value)
    assert f"waiter ({__file__}:" in str(caught.value)
    assert f", made at {__file__}:" in str(caught.value)
    left[0].cancel()


async def test_a_thread_is_named_with_where_it_is():
    free = threading.Event()
    thread = threading.Thread(target=free.wait, name="mine")
    with pytest.raises(Leaked, match=r"thread 'mine' at .*threading\.py:"), no_leaks():
        thread.start()
    free.set()
    thread.join()


def test_a_socket_is_named_with_its_address():
    left = []
    with pytest.raises(Leaked, match=r"socket \('127\.0\.0\.1', "), no_leaks():
        left.append(socket.create_server(("127.0.0.1", 0)))
    left[0].close()


async def test_slots_and_jobs_of_a_runner_are_counted(fake_clock):
    async def leak():
        async with no_leaks():
            work = [runner.call(asyncio.sleep, 5) for _ in range(3)]
            calls.extend(map(asyncio.create_task, work))
            await asyncio.sleep(1)

    calls = []
    async with sr.Runner("mine", limit=2, clock=fake_clock) as runner:
        with pytest.raises(Leaked) as caught:
            await leak()
        assert "2 slots of runner 'mine'" in str(caught.value)
        assert "3 jobs of runner 'mine'" in str(caught.value)
        await asyncio.gather(*calls)


async def test_jobs_that_ran_before_are_no_leak(fake_clock):
    async with sr.Runner("mine", limit=2, clock=fake_clock) as runner:
        call = asyncio.create_task(runner.call(asyncio.sleep, 5))
        await asyncio.sleep(1)
        async with no_leaks():
            await runner.call(asyncio.sleep, 1)
        await call


@pytest.mark.parametrize("inside", [True, False])
async def test_a_span_that_has_not_ended_is_named(inside):
    unit = sr.unit("mine")
    around = [no_leaks(), capture()] if inside else [capture(), no_leaks()]
    ended = pytest.raises(Leaked, match="span 'mine', which has not ended")
    with ended, around[0], around[1]:
        unit.__enter__()
    unit.__exit__(None, None, None)


async def test_a_changed_context_variable_is_named():
    variable = contextvars.ContextVar("mine", default=1)
    with pytest.raises(Leaked, match="context variable 'mine': 2, was 1"), no_leaks():
        variable.set(2)
    with no_leaks():
        token = variable.set(3)
        variable.reset(token)


async def test_a_current_span_left_behind_is_named():
    before = otel_context.get_current()
    with pytest.raises(Leaked, match="context variable 'current_context'"), no_leaks():
        otel_context.attach(otel_context.set_value("key", "value"))
    otel_context.attach(before)


async def test_an_error_that_only_the_loop_heard_is_told():
    def wrong():
        raise LookupError("unseen")

    async def leak():
        async with no_leaks():
            asyncio.get_running_loop().call_soon(wrong)
            await asyncio.sleep(0)

    with pytest.raises(Leaked, match=r"Exception in callback.*LookupError\('unseen'\)"):
        await leak()


async def test_an_error_on_its_way_goes_on_with_a_note():
    async def leak():
        async with no_leaks():
            left.append(asyncio.create_task(asyncio.sleep(50)))
            raise LookupError("mine")

    left = []
    with pytest.raises(LookupError, match="mine") as caught:
        await leak()
    (note,) = caught.value.__notes__
    assert note.startswith("left behind:\n  task ")
    left[0].cancel()


async def test_the_loop_is_as_it_was_afterwards():
    loop = asyncio.get_running_loop()
    before = loop.get_task_factory(), loop.get_exception_handler()
    async with no_leaks():
        assert loop.get_task_factory() is not None
    assert (loop.get_task_factory(), loop.get_exception_handler()) == before


async def test_a_task_factory_of_ones_own_is_used():
    loop = asyncio.get_running_loop()
    made = []

    def factory(loop, coroutine, **options):
        made.append(coroutine)
        return asyncio.Task(coroutine, loop=loop, **options)

    loop.set_task_factory(factory)
    async with no_leaks():
        await asyncio.create_task(asyncio.sleep(0))
    assert len(made) == 1
    assert loop.get_task_factory() is factory
    loop.set_task_factory(None)


def test_it_goes_around_plain_code_too():
    with no_leaks():
        FakeClock().run(asyncio.sleep(1))
    with no_leaks():
        sr.run(asyncio.sleep(0))
