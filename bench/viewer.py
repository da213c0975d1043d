"""How fast the page of a large recording is: ``python -m bench.viewer``.

A program records 100,000 jobs; its page is opened in a headless browser. Times are the
browser's: until the first view is drawn, of a change of view, of a filter, of a sort.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from instrumentation.backends import inventory
from tests.view.conftest import Browser

from spanrun import recordings
from spanrun.view.data import data_of, described
from spanrun.view.page import write

_PROGRAM = """
import asyncio, sys
import spanrun as sr

async def nap(number):
    await asyncio.sleep(0)
    if number % 997 == 1:
        raise ValueError(f"item {number}")

async def main():
    async with sr.Runner("naps", limit=64) as runner:
        jobs = range(int(sys.argv[1]))
        await runner.map(nap, jobs, key=lambda n: f"item-{n:06}", errors="collect")

sr.configure()
sr.run(main())
"""
_DRAWN = (
    "new Promise((done) => { const began = performance.now(); {}; "
    "requestAnimationFrame(() => setTimeout(() => done(performance.now() - began))); })"
)
_LOADED = (
    "performance.getEntriesByName('first-view')[0]?.startTime ?? performance.now()"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=100_000)
    jobs = parser.parse_args().jobs
    with tempfile.TemporaryDirectory() as folder:
        page = _page(Path(folder), jobs)
        browser = Browser(inventory.locate("browser"))
        told = browser(page, *_steps())
        browser.close()
    rows, *times = [each for each in told if each is not None]
    names = ("first view", "jobs", "filter", "search", "sort by key", "overview")
    for name, took in zip(names, times, strict=True):
        print(f"{name:<12} {took:7.0f} ms")
    print(f"{'rows':<12} {rows:7.0f}")


def _steps() -> list[tuple[str, Any]]:
    to = "location.hash = '#/s/x/{}'"
    views = ("jobs", "jobs?outcome=failed", "jobs?q=0042", "jobs?sort=key", "overview")
    timed = [("eval", _DRAWN.replace("{}", to.format(view), 1)) for view in views]
    rows = "document.querySelectorAll('.row').length"
    return [
        ("go", "#/s/x/jobs"),
        ("eval", rows),
        ("reload", None),
        ("eval", _LOADED),
        ("go", "#/s/x/overview"),
        *timed,
    ]


def _page(folder: Path, jobs: int) -> Path:
    environment = {**os.environ, "SPANRUN_SUMMARY": "false"}
    argv = [sys.executable, "-c", _PROGRAM, str(jobs)]
    subprocess.run(argv, cwd=folder, env=environment, check=True)
    began = time.perf_counter()
    with recordings.open(folder / ".spanrun") as recording:
        data = data_of(recording)
    page = folder / "run.html"
    size = write(data, page)
    print(f"{described(data, size)}, made in {time.perf_counter() - began:.1f} s")
    return page


if __name__ == "__main__":
    main()
