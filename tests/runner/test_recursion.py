"""Near the recursion limit anything may fail: an error comes out, and nothing hangs."""

import subprocess
import sys

import pytest

PROGRAM = """
import asyncio, faulthandler, logging, os, sys, warnings
import spanrun as sr

warnings.simplefilter("ignore")
logging.disable()
sys.unraisablehook = lambda _: None
faulthandler.dump_traceback_later(100, exit=True)
way, telemetry, retry = sys.argv[1:]
if telemetry == "on":
    sr.configure(store="none")

async def job(item):
    await asyncio.sleep(0)
    return item

async def source():
    for item in range(3):
        yield item

async def work(runner):
    if way == "call":
        return await runner.call(job, 1)
    items = source() if "async" in way else (item for item in range(3))
    if "stream" in way:
        async with runner.stream(job, items) as outcomes:
            return [outcome async for outcome in outcomes]
    return await runner.map(job, items)

async def deep(depth, runner):
    return await (deep(depth - 1, runner) if depth else work(runner))

async def main(depth):
    policy = sr.Retry(on=OSError) if retry == "on" else None
    async with sr.Runner("x", retry=policy) as runner:
        return await deep(depth, runner)

def down(depth):
    return down(depth - 1) if depth else asyncio.run(main(0))

sys.setrecursionlimit(300)
failed = 0
for enter in (lambda depth: asyncio.run(main(depth)), down):
    for depth in range(200, 300):
        try:
            enter(depth)
        except RecursionError:
            failed += 1
sys.setrecursionlimit(1000)
print("failed" if failed > 10 else "never", flush=True)
os._exit(0)
"""


@pytest.mark.slow
@pytest.mark.parametrize("way", ["map", "map async", "stream", "call"])
@pytest.mark.parametrize(("telemetry", "retry"), [("off", "off"), ("on", "on")])
def test_a_recursion_error_comes_out_at_every_depth(way, telemetry, retry):
    program = [sys.executable, "-c", PROGRAM, way, telemetry, retry]
    ended = subprocess.run(program, capture_output=True, text=True, check=False)
    assert ended.stdout == "failed\n", ended.stderr[-3000:]
