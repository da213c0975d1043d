"""The end of a command: counts, percentiles, where the time went, one hint."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from spanrun.ingest.documents import Skipped
from spanrun.ingest.pipeline import Report
from spanrun.stores.base import Hit
from spanrun.telemetry.read import Failures, RunnerStats, Session, read_session
from spanrun.telemetry.setup import Telemetry

_FLUSH: Final = 5.0
_BAR: Final = 28
_FILL: Final = {
    "queue": "·",
    "limit": "░",
    "rate_limit": "▒",
    "backoff": "▓",
    "busy": "█",
    "loop_lag": "!",
    "service": "─",
}
_ADVICE: Final = {
    "queue": "jobs wait to be admitted: more workers, or fewer at once before them",
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
    """The summary of this process's runs, for a person or as one JSON object.

    It is made from the local store, so that what is said is what was kept.
    """
    if telemetry is None or telemetry.store is None:
        session = Session((), (), None)
    else:
        telemetry.flush(_FLUSH)
        session = read_session(telemetry.store.path, telemetry.store.session)
    if as_json:
        return json.dumps(_object(telemetry, report, skipped, session, hits or {}))
    return "\n".join(_lines(telemetry, report, skipped, session))


def _lines(
    telemetry: Telemetry | None,
    report: Report,
    skipped: Sequence[Skipped],
    session: Session,
) -> list[str]:
    rate = report.stored / report.seconds if report.seconds else 0.0
    counts = [
        f"{report.stored} documents stored ({report.chunks} chunks)",
        f"{report.unchanged} unchanged",
        f"{len(report.failures)} failed",
        f"{len(skipped)} skipped",
        f"{report.seconds:.2f} s, {rate:.0f}/s",
    ]
    lines = [" · ".join(counts)]
    if session.runners:
        lines += ["", *_table(session.runners), "", *_times(session.runners)]
    lines += _failures(report, session.failures)
    if session.slowest is not None:
        slow = session.slowest
        where, seconds = max(slow.phases.items(), key=lambda item: item[1])
        lines += [
            "",
            f"slowest job   {slow.name}: {_s(slow.duration)}, of which {_s(seconds)} "
            f"{where}" + (f" · trace {slow.trace_id}" if slow.trace_id else ""),
        ]
    lines += [
        f"telemetry     {_delivered(telemetry)}",
        f"hint          {_hint(session)}",
    ]
    return lines


def _width(runners: Sequence[RunnerStats]) -> int:
    return max(len("runner"), *(len(stats.name) for stats in runners)) + 1


def _table(runners: Sequence[RunnerStats]) -> list[str]:
    width = _width(runners)
    head = f"{'runner':<{width}}{'jobs':>8}{'ok':>8}{'failed':>8}{'retries':>9}"
    lines = [head + f"{'p50':>10}{'p95':>10}{'p99':>10}"]
    for stats in runners:
        p50, p95, p99 = (_s(value) for value in stats.percentiles)
        lines.append(
            f"{stats.name:<{width}}{stats.jobs:>8}{stats.ok:>8}"
            f"{stats.jobs - stats.ok:>8}{stats.retries:>9}{p50:>10}{p95:>10}{p99:>10}"
        )
    return lines


def _times(runners: Sequence[RunnerStats]) -> list[str]:
    width = _width(runners)
    lines = ["where the time went"]
    used: set[str] = set()
    for stats in runners:
        total = sum(stats.phases.values())
        if not total:
            continue
        shares = {
            phase: seconds / total
            for phase, seconds in stats.phases.items()
            if round(seconds / total, 2)
        }
        used |= shares.keys()
        bar = "".join(
            _FILL[phase] * round(part * _BAR) for phase, part in shares.items()
        )
        most = sorted(shares, key=lambda phase: -shares[phase])[:3]
        told = " · ".join(f"{phase} {shares[phase]:.0%}" for phase in most)
        lines.append(f"{stats.name:<{width}}{_s(total):>8}  {bar:<{_BAR + 1}} {told}")
    lines.append(
        " " * (width + 10)
        + "  ".join(f"{fill} {phase}" for phase, fill in _FILL.items() if phase in used)
    )
    return lines


def _failures(report: Report, failures: Sequence[Failures]) -> list[str]:
    lines: list[str] = []
    for group in failures:
        trace = f" · e.g. trace {group.trace_id}" if group.trace_id else ""
        lines.append(
            f"  {group.count} × {group.runner}: {group.error_type}: {group.error}{trace}"
        )
    if report.failures:
        lost = ", ".join(failure.document_id for failure in report.failures[:3])
        more = len(report.failures) - 3
        lines.append(
            f"  not stored: {lost}" + (f" and {more} more" if more > 0 else "")
        )
    return ["", "failures", *lines] if lines else []


def _delivered(telemetry: Telemetry | None) -> str:
    if telemetry is None:
        return "off (OTEL_SDK_DISABLED)"
    account = telemetry.account
    parts: list[str] = []
    for signal, noun in (("traces", "spans"), ("metrics", "metric snapshots")):
        made = account.produced[signal]
        if made:
            parts.append(f"{account.delivered[signal]}/{made} {noun} delivered")
    lost = sum(account.dropped.values())
    if lost:
        reasons = sorted({reason for _, reason in account.dropped})
        parts.append(f"{lost} dropped ({', '.join(reasons)})")
    if telemetry.store is not None:
        parts.append(f"kept in {telemetry.store.path}")
    return " · ".join(parts)


def _hint(session: Session) -> str:
    if session.failures:
        return "failures come first: their traces tell at which attempt and why"
    totals = {
        (stats.name, phase): seconds
        for stats in session.runners
        for phase, seconds in stats.phases.items()
    }
    if not totals:
        return "nothing ran"
    name, phase = max(totals, key=lambda key: totals[key])
    return f"{name}: {_ADVICE[phase]}"


def _object(
    telemetry: Telemetry | None,
    report: Report,
    skipped: Sequence[Skipped],
    session: Session,
    hits: Mapping[str, Sequence[Hit]],
) -> dict[str, Any]:
    account = telemetry.account if telemetry else None
    return {
        "documents": {
            "stored": report.stored,
            "unchanged": report.unchanged,
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
            "dropped": sum(account.dropped.values()) if account else 0,
        },
        "hits": {
            query: [asdict(hit) for hit in found] for query, found in hits.items()
        },
    }


def _s(seconds: float) -> str:
    """Seconds with three digits, in the unit that suits them."""
    if not seconds:
        return "0"
    for unit, scale in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        value = seconds * scale
        if value >= 1 or unit == "µs":
            digits = max(0, 2 - int(math.log10(max(value, 1))))
            return f"{value:.{digits}f} {unit}"
    raise AssertionError
