import asyncio
import contextvars
import dataclasses
import subprocess
import sys
import threading

import pytest
from tests.waiting import PATIENCE

import spanrun as sr
from spanrun import async_utils
from spanrun.testing import capture

pytestmark = pytest.mark.usefixtures("no_leaks")

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")


async def value(given="value"):
    await asyncio.sleep(0)
    return given


async def fail(error):
    raise error


def plainly(make):
    """`run` where no loop runs."""
    return sr.run(make())


def inside(make):
    """`run` where a loop runs already."""

    async def outer():
        return sr.run(make())

    return asyncio.run(outer())


everywhere = pytest.mark.parametrize("run", [plainly, inside])


@everywhere
def test_the_value_comes_out(run):
    assert run(value) == "value"


@everywhere
@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("This event loop is already running"),
        ValueError("mine"),
        SystemExit(3),
        asyncio.CancelledError("mine"),
    ],
)
def test_what_main_raises_comes_out_as_it_was(run, error):
    runs = []

    async def main():
        runs.append(1)
        await fail(error)

    with pytest.raises(type(error)) as raised:
        run(main)

    assert raised.value is error
    assert not hasattr(error, "__notes__")
    assert runs == [1]


def test_context_variables_go_in_and_come_out():
    async def main():
        seen = variable.get()
        variable.set("from main")
        return seen

    def body():
        variable.set("from outside")
        assert sr.run(main()) == "from outside"
        return variable.get()

    assert contextvars.copy_context().run(body) == "from main"


async def test_context_variables_go_through_the_thread_in_a_loop():
    async def main():
        seen = variable.get()
        variable.set("from main")
        return seen

    token = variable.set("from outside")

    assert sr.run(main()) == "from outside"
    assert variable.get() == "from main"
    variable.reset(token)


def test_context_variables_come_out_of_a_main_that_fails():
    async def main():
        variable.set("from main")
        raise KeyError

    def body():
        with pytest.raises(KeyError):
            sr.run(main())
        return variable.get()

    assert contextvars.copy_context().run(body) == "from main"


async def test_inside_a_loop_main_has_a_loop_and_a_thread_of_its_own():
    async def where():
        return asyncio.get_running_loop(), threading.get_ident()

    loop, thread = sr.run(where())

    assert loop is not asyncio.get_running_loop()
    assert thread != threading.get_ident()


def test_runs_nest_as_deep_as_they_are_called():
    async def nest(depth):
        return sr.run(nest(depth - 1)) if depth else threading.active_count()

    assert sr.run(nest(3)) >= 4


def test_the_idle_loop_of_the_thread_stays_in_its_place():
    idle = asyncio.new_event_loop()
    asyncio.set_event_loop(idle)
    try:
        assert sr.run(value()) == "value"
        assert asyncio.get_event_loop() is idle
    finally:
        asyncio.set_event_loop(None)
        idle.close()


def test_subprocesses_work_in_main():
    async def main():
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", "exit(7)")
        return await process.wait()

    assert sr.run(main()) == 7
    for thread in threading.enumerate():
        if thread.name.startswith("asyncio-waitpid"):  # asyncio's own: lives a bit on
            thread.join(PATIENCE)


@everywhere
def test_what_main_left_running_is_cancelled_and_awaited(run):
    ended = []

    async def background():
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            ended.append(True)

    async def main():
        main.task = asyncio.create_task(background())
        await asyncio.sleep(0)

    run(main)

    assert ended == [True]


@pytest.mark.parametrize("debug", [True, False])
def test_debug_is_asyncio_s_own(debug):
    async def main():
        return asyncio.get_running_loop().get_debug()

    assert sr.run(main(), debug=debug) is debug


@pytest.mark.parametrize("wrong", [value, 3, None])
def test_what_is_no_coroutine_is_refused(wrong):
    with pytest.raises(sr.ConfigurationError, match=r"run\(.*\): must be a coroutine"):
        sr.run(wrong)


async def test_a_task_is_refused_as_it_belongs_to_a_loop():
    task = asyncio.create_task(value())

    with pytest.raises(sr.ConfigurationError, match="belongs to a loop already"):
        sr.run(task)

    assert await task == "value"


async def test_a_future_is_refused_as_it_belongs_to_a_loop():
    with pytest.raises(sr.ConfigurationError, match=r"run\(Future\): it belongs"):
        sr.run(asyncio.get_running_loop().create_future())


def test_a_coroutine_never_runs_twice():
    main = value()
    sr.run(main)

    with pytest.raises(sr.ConfigurationError, match="none runs twice"):
        sr.run(main)


def test_a_coroutine_that_was_refused_is_closed():
    main = value()

    with pytest.raises(sr.ConfigurationError):
        sr.run(main, grace=float("nan"))

    with pytest.raises(RuntimeError, match="already awaited"):
        main.send(None)


async def test_what_belongs_to_the_outer_loop_is_explained():
    future = asyncio.get_running_loop().create_future()

    async def main():
        await future

    with pytest.raises(RuntimeError, match="different loop") as raised:
        sr.run(main())

    assert "await the coroutine there" in raised.value.__notes__[0]


def test_a_coroutine_that_never_got_a_loop_is_closed(monkeypatch):
    def no_thread(self):
        raise RuntimeError("can't start new thread")

    async def outer():
        monkeypatch.setattr(threading.Thread, "start", no_thread)
        main = value()
        with pytest.raises(RuntimeError, match="new thread"):
            sr.run(main)
        monkeypatch.undo()
        with pytest.raises(RuntimeError, match="already awaited"):
            main.send(None)

    asyncio.run(outer())


def test_importing_spanrun_starts_nothing():
    source = """
import signal, threading
before = [signal.getsignal(each) for each in signal.valid_signals()]
import spanrun, spanrun.async_utils
assert threading.active_count() == 1, threading.enumerate()
assert before == [signal.getsignal(each) for each in signal.valid_signals()]
"""
    subprocess.run([sys.executable, "-c", source], check=True, timeout=PATIENCE)


@dataclasses.dataclass(frozen=True)
class RefusedError(Exception):
    """Nothing of it can be set, not even by those who mean well."""

    code: int


def test_a_frozen_exception_comes_out_of_everything_as_it_was():
    async def fail():
        raise RefusedError(7)

    async def mapped():
        async with sr.Runner("r") as runner:
            await runner.map(lambda _: fail(), [1])

    async def nested():
        return async_utils.asyncio_run(fail())

    ways = [
        lambda: sr.run(fail()),
        lambda: sr.run(mapped()),
        lambda: sr.run(nested()),
        lambda: async_utils.asyncio_run(fail()),
        lambda: async_utils.run_async_tasks([fail()]),
        lambda: asyncio.run(async_utils.run_jobs([fail()])),
        lambda: asyncio.run(async_utils.batch_gather([fail()])),
    ]
    for way in ways:
        with pytest.raises(RefusedError):
            way()


def test_a_frozen_exception_goes_through_units():
    @sr.instrumented
    def work():
        with sr.unit("inner"):
            raise RefusedError(7)

    with pytest.raises(RefusedError), capture():
        work()
