"""Print how many functions of ours a traced job calls, for `test_pure_python`."""

import asyncio
import os
import sys
from pathlib import Path
from types import FrameType

import spanrun as sr

JOBS = 500
OURS = str(Path(sr.__file__).parent)
calls = 0


def count(frame: FrameType, event: str, _: object) -> None:
    """Count a call, on the thread that runs the jobs."""
    global calls  # noqa: PLW0603 -- a program of its own
    calls += event == "call" and frame.f_code.co_filename.startswith(OURS)


async def job(number: int) -> int:
    with sr.unit("work"):
        await asyncio.sleep(0)
    return number


async def main() -> None:
    retry = sr.Retry(on=ConnectionError)
    async with sr.Runner("counted", limit=10, retry=retry) as runner:
        await runner.map(job, range(JOBS), trace="linked")
        sys.setprofile(count)
        await runner.map(job, range(JOBS), trace="linked")
        sys.setprofile(None)


sr.configure(endpoint="http://127.0.0.1:9")  # nobody needs to take it
asyncio.run(main())
sys.stdout.write(f"{calls / JOBS}\n")
sys.stdout.flush()
os._exit(0)
