"""Ctrl-C: cancel at once, and raise when main has ended."""

import signal
import sys

import pytest
from tests.runner.program import LOOPS, program

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="no POSIX signals on Windows"
)


@pytest.mark.parametrize("loop", LOOPS)
def test_ctrl_c_cancels_the_jobs_and_is_raised_when_main_has_ended(loop):
    source = """
    async def main():
        try:
            async with runner() as jobs:
                await jobs.map(job, [for_ever] * 3)
        finally:
            await asyncio.sleep(0.05)
            say("cleaned")
    try:
        sr.run(main())
    except KeyboardInterrupt:
        say("KeyboardInterrupt")
    """
    with program(source, loop, started=2) as process:
        process.send(signal.SIGINT)
        status, lines = process.end()

    assert status == 0
    assert lines[-2:] == ["cleaned", "KeyboardInterrupt"]
    assert sum("signal" in line for line in lines) == 2


def test_ctrl_c_ends_a_drain_at_once():
    source = """
    async def main():
        echo(signal.SIGTERM)
        async with runner() as jobs:
            await jobs.map(job, [for_ever] * 3)
    sr.run(main(), grace=60)
    """
    with program(source, started=2) as process:
        process.send(signal.SIGTERM)
        process.wait_for("handled")
        process.send(signal.SIGINT)
        status, lines = process.end()

    assert status == 143
    assert sum("signal" in line for line in lines) == 2


def test_a_second_ctrl_c_is_raised_on_the_spot():
    source = """
    async def stuck(_):
        echo(signal.SIGINT)
        say("started")
        while True:
            time.sleep(0.01)
    async def main():
        async with runner() as jobs:
            await jobs.map(stuck, range(1))
    try:
        sr.run(main())
    except KeyboardInterrupt:
        say("KeyboardInterrupt")
    """
    with program(source) as process:
        process.send(signal.SIGINT)
        process.wait_for("handled")
        process.send(signal.SIGINT)
        status, lines = process.end()

    assert status == 0
    assert lines[-1] == "KeyboardInterrupt"


def test_ctrl_c_in_a_foreign_loop_waits_for_the_inner_cleanup():
    source = """
    async def inner():
        try:
            async with runner() as jobs:
                await jobs.map(job, [for_ever] * 3)
        finally:
            await asyncio.sleep(0.1)
            say("cleaned")
    def cell():
        try:
            sr.run(inner())
        except KeyboardInterrupt:
            say("KeyboardInterrupt")
    async def foreign():
        signal.signal(signal.SIGINT, signal.default_int_handler)
        cell()
    asyncio.new_event_loop().run_until_complete(foreign())
    """
    with program(source, started=2) as process:
        process.send(signal.SIGINT)
        status, lines = process.end()

    assert status == 0
    assert lines[-2:] == ["cleaned", "KeyboardInterrupt"]
    assert sum("signal" in line for line in lines) == 2


def test_a_first_sigterm_after_ctrl_c_leaves_the_cleanup_its_time():
    source = """
    async def main():
        try:
            async with runner() as jobs:
                await jobs.map(job, [for_ever] * 3)
        finally:
            say("cleaning")
            await asyncio.sleep(0.5)
            say("cleaned")
    try:
        sr.run(main())
    except KeyboardInterrupt:
        say("KeyboardInterrupt")
    """
    with program(source) as process:
        process.send(signal.SIGINT)
        process.wait_for("cleaning")
        process.send(signal.SIGTERM)
        status, lines = process.end()

    assert status == 0
    assert lines[-2:] == ["cleaned", "KeyboardInterrupt"]
