"""An objective's Prometheus rules: what is recorded, and when somebody is told.

The counts of a minute are the only rules that read the telemetry. Every longer
window is a sum of them, so ratios are weighed by events: an hour without any
weighs nothing, where a mean of ratios would count it in full, or turn NaN.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeAlias

from spanrun.slo import promql, records
from spanrun.slo.annotations import RUNBOOKS, Links, annotate
from spanrun.slo.burn import ALERT_WINDOWS, Burn, Severity, burns
from spanrun.slo.model import Slo

Rule: TypeAlias = dict[str, Any]
"""A rule as Prometheus reads it: `record` or `alert`, `expr`, `labels` and more."""

ALERT: Final = "SpanrunErrorBudgetBurns"


def groups(
    slos: Sequence[Slo], runbooks: str = RUNBOOKS, grafana: str = ""
) -> dict[str, Any]:
    """A rule file's content, a group for each objective.

    Args:
        slos: With different names.
        runbooks: The folder, or the URL, of the pages that alerts link to.
        grafana: The URL of the Grafana whose board they link to; empty for none.
    """
    links = Links(runbooks, grafana)
    return {"groups": [_group(slo, links) for slo in slos]}


def _group(slo: Slo, links: Links) -> Rule:
    """In the order in which they need each other: Prometheus keeps it in a group."""
    rules = [*_base(slo), *_windows(slo), *_budget(slo), *_alerts(slo, links)]
    return {"name": f"slo-{slo.name}", "interval": records.BASE, "rules": rules}


def _base(slo: Slo) -> Iterator[Rule]:
    total, by = records.total(records.BASE), slo.group_by
    yield _record(slo, total, promql.total(slo.indicator, promql.MINUTE, by))
    part = promql.part(slo.indicator, promql.MINUTE, by)
    every = _of(slo, total)
    if by:  # 0 for a group of which no event is a part
        every = promql.grouped(every, by)
        part = f"{part}\nor 0 * {every}"
    if not slo.part_is_bad:
        part = f"(\n{part}\n)" if by else f"scalar(\n{part}\n)"
        part = f"clamp_min({every} - {part}, 0)"
    yield _record(slo, records.bad(records.BASE), part)


def _windows(slo: Slo) -> Iterator[Rule]:
    for window in (*ALERT_WINDOWS, records.PERIOD):
        length = f"{slo.period}d" if window == records.PERIOD else window
        for counted in (records.total, records.bad):
            base = _of(slo, counted(records.BASE))
            yield _record(slo, counted(window), f"sum_over_time({base}[{length}])")
        yield _ratio(slo, window)


def _ratio(slo: Slo, window: str) -> Rule:
    bad, total = _of(slo, records.bad(window)), _of(slo, records.total(window))
    return _record(slo, records.ratio(window), f"{bad} / ({total} > 0)")


def _budget(slo: Slo) -> Iterator[Rule]:
    yield _record(slo, records.OBJECTIVE, _constant(slo, 1 - slo.budget))
    yield _record(slo, records.PERIOD_DAYS, _constant(slo, slo.period))
    yield _record(slo, records.ERROR_BUDGET, _constant(slo, slo.budget))
    ratio = _of(slo, records.ratio(records.PERIOD))
    untouched = _constant(slo, 1) if slo.group_by else "on () vector(1)"
    if slo.group_by:
        ratio = promql.grouped(ratio, slo.group_by)
    left = f"1 - {ratio} / {_number(slo.budget)} or {untouched}"
    yield _record(slo, records.BUDGET_REMAINING, left)


def _constant(slo: Slo, value: float) -> str:
    """A number of the objective: for each of its groups, if it has some."""
    if not slo.group_by:
        return f"vector({_number(value)})"
    events = _of(slo, records.total(records.PERIOD))
    return f"0 * {promql.grouped(events, slo.group_by)} + {_number(value)}"


def _alerts(slo: Slo, links: Links) -> Iterator[Rule]:
    severities: tuple[Severity, ...] = ("page", "ticket")
    for severity in severities:
        conditions = burns(slo, severity)
        if conditions:
            yield {
                "alert": ALERT,
                "expr": "\nor\n".join(_burning(slo, *each) for each in conditions),
                "labels": {**_labels(slo), "severity": severity},
                "annotations": annotate(slo, conditions, links),
            }


def _burning(slo: Slo, burn: Burn, factor: float) -> str:
    limit = _number(factor * slo.budget)
    floor = _number(slo.min_bad_events)
    return (
        "(\n"
        f"  {_of(slo, records.ratio(burn.long))} > {limit}\n"
        f"  and {_of(slo, records.ratio(burn.short))} > {limit}\n"
        f"  and {_of(slo, records.bad(burn.long))} >= {floor}\n"
        ")"
    )


def _record(slo: Slo, name: str, expr: str) -> Rule:
    return {"record": name, "expr": expr, "labels": _labels(slo)}


def _labels(slo: Slo) -> dict[str, str]:
    return {"slo": slo.name, "service": slo.service}


def _of(slo: Slo, name: str) -> str:
    return f"{name}{{slo={promql.quoted(slo.name)}}}"


def _number(value: float) -> str:
    return f"{value:.12g}"
