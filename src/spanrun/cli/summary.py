"""What a person is told at the end of a run, or a program as one JSON object."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from spanrun.cli import tables
from spanrun.cli.console import line
from spanrun.errors import StoreError
from spanrun.ingest.documents import Skipped
from spanrun.ingest.pipeline import Report
from spanrun.semconv import SpanrunTelemetrySignal
from spanrun.stores.base import Hit
from spanrun.telemetry.recordings import read
from spanrun.telemetry.recordings.summary import (
    Failures,
    SlowJob,
    Summary,
    summary_of,
)
from spanrun.telemetry.setup import Telemetry

_ERROR: Final = 160
_NAMED: Final = 3
_NOUNS: Final[tuple[tuple[SpanrunTelemetrySignal, str], ...]] = (
    ("traces", "spans"),
    ("metrics", "data points"),
)
_ADVICE: Final = {
    "queue": "jobs wait for the event loop: look for what keeps it busy",
    "limit": "jobs wait for a slot: a higher limit, if the service bears it",
    "rate_limit": "the service set the pace (Retry-After): fewer requests at once",
    "backoff": "much time goes into back-off: look at the errors that were retried",
    "busy": "the event loop computes: move that work to threads or processes",
    "loop_lag": "something blocks the event loop: look for a slow synchronous call",
    "service": "the service itself takes the time: larger batches, or more at once",
}


def tell(
    telemetry: Telemetry | None,
    report: Report,
    skipped: Sequence[Skipped],
    *,
    as_json: bool,
    hits: Mapping[str, Sequence[Hit]] | None = None,
) -> str:
    """The summary of this process's runs. ``telemetry`` must have been closed.

    It is made from the local store, so that what is said is what was kept.
    """
    session = _session(telemetry)
    if as_json:
        told = _object(telemetry, report, skipped, session, hits or {})
        return json.dumps(told, allow_nan=False)
    return "\n".join(_lines(telemetry, report, skipped, session))


def _session(telemetry: Telemetry | None) -> Summary:
    if telemetry is not None and telemetry.store is not None:
        try:
            with read.open(telemetry.store.path) as recording:
                return summary_of(recording, telemetry.store.session)
        except (LookupError, StoreError):
            pass  # it can't be used, or is damaged: what was lost is counted
    return Summary((), (), None)


def _lines(
    telemetry: Telemetry | None,
    report: Report,
    skipped: Sequence[Skipped],
    session: Summary,
) -> Iterator[str]:
    rate = report.stored / report.seconds if report.seconds else 0.0
    pruned = f" · {report.pruned} pruned" if report.pruned else ""
    yield (
        f"{report.stored} documents stored ({report.chunks} chunks)"
        f" · {report.unchanged} unchanged · {len(report.failures)} failed"
        f" · {len(skipped)} skipped{pruned} · {report.seconds:.2f} s, {rate:.0f}/s"
    )
    yield ""
    if session.runners:
        yield from tables.durations(session.runners)
        yield ""
        yield from tables.times(session.runners)
        yield ""
    failures = session.failures or _of_documents(report)
    if failures:
        yield "failures"
        yield from map(_failure, failures)
        yield from _not_stored(report)
        yield ""
    if session.slowest is not None:
        yield f"slowest job   {_slowest(session.slowest)}"
    yield f"telemetry     {' · '.join(_delivered(telemetry))}"
    yield f"hint          {_hint(report, session)}"


def _of_documents(report: Report) -> Sequence[Failures]:
    """The same without telemetry: by document, as nobody kept the jobs."""
    groups = Counter(
        (failure.stage, type(failure.error).__name__, str(failure.error))
        for failure in report.failures
    )
    return [Failures(*group, count, None) for group, count in groups.most_common(10)]


def _failure(group: Failures) -> str:
    kind = group.error_type.rpartition(".")[2]
    what = f"{group.count} × {line(group.runner)}: {line(kind)}: "
    trace = f" · e.g. trace {group.trace_id}" if group.trace_id else ""
    return f"  {what}{line(group.error, _ERROR)}{trace}"


def _not_stored(report: Report) -> Iterator[str]:
    lost = [line(failure.document_id) for failure in report.failures]
    if lost:
        more = f" and {len(lost) - _NAMED} more" if len(lost) > _NAMED else ""
        yield f"  not stored: {', '.join(lost[:_NAMED])}{more}"


def _slowest(job: SlowJob) -> str:
    phase, part = max(job.phases.items(), key=lambda item: item[1])
    took = f"{tables.seconds(job.duration)}, of which {tables.seconds(part)} {phase}"
    trace = f" · trace {job.trace_id}" if job.trace_id else ""
    return f"{line(job.name)}: {took}{trace}"


def _delivered(telemetry: Telemetry | None) -> Iterator[str]:
    if telemetry is None:
        yield "off (OTEL_SDK_DISABLED)"
        return
    account = telemetry.account
    for signal, noun in _NOUNS:
        if made := account.produced[signal]:
            earlier = account.recovered[signal]
            more = f" and {earlier} of earlier runs" if earlier else ""
            delivered = max(0, account.delivered[signal] - earlier)
            yield f"{delivered}/{made} {noun}{more} delivered"
    if waiting := sum(account.spooled.values()):
        yield f"{waiting} wait in {telemetry.settings.spool} for the next run"
    if account.dropped:
        reasons = sorted({reason for _, reason in account.dropped})
        yield f"{sum(account.dropped.values())} dropped ({', '.join(reasons)})"
    store = telemetry.store
    if store is None or (store.fault and not store.account.delivered):
        yield "not kept"
        return
    yield f"kept in {store.path}"
    if lost := sum(store.account.dropped.values()):
        yield f"but {lost} jobs and spans, which could not be written"


def _hint(report: Report, session: Summary) -> str:
    if session.failures or report.failures:
        return "failures come first: their traces tell at which attempt and why"
    totals = {
        (stats.name, phase): seconds
        for stats in session.runners
        for phase, seconds in stats.phases.items()
    }
    if totals:
        name, phase = max(totals, key=lambda key: totals[key])
        return f"{line(name)}: {_ADVICE[phase]}"
    if report.stored:
        return "with telemetry, this would tell where the time went"
    return "nothing has changed since the last run"


def _object(
    telemetry: Telemetry | None,
    report: Report,
    skipped: Sequence[Skipped],
    session: Summary,
    hits: Mapping[str, Sequence[Hit]],
) -> dict[str, Any]:
    account = telemetry.account if telemetry else None
    return {
        "documents": {
            "stored": report.stored,
            "unchanged": report.unchanged,
            "pruned": report.pruned,
            "failed": [
                {"id": f.document_id, "stage": f.stage, "error": str(f.error)}
                for f in report.failures
            ],
            "skipped": [asdict(item) for item in skipped],
        },
        "chunks": report.chunks,
        "seconds": report.seconds,
        "trace_id": f"{report.trace_id:032x}" if report.trace_id else None,
        "runners": [asdict(stats) for stats in session.runners],
        "failures": [asdict(group) for group in session.failures],
        "slowest": asdict(session.slowest) if session.slowest else None,
        "telemetry": {
            "produced": dict(account.produced) if account else {},
            "delivered": dict(account.delivered) if account else {},
            "spooled": sum(account.spooled.values()) if account else 0,
            "dropped": sum(account.dropped.values()) if account else 0,
        },
        "hits": {
            query: [asdict(hit) for hit in found] for query, found in hits.items()
        },
    }
