"""What a person is told at the end of a run, or a program as one JSON object."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from spanrun.cli.console import line
from spanrun.errors import StoreError
from spanrun.ingest.documents import Skipped
from spanrun.ingest.pipeline import Report
from spanrun.runner import summary, tables
from spanrun.semconv import SpanrunTelemetrySignal
from spanrun.stores.base import Hit
from spanrun.telemetry.recordings import read
from spanrun.telemetry.recordings.causes import explain
from spanrun.telemetry.recordings.summary import (
    Failures,
    Summary,
    summary_of,
)
from spanrun.telemetry.setup import Telemetry

_NAMED: Final = 3
_NOUNS: Final[tuple[tuple[SpanrunTelemetrySignal, str], ...]] = (
    ("traces", "spans"),
    ("metrics", "data points"),
    ("logs", "log records"),
)


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


def lines_of_runs(telemetry: Telemetry | None) -> Iterator[str]:
    """What a person is told of this process's runs. ``telemetry`` must be closed."""
    found = _session(telemetry)
    if found.runners:
        yield summary.Report(found).text(summary.terminal_width(sys.stderr))
    yield f"telemetry     {' · '.join(_delivered(telemetry))}"


def of_runs(telemetry: Telemetry | None) -> dict[str, Any]:
    """The same as numbers."""
    found = asdict(_session(telemetry))
    return {**found, "telemetry": _account(telemetry)}


def _session(telemetry: Telemetry | None) -> Summary:
    if telemetry is not None and telemetry.store is not None:
        try:
            with read.open(telemetry.store.path) as recording:
                return summary_of(recording, telemetry.store.session)
        except (LookupError, StoreError):
            pass  # it can't be used, or is damaged: what was lost is counted
    return Summary(0.0, (), (), None, explain({}))


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
        width = summary.terminal_width(sys.stdout)
        yield from summary.why(session, width)
        yield ""
        yield from tables.durations(session.runners, width)
        yield ""
        yield from tables.times(session.runners, width)
        yield ""
    failures = session.failures or _of_documents(report)
    if failures:
        yield "failures"
        yield from map(summary.failure, failures)
        yield from _not_stored(report)
        yield ""
    if session.slowest is not None:
        yield f"slowest job   {summary.slowest(session.slowest)}"
    yield f"telemetry     {' · '.join(_delivered(telemetry))}"
    yield f"hint          {_hint(report, session)}"


def _of_documents(report: Report) -> Sequence[Failures]:
    """The same without telemetry: by document, as nobody kept the jobs."""
    groups = Counter(
        (failure.stage, type(failure.error).__name__, str(failure.error))
        for failure in report.failures
    )
    return [Failures(*group, count, None) for group, count in groups.most_common(10)]


def _not_stored(report: Report) -> Iterator[str]:
    lost = [line(failure.document_id) for failure in report.failures]
    if lost:
        more = f" and {len(lost) - _NAMED} more" if len(lost) > _NAMED else ""
        yield f"  not stored: {', '.join(lost[:_NAMED])}{more}"


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
    if session.slowest is not None and session.slowest.trace_id:
        trace = session.slowest.trace_id[:6]
        return f"spanrun trace {trace} shows what happened to the slowest job"
    if session.runners:
        return "spanrun runs lists what was recorded"
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
        "telemetry": _account(telemetry),
        "hits": {
            query: [asdict(hit) for hit in found] for query, found in hits.items()
        },
    }


def _account(telemetry: Telemetry | None) -> dict[str, Any]:
    account = telemetry.account if telemetry else None
    return {
        "produced": dict(account.produced) if account else {},
        "delivered": dict(account.delivered) if account else {},
        "spooled": sum(account.spooled.values()) if account else 0,
        "dropped": sum(account.dropped.values()) if account else 0,
    }
