"""The summary as HTML, for a notebook: why, the runners, their time, the failures."""

from __future__ import annotations

from collections.abc import Iterator

from spanrun.markup import bar, parts, percent, shown, table, together
from spanrun.quantities import seconds
from spanrun.runner.summary import MAX_ERROR, advice, slowest, title
from spanrun.telemetry.recordings.summary import Failures, RunnerStats, Summary


def summary_html(found: Summary) -> str:
    """Everything that the text has; all texts from outside are escaped."""
    return f"<div>{''.join(_sections(found))}</div>"


def _sections(found: Summary) -> Iterator[str]:
    yield f"<div><b>{shown(title(found))}</b></div>"
    if not found.runners:
        return
    yield f"<div>{together(shown(found.explanation.sentence))}</div>"
    yield _causes(found)
    yield table(
        ("runner", "jobs", "ok", "failed", "retries", "p50", "p95", "p99"),
        map(_durations, found.runners),
        texts=1,
    )
    rows = (_time(each) for each in found.runners if sum(each.phases.values()))
    yield table(("runner", "total", "where the time went"), rows, texts=3)
    if found.failures:
        head = ("runner", "error", "e.g. trace", "failed")
        yield table(head, map(_failures, found.failures), texts=3)
    if found.slowest is not None:
        yield f"<div>slowest job: {shown(slowest(found.slowest))}</div>"


def _causes(found: Summary) -> str:
    items = "".join(
        f"<li><b>{together(percent(cause.share))}</b> "
        f"{together(shown(advice(cause)))}</li>"
        for cause in found.explanation.causes
    )
    return f'<ul style="margin:4px 0">{items}</ul>' if items else ""


def _durations(stats: RunnerStats) -> tuple[str, ...]:
    counts = stats.jobs, stats.ok, stats.jobs - stats.ok, stats.retries
    return (
        shown(stats.name),
        *(f"{count:,}" for count in counts),
        *(together(seconds(each)) for each in stats.percentiles),
    )


def _time(stats: RunnerStats) -> tuple[str, str, str]:
    total = sum(stats.phases.values())
    drawn = bar(stats.phases) + parts(stats.phases)
    return shown(stats.name), together(seconds(total)), drawn


def _failures(group: Failures) -> tuple[str, str, str, str]:
    kind = group.error_type.rpartition(".")[2]
    error = f"{shown(kind)}: {shown(group.error, MAX_ERROR)}"
    return shown(group.runner), error, group.trace_id or "", f"{group.count:,}"
