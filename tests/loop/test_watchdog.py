"""The thread that looks at a blocked loop from outside. This needs real time."""

import asyncio

# Before any provider: the SDK's hook at a fork starts an executor, and waits for ever
# where that module's own hook, which frees its lock, was registered later.
import concurrent.futures.thread  # noqa: F401
import contextlib
import gc
import io
import pdb  # noqa: T100 -- what is tested
import signal
import subprocess
import sys
import textwrap
import threading
import time
import weakref

import pytest
from tests import speed
from tests.forking import forking, needs_fork
from tests.waiting import PATIENCE, becomes, until

import spanrun as sr
from spanrun.loop import watchdog
from spanrun.loop.lag import lag_of
from spanrun.testing import FakeClock, capture

EVENT = "spanrun.loop.blocked"
NAME = "spanrun-watchdog"


def watching():
    return [thread for thread in threading.enumerate() if thread.name == NAME]


HELD = 0.35
"""Seconds: what holds a loop here takes longer; what a busy machine does, less."""


def blocked(captured, least=HELD):
    """The events of all spans: the span's name, the duration and the stack.

    Of steps that took ``least`` seconds.
    """
    return [
        (
            span.name,
            event.attributes[f"{EVENT}.duration"],
            event.attributes.get(f"{EVENT}.stack", ""),
        )
        for span in captured.spans
        for event in span.events
        if event.name == EVENT and event.attributes[f"{EVENT}.duration"] >= least
    ]


async def answered(lag):
    """Wait until the loop has been seen to answer, so that the watchdog knows it."""
    watch = watchdog._Here.watchdog.watches[lag]
    await becomes(lambda: watch._caller is not None)


def hold_the_loop(seconds):
    """For so long, without what is taken for a time in which nothing ran."""
    lag, since = lag_of(asyncio.get_running_loop()), time.perf_counter()
    while (now := time.perf_counter()) - since - lag.stopped(since, now) < seconds:
        time.sleep(seconds)


def run_on(kind, main):
    if kind == "uvloop":
        if speed.FACTOR != 1:
            pytest.skip("--speed: its clock is its own")
        uvloop = pytest.importorskip("uvloop")
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(main())
    return asyncio.run(main(), debug=kind == "debug")


LOOPS = pytest.mark.parametrize("kind", ["asyncio", "debug", "uvloop"])


@LOOPS
def test_the_stack_of_a_job_that_blocks_is_on_its_span(kind):
    async def job(number):
        if number == 1:
            hold_the_loop(0.4)

    async def main():
        async with sr.Runner("embed") as runner:
            await runner.map(job, range(3))

    with capture() as captured:
        run_on(kind, main)
    ((name, seconds, stack),) = blocked(captured)
    assert name == "job embed"
    assert seconds >= 0.4
    assert "time.sleep(seconds)" in stack
    assert stack.index("in job") < stack.index("in hold_the_loop")
    assert "drive.py" not in stack  # ours is no news
    assert captured.totals(EVENT, by="spanrun.runner.name") == {"embed": 1}


def test_the_log_names_the_innermost_place_that_is_in_no_library(caplog):
    async def job(_):
        threading.Event().wait(0.4)

    async def main():
        async with sr.Runner("embed") as runner:
            await runner.call(job, 0)

    with capture():
        asyncio.run(main())
    line = job.__code__.co_firstlineno + 1
    (said,) = caplog.messages
    assert said.startswith("job 0 of runner 'embed' blocked the event loop for 0.")
    assert said.endswith(f", in {job.__qualname__} ({__file__}:{line})")


def test_a_step_that_does_not_end_is_said_while_it_blocks(caplog, monkeypatch):
    monkeypatch.setattr(watchdog, "_LONG", 0.1)

    async def job(_):
        until(lambda: caplog.messages)

    async def main():
        async with sr.Runner("embed") as runner:
            await runner.call(job, 0)

    with capture():
        asyncio.run(main())
    assert "has blocked the event loop for" in caplog.messages[0]
    assert " s until now, in " in caplog.messages[0]


@LOOPS
def test_foreign_code_that_blocks_is_told_to_the_open_run(kind):
    async def main():
        async with sr.Runner("embed") as runner:
            await answered(lag_of(asyncio.get_running_loop()))
            asyncio.get_running_loop().call_later(0.05, hold_the_loop, 0.6)
            (outcome,) = await runner.map(asyncio.sleep, [0.1], errors="collect")
            return outcome.timings

    with capture() as captured:
        timings = run_on(kind, main)
    ((name, seconds, stack),) = blocked(captured)
    assert name == "run embed"
    assert seconds > 0.3  # it is known to half a threshold; the rest is a busy machine
    assert "time.sleep(seconds)" in stack
    assert 0.3 < timings.loop_lag <= timings.duration
    assert captured.totals(EVENT, by="spanrun.runner.name") == {None: 1}
    (lag,) = captured.points("spanrun.loop.lag")
    assert lag.value > 0.3


def test_a_source_that_blocks_is_its_runs_own():
    def numbers():
        yield from range(3)
        hold_the_loop(0.6)
        yield 3

    async def main():
        async with sr.Runner("embed", limit=2) as runner:
            await answered(lag_of(asyncio.get_running_loop()))
            await runner.map(lambda _: asyncio.sleep(0.05), numbers())

    with capture() as captured:
        asyncio.run(main())
    ((name, _, stack),) = blocked(captured)
    assert name == "run embed"
    assert "in numbers" in stack
    assert captured.totals(EVENT, by="spanrun.runner.name") == {"embed": 1}


@pytest.mark.foreign_clock  # how late the loop is at ten times the speed is its own
def test_many_short_steps_are_lag_but_block_nobody():
    async def step():
        until = time.perf_counter() + 0.02
        while time.perf_counter() < until:
            pass

    async def main():
        async with sr.Runner("embed", limit=30) as runner:
            await answered(lag_of(asyncio.get_running_loop()))
            await runner.map(lambda _: step(), range(30))

    with capture() as captured:
        asyncio.run(main())
    assert [name for name, seconds, _ in blocked(captured, 0) if seconds < 0.1] == []
    (lag,) = captured.points("spanrun.loop.lag")
    assert lag.value > 0.3


def test_a_secret_in_the_stack_is_redacted():
    async def job(_):
        hold_the_loop(0.4), "api_key='sk-1234567890abcdef'"

    async def main():
        async with sr.Runner("embed") as runner:
            await runner.call(job, 0)

    with capture() as captured:
        asyncio.run(main())
    ((_, _, stack),) = blocked(captured)
    assert "time.sleep(seconds)" in stack
    assert "sk-1234567890abcdef" not in stack


def test_a_blocked_step_is_counted_while_it_blocks():
    seen = []

    def counted(captured):
        return [point for point in captured.points(EVENT) if point.value]

    async def main(captured):
        async def job(_):
            until(lambda: counted(captured))
            seen.extend(counted(captured))

        async with sr.Runner("embed") as runner:
            await runner.call(job, 0)

    with capture() as captured:
        asyncio.run(main(captured))
    (point,) = seen
    assert point.value == 1
    assert captured.totals(EVENT, by="spanrun.runner.name") == {"embed": 1}


def test_the_thread_lives_from_the_first_runner_to_the_last():
    async def main():
        assert watching() == []
        async with sr.Runner("first"):
            assert len(watching()) == 1
            async with sr.Runner("second"):
                assert len(watching()) == 1
            assert len(watching()) == 1
        assert watching() == []

    with capture():
        asyncio.run(main())
        asyncio.run(main())


def test_without_telemetry_or_in_virtual_time_there_is_no_thread():
    async def main():
        async with sr.Runner("quiet"):
            return watching()

    assert asyncio.run(main()) == []
    with capture():
        assert FakeClock().run(main()) == []


def test_loops_in_several_threads_are_watched_by_one():
    ready, seen = threading.Barrier(3, timeout=PATIENCE), []

    async def main():
        async with sr.Runner("some"):
            await asyncio.to_thread(ready.wait)
            seen.append(len(watching()))
            await asyncio.to_thread(ready.wait)

    with capture():
        threads = [
            threading.Thread(target=asyncio.run, args=(main(),)) for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert seen == [1, 1, 1]
    assert watching() == []


def test_a_runner_that_nobody_closes_keeps_no_thread():
    async def main():
        await sr.Runner("lost").__aenter__()

    with capture():
        asyncio.run(main())
        until(lambda: not watching())
    assert watching() == []


def test_looking_keeps_nothing_alive():
    class Big:
        pass

    async def main():
        async def job(_):
            big = Big()
            refs.append(weakref.ref(big))
            hold_the_loop(0.3)

        async with sr.Runner("embed") as runner:
            await runner.call(job, 0)
            gc.collect()
            return refs[0]()

    refs = []
    with capture():
        assert asyncio.run(main()) is None


def test_a_loop_that_rests_is_not_late():
    async def first(runner):
        await runner.__aenter__()
        await answered(lag_of(asyncio.get_running_loop()))

    async def last(runner):
        await asyncio.sleep(0.2)
        await runner.__aexit__(None, None, None)

    loop, runner = asyncio.new_event_loop(), sr.Runner("embed")
    with capture() as captured, contextlib.closing(loop):
        loop.run_until_complete(first(runner))
        time.sleep(0.5)  # between two calls nobody waits for the loop
        loop.run_until_complete(last(runner))
    assert blocked(captured) == []
    assert captured.points(EVENT)[0].value == len(blocked(captured, 0))
    (lag,) = captured.points("spanrun.loop.lag")
    assert lag.value < 0.4


def test_a_debugger_blames_nobody():
    async def job(_):
        pdb.Pdb(stdin=Slow(), stdout=io.StringIO(), nosigint=True).set_trace()

    class Slow:
        def readline(self):
            time.sleep(0.5)
            return "continue\n"

        def __iter__(self):
            return self

        flush = close = readline

    async def main():
        async with sr.Runner("embed", limit=2) as runner:
            await runner.call(job, 0)

    with capture() as captured:
        asyncio.run(main())
    sys.settrace(None)
    # On a busy machine something else may take long.
    assert [seconds for _, seconds, _ in blocked(captured, 0.5)] == []


STOPPED = textwrap.dedent("""
    import asyncio, sys, time
    import spanrun as sr
    from spanrun.testing import capture

    async def job(number):
        if number == 0:
            print("ready", flush=True)
            until = time.perf_counter() + 0.05
            while time.perf_counter() < until:
                pass
        await asyncio.sleep(0.5)

    async def main():
        async with sr.Runner("embed", limit=3) as runner:
            await asyncio.sleep(0.2)
            return await runner.map(job, range(3), errors="collect")

    with capture() as captured:
        outcomes = asyncio.run(main())
    print(max(outcome.timings.loop_lag for outcome in outcomes))
    name = "spanrun.loop.blocked.duration"
    told = [event.attributes[name] for span in captured.spans for event in span.events]
    print(max(told, default=0))
    (lag,) = captured.points("spanrun.loop.lag")
    print(lag.value)
""")


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="no SIGSTOP here")
def test_a_stopped_process_blames_nobody():
    with subprocess.Popen(
        [sys.executable, "-c", STOPPED], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        child.send_signal(signal.SIGSTOP)
        time.sleep(1.5)
        child.send_signal(signal.SIGCONT)
        lag, blocked, late = (float(line) for line in child.stdout)
    assert child.returncode == 0
    assert lag < 1
    assert blocked < 1  # shorter ones are a busy machine's
    assert late < 1


FORKS = """
import asyncio, multiprocessing
import spanrun as sr
from tests.loop.test_watchdog import watching
from spanrun.testing import capture

def child(result):
    async def main():
        async with sr.Runner("child"):
            return len(watching())

    result.put(asyncio.run(main()))
    result.put(len(watching()))

async def main():
    async with sr.Runner("parent"):
        process.start()
        await asyncio.to_thread(process.join)

fork = multiprocessing.get_context("fork")
result = fork.SimpleQueue()
process = fork.Process(target=child, args=(result,), daemon=True)
with capture():
    asyncio.run(main())
assert process.exitcode == 0
assert (result.get(), result.get()) == (1, 0)
"""


@needs_fork
def test_a_forked_child_has_a_watchdog_of_its_own():
    with forking(FORKS):
        pass
