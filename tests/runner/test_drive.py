import asyncio
import contextvars
import types

import pytest

from spanrun.loop.lag import LoopLag
from spanrun.outcome import Timings
from spanrun.runner.drive import drive

pytestmark = pytest.mark.usefixtures("fake_clock", "no_leaks")


class Driven:
    """Drives coroutines on one clock, and shows what was booked."""

    def __init__(self, clock):
        self.clock = clock
        self.timings = Timings()
        self.unit = self.metrics = None

    def happened(self, kind, **value):
        """Nobody hears of it."""

    async def __call__(self, coroutine):
        return await drive(coroutine, self, LoopLag(), self.clock.now)

    @property
    def busy(self):
        return self.timings.busy


@pytest.fixture
def driven(fake_clock):
    return Driven(fake_clock)


async def test_value_comes_through(driven):
    assert await driven(asyncio.sleep(1, "value")) == "value"


async def test_error_comes_through_as_it_was(driven):
    error = LookupError("mine")

    async def job():
        await asyncio.sleep(1)
        raise error

    with pytest.raises(LookupError) as caught:
        await driven(job())
    assert caught.value is error


async def test_only_steps_on_the_loop_are_busy(driven, fake_clock):
    async def job():
        fake_clock.advance(2)
        await asyncio.sleep(100)
        fake_clock.advance(3)
        await asyncio.sleep(100)
        fake_clock.advance(4)

    await driven(job())
    assert driven.busy == 9


@pytest.mark.parametrize("steps", [0, 1, 3])
async def test_busy_is_booked_when_the_coroutine_raises(driven, fake_clock, steps):
    async def job():
        for _ in range(steps):
            fake_clock.advance(1)
            await asyncio.sleep(7)
        fake_clock.advance(1)
        raise LookupError

    with pytest.raises(LookupError):
        await driven(job())
    assert driven.busy == steps + 1


async def test_busy_is_booked_when_cancelled_with_work_in_finally(driven, fake_clock):
    async def job():
        fake_clock.advance(1)
        try:
            await asyncio.sleep(50)
        finally:
            fake_clock.advance(2)
            await asyncio.sleep(10)
            fake_clock.advance(4)

    task = asyncio.create_task(driven(job()))
    await asyncio.sleep(3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert driven.busy == 7


def test_busy_is_booked_when_closed(driven, fake_clock):
    async def job():
        fake_clock.advance(1)
        try:
            await asyncio.sleep(0)
        finally:
            fake_clock.advance(2)

    coroutine = driven(job())
    coroutine.send(None)
    coroutine.close()
    assert driven.busy == 3


async def test_swallowed_cancellation_gives_the_value(driven):
    async def job():
        try:
            await asyncio.sleep(50)
        except asyncio.CancelledError:
            await asyncio.sleep(5)
        return "survived"

    task = asyncio.create_task(driven(job()))
    await asyncio.sleep(1)
    task.cancel()
    assert await task == "survived"


async def test_second_cancellation_reaches_the_coroutine(driven):
    seen = []

    async def job():
        for _ in range(2):
            try:
                await asyncio.sleep(50)
            except asyncio.CancelledError as error:
                seen.append(error.args)
        return "survived twice"

    task = asyncio.create_task(driven(job()))
    await asyncio.sleep(1)
    task.cancel("first")
    await asyncio.sleep(1)
    task.cancel("second")
    assert await task == "survived twice"
    assert seen == [("first",), ("second",)]


async def test_cancellation_cancels_what_is_awaited(driven):
    inner = asyncio.get_running_loop().create_future()

    async def job():
        await inner

    task = asyncio.create_task(driven(job()))
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert inner.cancelled()


def test_throw_passes_through(driven):
    async def job():
        try:
            await asyncio.sleep(0)
        except KeyError:
            return "caught it"

    coroutine = driven(job())
    coroutine.send(None)
    with pytest.raises(StopIteration) as stop:
        coroutine.throw(KeyError())
    assert stop.value.value == "caught it"


def test_close_passes_through(driven):
    seen = []

    async def job():
        try:
            await asyncio.sleep(0)
        except GeneratorExit:
            seen.append("closed")
            raise

    coroutine = driven(job())
    coroutine.send(None)
    coroutine.close()
    assert seen == ["closed"]


def test_refusing_to_close_is_the_error_that_it_is_without(driven):
    async def job():
        while True:
            try:
                await asyncio.sleep(0)
            except GeneratorExit:
                await asyncio.sleep(0)

    coroutine = driven(job())
    coroutine.send(None)
    with pytest.raises(RuntimeError, match="ignored GeneratorExit"):
        coroutine.close()


def test_values_sent_in_arrive(driven):
    @types.coroutine
    def ask():
        return (yield "question")

    async def job():
        return await ask()

    coroutine = driven(job())
    assert coroutine.send(None) == "question"
    with pytest.raises(StopIteration) as stop:
        coroutine.send("answer")
    assert stop.value.value == "answer"


async def test_stop_iteration_inside_is_a_runtime_error_as_without(driven):
    async def job():
        raise StopIteration("not a value")

    with pytest.raises(RuntimeError, match="raised StopIteration"):
        await driven(job())


async def test_current_task_is_the_same_inside(driven):
    async def job():
        await asyncio.sleep(1)
        return asyncio.current_task()

    assert await driven(job()) is asyncio.current_task()


async def test_timeout_inside_works(driven, fake_clock):
    async def job():
        async with asyncio.timeout(5):
            await asyncio.sleep(50)

    with pytest.raises(TimeoutError):
        await driven(job())
    assert fake_clock.now() == 5


async def test_task_group_inside_works(driven):
    async def job():
        async with asyncio.TaskGroup() as group:
            children = [group.create_task(asyncio.sleep(n, n)) for n in range(3)]
        return [child.result() for child in children]

    assert await driven(job()) == [0, 1, 2]


async def test_failing_task_group_inside_cancels_its_other_child(driven):
    async def fail():
        await asyncio.sleep(1)
        raise LookupError

    async def job():
        async with asyncio.TaskGroup() as group:
            other = group.create_task(asyncio.sleep(50))
            group.create_task(fail())
        return other

    with pytest.raises(ExceptionGroup) as caught:
        await driven(job())
    assert caught.group_contains(LookupError)


async def test_context_is_the_callers(driven):
    variable = contextvars.ContextVar("variable", default=0)

    async def job():
        variable.set(1)
        await asyncio.sleep(1)
        return variable.get()

    async def outside():
        return await driven(job()), variable.get()

    assert await asyncio.create_task(outside()) == (1, 1)
