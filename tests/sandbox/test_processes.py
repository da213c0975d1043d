"""No process of the sandbox's outlives its call: not ended, cancelled or killed."""

import asyncio
import contextlib
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.waiting import PATIENCE, becomes, until

from spanrun.sandbox import asafe_exec
from spanrun.testing import no_leaks

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

ENDLESS = "while True: pass"


def children(pid: int | str = "self") -> list[int]:
    """The living child processes of a process, started by any of its threads."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found += map(int, (task / "children").read_text().split())
    return [child for child in found if alive(child)]


def alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


async def test_none_is_left_after_a_call() -> None:
    before = children()
    await asafe_exec("x = 1")
    assert children() == before


@pytest.mark.parametrize("code", [ENDLESS, "import time\ntime.sleep(3600)"])
async def test_none_is_left_after_a_cancelled_call(code: str) -> None:
    await asafe_exec("0")  # what the package opens once for the whole process
    before = children()
    async with no_leaks():
        task = asyncio.create_task(asafe_exec(code, seconds=3600, sleep=3600))
        await becomes(lambda: len(children()) > len(before))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert children() == before


async def test_a_call_that_waits_for_a_thread_is_cancelled_at_once() -> None:
    before = children()  # a server of other tests, perhaps
    tasks = [asyncio.create_task(asafe_exec(ENDLESS, seconds=3600)) for _ in range(40)]
    await becomes(lambda: children() != before)
    tasks[-1].cancel()
    with pytest.raises(asyncio.CancelledError):
        await tasks[-1]
    for task in tasks:
        task.cancel()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(error) for error in ended} == {asyncio.CancelledError}
    await becomes(lambda: children() == before)  # killed, and on their way out


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_when_this_process_is_ended_the_other_ends_by_its_limit(
    number: signal.Signals,
) -> None:
    code = f"from spanrun.sandbox import safe_exec\nsafe_exec({ENDLESS!r}, seconds=2)"
    with subprocess.Popen(
        [sys.executable, "-c", code], stderr=subprocess.DEVNULL
    ) as process:
        try:
            until(lambda: children(process.pid))
            (child,) = children(process.pid)
            process.send_signal(number)
            process.wait(PATIENCE)
            until(lambda: not alive(child))
        finally:
            process.kill()


def test_a_program_that_used_it_exits_in_order() -> None:
    """The package's asynchronous interface aborted every second program."""
    code = "from spanrun.sandbox import safe_exec\nsafe_exec('print(1)')"
    for _ in range(5):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")
