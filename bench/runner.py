"""`make bench`: what a job costs, beside other ways to run 100 at once.

Every run has a process of its own; the order of the contestants is another one
in each round, and a ratio is taken within its round. What counts is CPU time,
with the exporters' threads in it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

ROOT = Path(__file__).parent.parent
if __package__ in {None, ""}:  # run as a script
    sys.path.insert(0, str(ROOT))

from bench import report, sink  # noqa: E402 -- after the path is set

BASE = "gather"
RIVALS = (
    *("gather", "aiometer", "run_jobs", "window", "pool"),
    *("spanrun", "spanrun-checkpoint"),
    *("spanrun-otlp", "spanrun-traced", "spanrun-python-traced"),
    "stock-traced",
)
RECEIVERS = {
    "the same jobs, telemetry off": None,
    "a receiver that answers at once": 0.0,
    "a receiver that takes 1 s a request; 5 s to end": 1.0,
}
"""Of a traced stream: the seconds that each answer takes."""
HOARDERS = ("gather", "run_jobs", "window", "pool", "spanrun")


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Attributes:
        rounds: How often each contestant runs with each number of jobs.
        sizes: The numbers of jobs.
        held: The number of jobs for the memory.
        streamed: The numbers of items for the memory of a stream.
        slow: CPU seconds; whose run takes longer has ``slow_rounds`` only.
    """

    rounds: int
    sizes: tuple[int, ...]
    held: int
    streamed: tuple[int, ...]
    slow: float = 8.0
    slow_rounds: int = 3


FULL = Plan(7, (10_000, 100_000), 1_000_000, (1_000_000,))
QUICK = Plan(3, (10_000, 30_000), 100_000, (100_000,), slow=4.0, slow_rounds=1)


@dataclass
class Results:
    """Every sample: per contestant and number of jobs, one a round.

    ``traced`` compares the fully traced runner: how many bare windows it costs, and
    how many of it the stock SDK costs. ``strained`` has a traced stream's figures.
    """

    machine: dict[str, str]
    command: str
    rounds: int
    cpu: dict[str, dict[int, list[float]]] = field(default_factory=dict)
    ratio: dict[str, dict[int, list[float]]] = field(default_factory=dict)
    traced: dict[str, dict[int, list[float]]] = field(default_factory=dict)
    memory: dict[str, dict[int, float]] = field(default_factory=dict)
    delivered: dict[str, dict[int, list[int]]] = field(default_factory=dict)
    strained: dict[str, dict[str, float]] = field(default_factory=dict)


def measure(
    name: str, jobs: int, endpoint: str = "", spool_bytes: int = 1 << 30
) -> dict[str, float]:
    """Run one contestant in a fresh process, with a spool of its own."""
    command = [sys.executable, "-m", "bench.contestants", name, str(jobs)]
    if endpoint:
        command += ["--endpoint", endpoint]
    with tempfile.TemporaryDirectory() as spool:
        room = {
            "SPANRUN_SPOOL": spool,
            "SPANRUN_SPOOL_BYTES": str(spool_bytes),
            "SPANRUN_PURE_PYTHON": "1" if "-python-" in name else "",
            "PYTHONDONTWRITEBYTECODE": "",  # compiled once, as installed modules are
        }
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, **room},
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def race(results: Results, plan: Plan, jobs: int, endpoint: str) -> None:
    """All rounds of all contestants with so many jobs."""
    for number in range(plan.rounds):
        turn = number % len(RIVALS)
        spent: dict[str, float] = {}
        say(f"{jobs:,} jobs · round {number + 1} of {plan.rounds}")
        for name in (*RIVALS[turn:], *RIVALS[:turn]):
            earlier = results.cpu.setdefault(name, {}).setdefault(jobs, [])
            if number >= plan.slow_rounds and earlier[0] * jobs / 1e6 > plan.slow:
                continue
            sends = name.endswith(("-otlp", "-traced"))
            spent[name] = measure(name, jobs, endpoint if sends else "")["cpu"]
            earlier.append(spent[name] / jobs * 1e6)
            if sends:
                counts = results.delivered.setdefault(name, {}).setdefault(jobs, [])
                counts.append(sink.spans(endpoint))
        for name, seconds in spent.items():
            ratios = results.ratio.setdefault(name, {}).setdefault(jobs, [])
            ratios.append(seconds / spent[BASE])
        ours = spent["spanrun-traced"]
        against = {"window": ours / spent["window"]}
        if "stock-traced" in spent:
            against["stock-traced"] = spent["stock-traced"] / ours
        for name, ratio in against.items():
            results.traced.setdefault(name, {}).setdefault(jobs, []).append(ratio)


def weigh(results: Results, plan: Plan) -> None:
    """The memory that each contestant gains; not timed, so two at once."""
    tasks = [(name, plan.held) for name in HOARDERS]
    tasks += [("stream", jobs) for jobs in plan.streamed]
    say(f"memory of {plan.held:,} jobs, and of a stream")
    with ThreadPoolExecutor(2) as two:
        gained = two.map(lambda task: measure(*task)["memory"], tasks)
        for (name, jobs), mebibytes in zip(tasks, gained, strict=True):
            results.memory.setdefault(name, {})[jobs] = mebibytes


def strain(results: Results, plan: Plan) -> None:
    """A traced stream, to receivers of two speeds: memory, and how late the loop is."""
    say(f"a traced stream of {plan.held:,}")
    for title, delay in RECEIVERS.items():
        name = "stream-untold" if delay is None else "stream-traced"
        with sink.running(delay or 0) as where:
            endpoint = "" if delay is None else where
            # All that the slow one can't take in time goes to the spool.
            samples = measure(name, plan.held, endpoint, spool_bytes=4 << 30)
        results.strained[title] = samples


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.runner", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and smaller runs")
    parser.add_argument("--long", action="store_true", help="stream 10 M items too")
    parser.add_argument("--rounds", type=int, help="instead of 7, or 3 when quick")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample")
    parser.add_argument(
        "--write", action="store_true", help=f"put the table into {report.PAGE.name}"
    )
    asked = parser.parse_args()
    if asked.write and asked.quick:
        parser.error("--write: the page shows full measurements, so not with --quick")
    if asked.rounds is not None and asked.rounds < 1:
        parser.error(f"--rounds {asked.rounds}: must be ≥ 1")
    return asked


def main() -> None:
    asked = arguments()
    plan = QUICK if asked.quick else FULL
    if asked.long:
        plan = replace(plan, streamed=(*plan.streamed, 10_000_000))
    if asked.rounds:
        plan = replace(plan, rounds=asked.rounds)
    options = " ".join(sys.argv[1:])
    command = f'make bench ARGS="{options}"' if options else "make bench"
    results = Results(report.machine(), command, plan.rounds)
    began = time.monotonic()
    with sink.running() as endpoint:
        for jobs in plan.sizes:
            race(results, plan, jobs, endpoint)
    weigh(results, plan)
    strain(results, plan)
    text = report.text(results, plan.sizes)
    print(text)
    say(f"took {time.monotonic() - began:.0f} s")
    if asked.json:
        asked.json.write_text(json.dumps(asdict(results), indent=1) + "\n")
    if asked.write:
        report.write(text)


if __name__ == "__main__":
    main()
