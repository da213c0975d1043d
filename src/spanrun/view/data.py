"""What a page shows: a session or a run, packed into columns of integers.

Times are microseconds from the start of the first run. Each text is in one table, and
a column has its place there. `packed` makes it as small as it goes into the page.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Container, Sequence
from dataclasses import asdict
from typing import Any, Final, NamedTuple

from spanrun.quantities import seconds
from spanrun.semconv import SPANRUN_JOB_OUTCOME_VALUES, SPANRUN_JOB_PHASE_VALUES
from spanrun.slo import Slo
from spanrun.slo.local import Part
from spanrun.telemetry.recordings.causes import Explanation
from spanrun.telemetry.recordings.read import Recording
from spanrun.telemetry.recordings.records import Job, Run, Session
from spanrun.telemetry.recordings.summary import Summary, summary_of
from spanrun.text import redact
from spanrun.view.choice import MOST_JOBS, choose
from spanrun.view.columns import Columns, Texts, micro, parts
from spanrun.view.comparison import before
from spanrun.view.events import event_columns
from spanrun.view.objectives import objectives
from spanrun.view.spans import MOST_SPANS, JobKey, SpanRows, chosen_spans

FORMAT: Final = 1
_OUTCOMES: Final = {name: n for n, name in enumerate(SPANRUN_JOB_OUTCOME_VALUES)}
_LEVEL: Final = 6


class Limits(NamedTuple):
    """How much a page holds."""

    jobs: int = MOST_JOBS
    spans: int = MOST_SPANS


def packed(data: dict[str, Any]) -> str:
    """The data as JSON, deflated, in base64."""
    told = json.dumps(data, separators=(",", ":"), allow_nan=False).encode()
    return base64.b64encode(zlib.compress(told, _LEVEL)).decode()


def data_of(
    recording: Recording,
    name: str = "last",
    limits: Limits | None = None,
    slos: Sequence[Slo] = (),
) -> dict[str, Any]:
    """Pack the session or the run whose id begins with ``name``.

    Args:
        recording: What was recorded.
        name: Of the session or the run.
        limits: How much of it the page may hold.
        slos: Objectives that are judged by it.

    Raises:
        ConfigurationError: What an objective counts isn't recorded.
        LookupError: There is none, or several.
        StoreError: It can't be read.
    """
    limits = limits or Limits()
    found = recording.find(name)
    only = found.id if isinstance(found, Run) else ""
    session = found if isinstance(found, Session) else recording.session(found.session)
    runs = [run for run in recording.runs(session.id) if only in ("", run.id)]
    zero = min((run.started_ns for run in runs), default=session.started_ns)
    summary = summary_of(recording, session.id, only)
    texts = Texts()
    count, chosen = choose(recording.jobs(session.id, only), limits.jobs)
    jobs, rows, rank = _jobs(recording, session.id, only, runs, zero, chosen, texts)
    spans = recording.spans(session.id)
    if only:
        spans = (span for span in spans if span.trace_id in rank)
    spans_seen, kept = chosen_spans(spans, rank, limits.spans)
    table = SpanRows(texts, zero, rows)
    table.fill(kept)
    places = {run.id: place for place, run in enumerate(runs)}
    happened = recording.events(session.id, only)
    events = event_columns(happened, texts, zero, places, rows)
    return {
        "format": FORMAT,
        "session": _session(session, only, zero, summary, before(recording, session)),
        "runs": [_run(run, zero) for run in runs],
        "phases": list(SPANRUN_JOB_PHASE_VALUES),
        "outcomes": list(SPANRUN_JOB_OUTCOME_VALUES),
        "runners": _runners(summary, runs),
        "jobs": jobs.as_dict(),
        "spans": table.spans.as_dict(),
        "events": events.as_dict(),
        "counts": {
            "jobs": count,
            "jobs_shown": len(jobs),
            "spans": spans_seen,
            "spans_shown": len(table.spans),
        },
        "causes": _causes(summary),
        "objectives": objectives(recording, Part(session.id, only), slos),
        "texts": texts.all,
    }


def _session(
    session: Session, run: str, zero_ns: int, summary: Summary, before_it: str
) -> dict[str, Any]:
    return {
        "id": session.id,
        "run": run,
        "command": redact(session.command),
        "pid": session.pid,
        "zero_ms": zero_ns / 1e6,
        "duration": max(0, micro(summary.seconds)),
        "forgotten": session.forgotten,
        "before": before_it,
    }


def _run(run: Run, zero_ns: int) -> dict[str, Any]:
    ended = None if run.ended_ns is None else round((run.ended_ns - zero_ns) / 1000)
    return {
        "id": run.id,
        "runner": run.runner,
        "total": run.total,
        "start": round((run.started_ns - zero_ns) / 1000),
        "end": ended,
        "calls": run.calls,
        "policies": json.loads(run.policies) if run.policies else {},
    }


def _runners(summary: Summary, runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Each runner with the sums of all its jobs, in the order of the pipeline."""
    told = [
        {
            "name": stats.name,
            "jobs": stats.jobs,
            "ok": stats.ok,
            "retries": stats.retries,
            "percentiles": [micro(each) for each in stats.percentiles],
            "phases": parts(tuple(stats.phases.values())),
            "limit_full": stats.explanation.limit_full.get(stats.name),
        }
        for stats in summary.runners
    ]
    named = {stats.name for stats in summary.runners}
    without = dict.fromkeys(run.runner for run in runs if run.runner not in named)
    nothing: dict[str, Any] = {
        "jobs": 0,
        "ok": 0,
        "retries": 0,
        "percentiles": [0, 0, 0],
        "phases": [0] * len(SPANRUN_JOB_PHASE_VALUES),
        "limit_full": None,
    }
    return [*told, *({"name": name, **nothing} for name in without)]


def _jobs(
    recording: Recording,
    session: str,
    only: str,
    runs: Sequence[Run],
    zero_ns: int,
    chosen: Container[int],
    texts: Texts,
) -> tuple[Columns, dict[JobKey, int], dict[str, float]]:
    """The jobs as columns, the row of each, and how telling each trace is."""
    columns = Columns(
        "run", "index", "key", "start", "duration", *SPANRUN_JOB_PHASE_VALUES,
        "attempts", "outcome", "error_type", "error", "trace",
    )  # fmt: skip
    places = {run.id: place for place, run in enumerate(runs)}
    rows: dict[JobKey, int] = {}
    rank: dict[str, float] = {}
    for number, job in enumerate(recording.jobs(session, only)):
        place = places.get(job.run)
        if place is None or number not in chosen:  # its row was lost
            continue
        rows[job.run, job.index] = len(columns)
        if job.trace_id is not None:
            telling = job.duration + 1e9 * (job.outcome != "ok")
            rank[job.trace_id] = max(rank.get(job.trace_id, 0.0), telling)
        _add(columns, job, place, runs[place].started_ns - zero_ns, texts)
    return columns, rows, rank


def _add(columns: Columns, job: Job, place: int, since_ns: int, texts: Texts) -> None:
    text = texts.place
    columns.add(
        place,
        job.index,
        text(job.key),
        round(since_ns / 1000 + job.submitted * 1e6),
        max(0, micro(job.duration)),
        *parts(job.seconds),
        job.attempts,
        _OUTCOMES[job.outcome],
        text(job.error_type),
        text(job.error),
        text(job.trace_id),
    )


def _causes(summary: Summary) -> dict[str, Any]:
    """Why the jobs took their time: of all runners together, and of each."""
    return {
        "all": _told(summary.explanation),
        "runners": {each.name: _told(each.explanation) for each in summary.runners},
    }


def _told(explanation: Explanation) -> dict[str, Any]:
    causes = [asdict(cause) for cause in explanation.causes]
    return {"sentence": explanation.sentence, "causes": causes}


def described(data: dict[str, Any], size: int) -> str:
    """A line on what is in a page: its jobs, its spans, its size."""
    counts = data["counts"]
    jobs, spans = counts["jobs_shown"], counts["spans_shown"]
    took = seconds(data["session"]["duration"] / 1e6)
    of = f" of {counts['jobs']:,}" if jobs < counts["jobs"] else ""
    return f"{jobs:,}{of} jobs, {spans:,} spans, {took}, {size / 1e6:.2f} MB"
