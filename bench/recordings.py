"""What the local store costs, and how fast it is read: `make bench-recordings`.

The CPU time of a job with the store and with OTLP is `make bench-settings`
(ARGS='--only traced "local store"'). This measures the rest: the size of the file, the
reader, and the memory of who writes.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
if __package__ in {None, ""}:  # run as a script
    sys.path.insert(0, str(ROOT))

from bench.settings import mapped, unit_job  # noqa: E402 -- after the path is set

KIB = 1024
ROUNDS = 5


def write(folder: str, jobs: int) -> dict[str, Any]:
    """Record ``jobs`` of three spans in one map."""
    import spanrun as sr  # noqa: PLC0415 -- only the process that writes

    sr.configure(service_name="bench", store=folder)
    asyncio.run(mapped(jobs))
    return {"whole": sr.shutdown(timeout=120)}


def stream(folder: str, jobs: int) -> dict[str, Any]:
    """Record ``jobs`` of a stream, which keeps nothing; how memory grew meanwhile."""
    import spanrun as sr  # noqa: PLC0415 -- the same

    sr.configure(service_name="bench", store=folder)
    sizes: list[int] = []

    async def main() -> None:
        async with sr.Runner("bench", limit=100, retry=sr.Retry(on=OSError)) as runner:
            numbers = itertools.islice(itertools.count(), jobs)
            async with runner.stream(unit_job, numbers) as outcomes:
                async for outcome in outcomes:
                    index = outcome.index
                    if index % (jobs // 20) == 0:
                        sizes.append(resident())

    asyncio.run(main())
    whole = sr.shutdown(timeout=120)
    # In the first quarter pools and queues become as large as they get.
    return {"whole": whole, "first": max(sizes[:5]), "most": max(sizes[5:])}


def resident() -> int:
    """Bytes of memory that this process has now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def apart(kind: str, folder: str, jobs: int) -> dict[str, Any]:
    """Write in a process of its own."""
    command = [sys.executable, "-m", "bench.recordings", "--one", kind]
    command += ["--folder", folder, "--jobs", str(jobs)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def best(measured: Callable[[], object]) -> tuple[float, float]:
    """Milliseconds, by the clock and of CPU: the best of some rounds."""
    rounds: list[tuple[float, float]] = []
    for _ in range(ROUNDS):
        clock, cpu = time.perf_counter(), time.process_time()
        measured()
        rounds.append((time.perf_counter() - clock, time.process_time() - cpu))
    return min(one for one, _ in rounds) * 1e3, min(one for _, one in rounds) * 1e3


def tell(what: str, value: str, wanted: str = "") -> None:
    print(f"{what:<42}{value:>22}   {wanted}".rstrip(), flush=True)


def small(folder: str) -> None:
    """50,000 jobs: size, all roots, and one trace."""
    from spanrun import recordings  # noqa: PLC0415 -- after the arguments are read

    jobs = 50_000
    written = apart("write", folder, jobs)
    tell(f"{jobs:,} jobs of 3 spans: whole", str(written["whole"]))
    size = Path(folder, "telemetry.db").stat().st_size
    tell("their file", f"{size / 1e6:.2f} MB", "≤ 6 MB")
    with recordings.open(folder) as recording:
        roots = list(recording.traces())
        clock, cpu = best(lambda: list(recording.traces()))
        tell(f"list {len(roots):,} roots", f"{clock:.1f} ms, CPU {cpu:.1f}", "≤ 50 ms")
        clock, cpu = best(lambda: list(recording.jobs()))
        tell(f"list {jobs:,} jobs", f"{clock:.1f} ms, CPU {cpu:.1f}")
        one = roots[len(roots) // 2].id
        clock, cpu = best(lambda: recording.trace(one))
        tell("find a trace", f"{clock:.1f} ms, CPU {cpu:.1f}", "≤ 20 ms")


def large(folder: str, jobs: int) -> None:
    """Memory of who writes a million jobs, and the first page of a reader."""
    from spanrun import recordings  # noqa: PLC0415 -- the same

    written = apart("stream", folder, jobs)
    tell(f"{jobs:,} streamed jobs: whole", str(written["whole"]))
    grown = (written["most"] - written["first"]) / KIB / KIB
    tell("growth of the writer after a quarter", f"{grown:+.1f} MiB", "flat")
    size = Path(folder, "telemetry.db").stat().st_size
    tell("their file", f"{size / 1e6:.1f} MB")

    def first_page() -> None:
        with recordings.open(folder) as recording:
            session = recording.session()
            list(recording.runs(session.id))
            list(itertools.islice(recording.jobs(session.id), 100))
            traces = list(itertools.islice(recording.traces(session.id), 100))
            recording.trace(traces[0].id)

    clock, cpu = best(first_page)
    tell("first page of a reader", f"{clock:.1f} ms, CPU {cpu:.1f}", "≤ 300 ms")
    with recordings.open(folder) as recording:
        (last,) = deque(recording.traces(), maxlen=1)
        clock, cpu = best(lambda: recording.trace(last.id))
        tell("find the last trace", f"{clock:.1f} ms, CPU {cpu:.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", choices=["write", "stream"])
    parser.add_argument("--folder", default="")
    parser.add_argument("--jobs", type=int, default=1_000_000)
    asked = parser.parse_args()
    if asked.one:
        done = {"write": write, "stream": stream}[asked.one]
        print(json.dumps(done(asked.folder, asked.jobs)))
        return
    with tempfile.TemporaryDirectory() as folder:
        small(folder)
    with tempfile.TemporaryDirectory() as folder:
        large(folder, asked.jobs)


if __name__ == "__main__":
    main()
