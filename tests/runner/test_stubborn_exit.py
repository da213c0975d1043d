"""A program ends by itself, though something of it swallows its cancellation."""

import signal
import subprocess
import sys
import textwrap

import pytest
from tests.runner.program import program

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="no POSIX signals on Windows"
)

STUBBORN = """
async def stubborn(_=None):
    while True:
        say("started")
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            say("swallowed")
"""
MAPS = (
    STUBBORN
    + """
async def main():
    try:
        async with runner() as jobs:
            await jobs.map(stubborn, range(2))
    finally:
        await asyncio.sleep(0)
        say("cleaned")
"""
)


def test_a_second_ctrl_c_abandons_the_jobs_that_stay():
    with program(MAPS + "\nsr.run(main(), grace=3600)") as process:
        process.send(signal.SIGINT)
        process.wait_for("swallowed")
        process.send(signal.SIGINT)
        status, lines = process.end()
    assert status == -signal.SIGINT
    assert "cleaned" in lines
    assert any("it is abandoned" in line for line in lines)
    assert lines[-1] == "KeyboardInterrupt"


def test_a_job_that_swallows_the_second_ctrl_c_is_abandoned_too():
    source = """
    async def greedy(_):
        say("started")
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            try:
                say("swallowed")
                while True:
                    time.sleep(0.01)
            except KeyboardInterrupt:
                say("eaten")
        await stubborn()
    async def main():
        async with runner() as jobs:
            await jobs.map(greedy, range(1))
    sr.run(main(), grace=3600)
    """
    with program(STUBBORN + textwrap.dedent(source)) as process:
        process.send(signal.SIGINT)
        process.wait_for("swallowed")
        process.send(signal.SIGINT)
        status, lines = process.end()
    assert status == -signal.SIGINT
    assert "eaten" in lines
    assert lines[-1] == "KeyboardInterrupt"


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 143)]
)
def test_the_end_of_grace_abandons_the_jobs_that_stay(number, status):
    with program(MAPS + "\nsr.run(main(), grace=0.3)") as process:
        process.send(number)
        ended, lines = process.end()
    assert ended == status
    assert "cleaned" in lines
    assert any("job 0 of runner 'jobs' was cancelled by a signal" in it for it in lines)


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 143)]
)
def test_the_end_of_grace_abandons_a_main_that_stays(number, status):
    with program(STUBBORN + "\nsr.run(stubborn(), grace=0.3)") as process:
        process.send(number)
        ended, lines = process.end()
    assert ended == status
    assert any("it is abandoned, as the program is to end" in it for it in lines)


def test_tasks_that_are_left_are_named_and_abandoned():
    source = """
    async def main():
        global kept
        kept = asyncio.create_task(stubborn(), name="kept")
        await asyncio.sleep(0)
        return 7
    say("gave", sr.run(main(), grace=0.3))
    """
    with program(STUBBORN + textwrap.dedent(source)) as process:
        status, lines = process.end()
    assert status == 0
    assert lines[-1] == "gave 7"
    named = "task 'kept' was cancelled and has not ended: it is abandoned, as the "
    assert any(line.startswith(named) for line in lines)
    assert not any("never retrieved" in line or "pending" in line for line in lines)


def test_an_asynchronous_generator_that_does_not_close_is_abandoned():
    source = """
    async def numbers():
        try:
            yield 1
        finally:
            await stubborn()
    async def main():
        global kept
        kept = numbers()
        say("started")
        return await anext(kept)
    say("gave", sr.run(main(), grace=0.3))
    """
    with program(STUBBORN + textwrap.dedent(source)) as process:
        status, lines = process.end()
    assert status == 0
    assert lines[-1] == "gave 1"


def test_the_errors_of_tasks_that_are_left_are_told_as_by_asyncio():
    source = """
    async def fails():
        try:
            await asyncio.sleep(3600)
        finally:
            raise LookupError("left")
    async def main():
        global kept
        kept = asyncio.create_task(fails())
        await asyncio.sleep(0)
        say("started")
    sr.run(main())
    """
    with program(textwrap.dedent(source)) as process:
        status, lines = process.end()
    assert status == 0
    assert "unhandled exception during run() shutdown" in lines
    assert "LookupError: left" in lines


def test_in_a_foreign_loop_a_second_ctrl_c_abandons_what_stays():
    source = """
    async def foreign():
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            sr.run(stubborn(), grace=3600)
        except KeyboardInterrupt:
            say("KeyboardInterrupt")
    asyncio.new_event_loop().run_until_complete(foreign())
    """
    with program(STUBBORN + textwrap.dedent(source)) as process:
        process.send(signal.SIGINT)
        process.wait_for("swallowed")
        process.send(signal.SIGINT)
        status, lines = process.end()
    assert status == 0
    assert lines[-1] == "KeyboardInterrupt"


CTRL_C = """
import asyncio, os, signal
{setup}
async def work(item):
    if item == 4:
        os.kill(os.getpid(), signal.SIGINT)
    await asyncio.sleep(3600)

async def main():
    {main}

{run}(main())
"""
GATHER = CTRL_C.format(
    setup="",
    main="await asyncio.gather(*(work(item) for item in range(5)))",
    run="asyncio.run",
)
OURS = CTRL_C.format(
    setup="import spanrun as sr",
    main="""
    async with sr.Runner("jobs") as runner:
        await runner.map(work, range(5))
""",
    run="sr.run",
)


def test_ctrl_c_prints_no_more_than_gather_does(tmp_path):
    shown = {}
    for name, text in (("gather", GATHER), ("ours", OURS)):
        path = tmp_path / f"{name}.py"
        path.write_text(text)
        done = subprocess.run(
            [sys.executable, path], capture_output=True, text=True, check=False
        )
        assert done.returncode == -signal.SIGINT
        shown[name] = done.stderr.splitlines()
    assert len(shown["ours"]) <= len(shown["gather"])
    assert "    await runner.map(work, range(5))" in shown["ours"]
    assert shown["ours"][-1] == "KeyboardInterrupt"
