"""What a traced job costs in each setting: `make bench-settings`.

Each job has an attempt and a `spanrun.unit` in it, and awaits once; what is kept of its
spans is delivered to a receiver in another process, which looks for spans that came
twice and for parents that didn't come. Every run has a process of its own, the order is
another one in each round, and a ratio is taken within its round. What counts is CPU
time, with the exporters' threads in it.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
if __package__ in {None, ""}:  # run as a script
    sys.path.insert(0, str(ROOT))

from bench import report, sink  # noqa: E402 -- after the path is set
from bench.contestants import WIDTH, gather, job, window  # noqa: E402 -- the same

import spanrun as sr  # noqa: E402 -- the same

WARM = 500
FAILING = 20  # one of so many
RATIO = {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.1"}


class BenchError(Exception):
    """What a failing job raises."""


async def unit_job(number: int) -> int:
    """The job with a unit of the user's in it."""
    with sr.unit("work"):
        await asyncio.sleep(0)
    return number


async def event_job(number: int) -> int:
    """The same with an event in the unit."""
    with sr.unit("work") as unit:
        await asyncio.sleep(0)
        unit.event("done", number=number)
    return number


async def failing_job(number: int) -> int:
    """The same, but one of twenty fails."""
    with sr.unit("work"):
        await asyncio.sleep(0)
        if number % FAILING == 0:
            raise BenchError("it failed")
    return number


async def mapped(
    jobs: int,
    work: Callable[[int], Awaitable[int]] = unit_job,
    *,
    key: Any = None,
    **policies: Any,
) -> int:
    """The jobs of one `map`."""
    retry = sr.Retry(on=ConnectionError)
    async with sr.Runner("bench", limit=WIDTH, retry=retry, **policies) as runner:
        errors: Any = "collect" if work is failing_job else "raise"
        done = await runner.map(work, range(jobs), key=key, errors=errors)
    return len(done)


async def policed(jobs: int) -> int:
    """With a timeout, a rate that never makes anybody wait, and a breaker."""
    return await mapped(
        jobs,
        timeout=sr.Timeout(attempt=60, total=600),
        rate=sr.RateLimit(10_000_000, burst=1_000_000),
        breaker=sr.Breaker(),
    )


async def off(jobs: int) -> int:
    """The bare job, with a runner and no telemetry."""
    async with sr.Runner("bench", limit=WIDTH) as runner:
        return len(await runner.map(job, range(jobs)))


RUNS: dict[str, Callable[[int], Awaitable[int]]] = {
    "gather": gather,
    "window": window,
    "telemetry off": off,
    "traced": mapped,
    "ratio 0.1": mapped,
    "key": functools.partial(mapped, key=str),
    "event": functools.partial(mapped, work=event_job),
    "5 % fail": functools.partial(mapped, work=failing_job),
    "5 % fail, off": functools.partial(mapped, work=failing_job),
    "5 % fail, ratio 0.1": functools.partial(mapped, work=failing_job),
    "span processor": mapped,
    "local store": mapped,
    "local store and OTLP": mapped,
    "timeout, rate, breaker": policed,
    "timeout, rate, breaker, off": policed,
}
UNTRACED = frozenset(
    (
        "gather",
        "window",
        "telemetry off",
        "5 % fail, off",
        "timeout, rate, breaker, off",
    )
)
PYTHON = ("traced", "ratio 0.1", "key", "event", "5 % fail", "span processor")
"""What is measured without the compiled part as well."""


def set_up(name: str, endpoint: str) -> None:
    """Switch telemetry on as the setting wants it."""
    if name in UNTRACED:
        return
    if name == "local store":
        sr.configure(service_name="bench")
        return
    sr.configure(service_name="bench", endpoint=endpoint)
    if name == "span processor":
        from opentelemetry import trace  # noqa: PLC0415 -- the same
        from opentelemetry.sdk.trace import SpanProcessor  # noqa: PLC0415 -- the same

        provider: Any = trace.get_tracer_provider()
        provider.add_span_processor(SpanProcessor())


def measure(name: str, jobs: int, endpoint: str) -> dict[str, float]:
    """The CPU seconds of the whole process, and what became of the spans."""
    from spanrun.telemetry import setup  # noqa: PLC0415 -- the same

    set_up(name, endpoint)
    run = RUNS[name]
    asyncio.run(run(WARM))
    telemetry = setup.telemetry()
    if telemetry is not None:
        telemetry.flush(30)
    cpu = time.process_time()
    done = asyncio.run(run(jobs))
    sr.shutdown(timeout=120)
    cpu = time.process_time() - cpu
    if done != jobs:
        sys.exit(f"{name}: {done} of {jobs} jobs were done")
    account = telemetry.account if telemetry else None
    lost = sum(account.dropped.values()) if account else 0
    return {
        "cpu": cpu,
        "delivered": account.delivered["traces"] if account else 0,
        "lost": lost,
    }


def measured(name: str, jobs: int, endpoint: str, *, python: bool) -> dict[str, float]:
    """One run in a process of its own."""
    command = [sys.executable, "-m", "bench.settings", "--one", name]
    command += ["--jobs", str(jobs), "--endpoint", endpoint]
    with tempfile.TemporaryDirectory() as folder:
        environ = {
            **{k: v for k, v in os.environ.items() if not k.startswith("OTEL_")},
            **(RATIO if "ratio" in name else {}),
            "SPANRUN_SPOOL": f"{folder}/spool",
            "SPANRUN_SPOOL_BYTES": str(1 << 30),
            "SPANRUN_STORE": f"{folder}/store" if "store" in name else "none",
            "SPANRUN_PURE_PYTHON": "1" if python else "",
            "PYTHONPATH": str(ROOT),
        }
        done = subprocess.run(
            command,
            cwd=folder,
            env=environ,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def race(rounds: int, jobs: int, names: list[str]) -> dict[str, list[float]]:
    """Microseconds of CPU a job, for each contestant, one sample a round."""
    samples: dict[str, list[float]] = {}
    with sink.running() as endpoint:
        for number in range(rounds):
            turn = number * 5 % len(names)
            for name in (*names[turn:], *names[:turn]):
                python = name.startswith("fallback: ")
                setting = name.removeprefix("fallback: ")
                found = measured(setting, jobs, endpoint, python=python)
                spent = found["cpu"] / jobs * 1e6
                samples.setdefault(name, []).append(spent)
                arrived = sink.faults(endpoint)
                sys.stderr.write(
                    f"{number + 1} {name:32} {spent:7.2f} µs "
                    f"{found['delivered']:9,.0f} delivered {arrived}\n"
                )
                if found["lost"] or arrived["twice"] or arrived["orphans"]:
                    sys.exit(f"{name}: {found['lost']} lost, {arrived}")
    return samples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", choices=RUNS)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--jobs", type=int, default=40_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--endpoint", default="")
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(measure(asked.one, asked.jobs, asked.endpoint)))
        return
    names = [*RUNS, *(f"fallback: {name}" for name in PYTHON)]
    if asked.only:
        names = ["gather", *asked.only]
    samples = race(asked.rounds, asked.jobs, names)
    base = samples["gather"]
    rows = ["| setting | µs a job | × gather (range) |", "|---|---|---|"]
    for name in names:
        ratios = [spent / one for spent, one in zip(samples[name], base, strict=True)]
        rows.append(
            f"| {name} | {statistics.median(samples[name]):.1f} | "
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f}) |"
        )
    print("\n".join(rows))
    if asked.write:
        report.write_settings("\n".join(rows), asked.rounds, asked.jobs)


if __name__ == "__main__":
    main()
