"""The tables of the benchmarks, and their places in the page on performance."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.runner import Results

PAGE = Path(__file__).parent.parent / "docs" / "explanation" / "performance.md"
BEGIN = "<!-- measured: begin (make bench ARGS=--write) -->"
END = "<!-- measured: end -->"
BEGIN_SETTINGS = "<!-- settings: begin (make bench-settings ARGS=--write) -->"
END_SETTINGS = "<!-- settings: end -->"

TITLES = {
    "gather": "`gather` + `Semaphore`",
    "aiometer": "aiometer",
    "run_jobs": "`run_jobs` as in LlamaIndex, without its spans",
    "window": "bare window: a task a job, nothing else",
    "pool": "worker pool: jobs share variables",
    "spanrun": "**spanrun**, no telemetry",
    "spanrun-checkpoint": "**spanrun**, each outcome in a checkpoint",
    "spanrun-otlp": "**spanrun**, a span for each job, delivered with all metrics",
    "spanrun-traced": "**spanrun**, job, attempt and call spans, delivered",
    "spanrun-python-traced": "the same without the compiled part",
    "stock-traced": "the same spans and metrics by the SDK, around `gather`",
    "stream": "**spanrun** `stream`",
}


def machine() -> dict[str, str]:
    """What the figures depend on."""
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.machine()}",
        "cores": str(os.cpu_count()),
        "processor": _processor(),
    }


def text(results: Results, sizes: Sequence[int]) -> str:
    """All tables, as Markdown."""
    about = results.machine
    place = f"{about['system']}, {about['cores']} cores, {about['processor']}"
    parts = [
        f"`{results.command}` · {about['python']} · {place}",
        f"CPU time, {results.rounds} rounds, median (range).{_fewer(results)}",
        _costs(results, sizes),
        _traced(results),
        _memories(results),
        _strain(results),
        _delivery(results),
    ]
    return "\n\n".join(parts)


def write(tables: str, begin: str = BEGIN, end: str = END) -> None:
    """Put ``tables`` between the marks ``begin`` and ``end`` of the page."""
    page = PAGE.read_text("utf-8")
    before, rest = page.split(begin)
    _, after = rest.split(end)
    PAGE.write_text(f"{before}{begin}\n\n{tables}\n\n{end}{after}", "utf-8")


def write_settings(table: str, rounds: int, jobs: int) -> None:
    """Put the ``table`` of `bench.settings` into the page."""
    about = machine()
    place = f"{about['system']}, {about['cores']} cores, {about['processor']}"
    head = f"`make bench-settings` · {about['python']} · {place}"
    how = f"CPU time of {jobs:,} jobs, {rounds} rounds, median (range)."
    write(f"{head}\n\n{how}\n\n{table}", BEGIN_SETTINGS, END_SETTINGS)


def _costs(results: Results, sizes: Sequence[int]) -> str:
    head = ["contestant"]
    for jobs in sizes:
        head += [f"µs a job, {jobs:,} jobs", "× `gather`"]
    rows = [
        [
            TITLES[name],
            *(
                cell
                for jobs in sizes
                for cell in (
                    _spread(by_size[jobs], 1),
                    _spread(results.ratio[name][jobs], 2),
                )
            ),
        ]
        for name, by_size in results.cpu.items()
    ]
    return _table(head, rows)


def _fewer(results: Results) -> str:
    """Who had fewer of the rounds than the others, as its runs are long."""
    found = [
        f" {TITLES[name]}, {jobs:,} jobs: {len(samples)} of them."
        for name, by_size in results.cpu.items()
        for jobs, samples in by_size.items()
        if len(samples) < results.rounds
    ]
    return "".join(found)


def _memories(results: Results) -> str:
    rows = [
        [f"{TITLES[name]}, {jobs:,} items", f"{gained:,.1f}"]
        for name, by_size in results.memory.items()
        for jobs, gained in by_size.items()
    ]
    return _table(["memory gained, at most", "MiB"], rows)


def _traced(results: Results) -> str:
    says = {
        "window": "bare windows that a fully traced job costs",
        "stock-traced": "times as much that the SDK takes for the same",
    }
    rows = [
        [f"{says[name]}, {jobs:,} jobs", _spread(ratios, 1)]
        for name, by_size in results.traced.items()
        for jobs, ratios in by_size.items()
    ]
    return _table(["a job with three spans and all metrics, delivered", "ratio"], rows)


def _strain(results: Results) -> str:
    """The traced stream."""
    rows = [
        [
            title,
            f"{each['memory']:.1f}",
            f"{each['lag'] * 1e3:.1f}",
            *(
                f"{each.get(key, 0):,.0f}"
                for key in ("delivered", "spooled", "dropped")
            ),
        ]
        for title, each in results.strained.items()
    ]
    head = ["a traced stream", "MiB gained", "loop late, p99, ms"]
    return _table([*head, "spans delivered", "on disk", "lost"], rows)


_FATES = ("delivered", "spooled", "dropped")


def _delivery(results: Results) -> str:
    lines = [
        f"- {TITLES[name]}, {jobs:,} jobs: {_counts(counts)} a run"
        for name, by_size in results.delivered.items()
        for jobs, counts in by_size.items()
    ]
    return "\n".join(["Distinct spans that arrived, with the warm-up's:", "", *lines])


def _counts(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    if low == high:
        return f"{low:,}"
    return f"{low:,} to {high:,} (**up to {high - low:,} lost**)"


def _spread(samples: Sequence[float], digits: int) -> str:
    low, high = min(samples), max(samples)
    return f"{median(samples):.{digits}f} ({low:.{digits}f}–{high:.{digits}f})"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    ruler = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ruler, *rows))


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or "processor unknown"
