"""What `bench.runner` compares: each contestant runs jobs that await once.

Run as a module, it measures one contestant in this process, and prints one
line of JSON: that is how the bench gives each run a fresh process.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import gc
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spanrun.telemetry.account import Account

WIDTH = 100
WARM = 200

Contestant = Callable[[int], Awaitable[int]]


async def job(number: int) -> int:
    await asyncio.sleep(0)
    return number


async def gather(jobs: int) -> int:
    """All coroutines at once, each behind one semaphore."""
    semaphore = asyncio.Semaphore(WIDTH)

    async def one(number: int) -> int:
        async with semaphore:
            return await job(number)

    return len(await asyncio.gather(*(one(number) for number in range(jobs))))


async def run_jobs_shape(jobs: int) -> int:
    """As LlamaIndex's run_jobs does it, without the spans of its dispatcher.

    It is given coroutines, and puts each into a second one that takes a place
    in the semaphore and awaits the first.
    """
    given: list[Coroutine[Any, Any, int]] = [job(number) for number in range(jobs)]
    places = asyncio.Semaphore(WIDTH)

    async def hold_a_place(inner: Coroutine[Any, Any, int]) -> int:
        async with places:
            return await inner

    held = [hold_a_place(inner) for inner in given]
    return len(await asyncio.gather(*held))


async def aiometer(jobs: int) -> int:
    import aiometer as lib  # noqa: PLC0415 -- only this contestant pays for it

    calls = [functools.partial(job, number) for number in range(jobs)]
    return len(await lib.run_all(calls, max_at_once=WIDTH))


async def window(jobs: int) -> int:
    """A task for each admitted job and nothing else: no errors, no cancellation."""
    loop = asyncio.get_running_loop()
    results: list[int | None] = [None] * jobs
    numbers = iter(range(jobs))
    over = loop.create_future()
    running = 0

    async def one(number: int) -> None:
        nonlocal running
        results[number] = await job(number)
        running -= 1
        admit()

    def admit() -> None:
        nonlocal running
        for number in numbers:
            running += 1
            loop.create_task(one(number))  # noqa: RUF006 -- the loop's queue holds it
            return
        if not running:
            over.set_result(None)

    for _ in range(WIDTH):
        admit()
    await over
    return len(results)


async def pool(jobs: int) -> int:
    """A fixed number of tasks that share the jobs, and one another's variables."""
    results: list[int | None] = [None] * jobs
    numbers = iter(range(jobs))

    async def work() -> None:
        for number in numbers:
            results[number] = await job(number)

    await asyncio.gather(*(work() for _ in range(WIDTH)))
    return len(results)


async def spanrun(jobs: int) -> int:
    import spanrun as sr  # noqa: PLC0415 -- only this contestant pays for it

    async with sr.Runner("bench", limit=WIDTH) as runner:
        return len(await runner.map(job, range(jobs)))


async def spanrun_checkpoint(jobs: int) -> int:
    import spanrun as sr  # noqa: PLC0415 -- only this contestant pays for it

    with tempfile.TemporaryDirectory() as folder:
        kept = sr.Checkpoint(f"{folder}/bench.checkpoint")
        async with sr.Runner("bench", limit=WIDTH) as runner:
            return len(await runner.map(job, range(jobs), checkpoint=kept))


async def spanrun_stream(jobs: int) -> int:
    import spanrun as sr  # noqa: PLC0415 -- only this contestant pays for it

    seen = 0
    async with (
        sr.Runner("bench", limit=WIDTH) as runner,
        runner.stream(job, (number for number in range(jobs))) as outcomes,
    ):
        async for _ in outcomes:
            seen += 1
    return seen


CALL = {
    "http.request.method": "POST",
    "server.address": "embeddings.example",
    "server.port": 443,
    "url.full": "https://embeddings.example/v1/embeddings",
}


def traced_job() -> Callable[[int], Awaitable[int]]:
    """The job with a client call in it."""
    from spanrun import semconv  # noqa: PLC0415 -- only these contestants pay for it
    from spanrun.telemetry import setup  # noqa: PLC0415
    from spanrun.telemetry.units.call import CallKind  # noqa: PLC0415

    recorder = setup.recorder_or_off()
    kind = CallKind("POST", semconv.METRIC_HTTP_CLIENT_REQUEST_DURATION, CALL)

    async def called(number: int) -> int:
        with recorder.open_call(kind) as call:
            await asyncio.sleep(0)
            call.set(semconv.HTTP_RESPONSE_STATUS_CODE, 200)
        return number

    return called


async def spanrun_traced(jobs: int) -> int:
    """Each job with an attempt and a client call in it: three spans, all metrics."""
    import spanrun as sr  # noqa: PLC0415 -- only this contestant pays for it

    retry = sr.Retry(on=ConnectionError)
    async with sr.Runner("bench", limit=WIDTH, retry=retry) as runner:
        return len(await runner.map(traced_job(), range(jobs)))


async def stream_traced(jobs: int) -> int:
    """The same as a stream, beside a task that notes how late the loop is."""
    import spanrun as sr  # noqa: PLC0415 -- only this contestant pays for it

    seen, work = 0, traced_job()
    watcher = asyncio.create_task(note_lag())
    retry = sr.Retry(on=ConnectionError)
    async with (
        sr.Runner("bench", limit=WIDTH, retry=retry) as runner,
        runner.stream(work, (number for number in range(jobs))) as outcomes,
    ):
        async for _ in outcomes:
            seen += 1
    watcher.cancel()
    return seen


PATIENCE = {"stream-traced": 5}
"""Seconds for what is left; else all of it shall arrive."""

LAGS: list[float] = []
NAP = 0.005


async def note_lag() -> None:
    """Sleep for 5 ms again and again, and note how much longer that takes."""
    LAGS.clear()
    while True:
        before = time.perf_counter()
        await asyncio.sleep(NAP)
        LAGS.append(time.perf_counter() - before - NAP)


async def stock_traced(jobs: int) -> int:
    """The same spans and metrics by OpenTelemetry's SDK, around gather."""
    from bench.stock import Stock  # noqa: PLC0415 -- only this contestant pays for it

    stock = Stock()
    places = asyncio.Semaphore(WIDTH)

    async def one(number: int) -> int:
        submitted = time.perf_counter()
        async with places:
            with (
                stock.job(number, submitted),
                stock.attempt(),
                stock.call(CALL) as call,
            ):
                await asyncio.sleep(0)
                call.set_attribute("http.response.status_code", 200)
            return number

    return len(await asyncio.gather(*(one(number) for number in range(jobs))))


CONTESTANTS: dict[str, Contestant] = {
    "gather": gather,
    "aiometer": aiometer,
    "run_jobs": run_jobs_shape,
    "window": window,
    "pool": pool,
    "spanrun": spanrun,
    "spanrun-checkpoint": spanrun_checkpoint,
    "spanrun-otlp": spanrun,
    "spanrun-traced": spanrun_traced,
    "spanrun-python-traced": spanrun_traced,
    "stock-traced": stock_traced,
    "stream": spanrun_stream,
    "stream-untold": stream_traced,
    "stream-traced": stream_traced,
}


def memory() -> tuple[float, float]:
    """Now and at most so far, in MiB."""
    status = Path("/proc/self/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        now, most = (int(lines[key].split()[0]) for key in ("VmRSS", "VmHWM"))
        return now / 1024, most / 1024
    # The most so far instead of now: the warm-up has been the most by then.
    unit = 1024**2 if sys.platform == "darwin" else 1024
    most_so_far = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    return most_so_far, most_so_far


def fate(account: Account) -> dict[str, float]:
    """What became of the spans."""
    dropped = [n for (signal, _), n in account.dropped.items() if signal == "traces"]
    return {
        "delivered": account.delivered["traces"],
        "spooled": account.spooled["traces"],
        "dropped": sum(dropped),
    }


def measure(name: str, jobs: int, endpoint: str) -> dict[str, float]:
    """CPU seconds of the whole process, exporters included, and MiB gained."""
    end: Callable[[], object] = int
    settle: Callable[[], object] = int
    account: Account | None = None
    if endpoint and name.startswith("stock"):
        from bench import stock  # noqa: PLC0415 -- only this contestant pays for it

        stock.set_up(endpoint)
        settle, end = stock.flush, stock.shut_down
    elif endpoint:
        import spanrun as sr  # noqa: PLC0415 -- the same

        sr.configure(service_name="bench", endpoint=endpoint)
        from spanrun.telemetry import setup  # noqa: PLC0415 -- the same

        telemetry = setup.telemetry()
        assert telemetry is not None
        account = telemetry.account
        settle = functools.partial(telemetry.flush, 10)
        end = functools.partial(sr.shutdown, timeout=PATIENCE.get(name, 120))
    run = CONTESTANTS[name]
    asyncio.run(run(WARM))
    settle()  # what is imported and connected with the first delivery
    gc.collect()
    before, _ = memory()
    wall, cpu = time.perf_counter(), time.process_time()
    done = asyncio.run(run(jobs))
    loop_seconds = time.perf_counter() - wall
    end()
    cpu = time.process_time() - cpu
    if done != jobs:
        sys.exit(f"{name}: {done} of {jobs} jobs were done")
    return {
        "cpu": cpu,
        "wall": loop_seconds,
        "memory": memory()[1] - before,
        **(fate(account) if account else {}),
        "lag": sorted(LAGS)[len(LAGS) * 99 // 100] if LAGS else 0.0,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=CONTESTANTS)
    parser.add_argument("jobs", type=int)
    parser.add_argument("--endpoint", default="")
    asked = parser.parse_args()
    for variable in [each for each in os.environ if each.startswith("OTEL_")]:
        del os.environ[variable]
    print(json.dumps(measure(asked.name, asked.jobs, asked.endpoint)))


if __name__ == "__main__":
    main()
