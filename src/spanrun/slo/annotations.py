"""What the alerts of an objective say, and where they lead."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from spanrun import semconv
from spanrun.slo import promql, records
from spanrun.slo.burn import Burn
from spanrun.slo.model import Availability, Latency, Slo

RUNBOOKS: Final = "http://localhost:8000/docs/how-to"
"""Where `python -m http.server`, in a checkout, has the run books."""
BOARD: Final = "spanrun-slo"
"""The id of the dashboard of objectives."""

_VARIABLES: Final = {
    semconv.SERVICE_NAME: "service",
    semconv.SPANRUN_RUNNER_NAME: "runner",
}
"""The dashboard's, by the attributes that they choose."""


class Links(NamedTuple):
    """Where alerts lead.

    Attributes:
        runbooks: The folder, or the URL, of the run books.
        grafana: The URL of the Grafana that has the dashboards; empty for none.
    """

    runbooks: str = RUNBOOKS
    grafana: str = ""


def annotate(
    slo: Slo, conditions: Sequence[tuple[Burn, float]], links: Links
) -> dict[str, str]:
    """What an alert tells, and where it leads, as Prometheus' templates."""
    pace = " or ".join(
        f"{factor:.3g} times over {burn.long}" for burn, factor in conditions
    )
    is_slow = isinstance(slo.indicator, Latency)
    page = "p95-went-up.md" if is_slow else "errors-burn-the-budget.md"
    whose = "".join(
        f" · {_literal(name)} {{{{ $labels.{promql.label(name)} }}}}"
        for name in slo.group_by
    )
    found = {
        "summary": _literal(f"{slo.title}: the error budget burns too fast") + whose,
        "description": _literal(f"{slo.name} of {slo.service}")
        + f"{whose}: "
        + "{{ $value | humanizePercentage }} of the events are bad, where "
        f"{slo.budget * 100:.6g}% may be. More than {pace} what {slo.period} days "
        "allow." + _budget_left(slo) + _burnt_by(slo, conditions[0][0].long),
        "runbook_url": _literal(slo.runbook or f"{links.runbooks.rstrip('/')}/{page}"),
    }
    if links.grafana:
        board = f"{links.grafana.rstrip('/')}/d/{BOARD}?var-slo={slo.name}"
        chosen = "".join(
            f"&var-{name}={{{{ $labels.{promql.label(attribute)} | urlquery }}}}"
            for attribute, name in _VARIABLES.items()
            if attribute in slo.group_by
        )
        found["dashboard_url"] = _literal(board) + chosen
    return found


def _budget_left(slo: Slo) -> str:
    """What is left of the budget, asked for when the alert fires."""
    of_slo = f"{records.BUDGET_REMAINING}{{slo={promql.quoted(slo.name)}"
    left = "{{ . | first | value | humanizePercentage }}"
    asked = _asked(slo, of_slo, "}")
    return f"{{{{ with {asked} }}}} {left} of the budget are left.{{{{ end }}}}"


def _burnt_by(slo: Slo, window: str) -> str:
    """The ``error.type`` with the most bad events, where the events have one."""
    indicator = slo.indicator
    if not isinstance(indicator, Availability):
        return ""
    metric, kind = indicator.metric, promql.label(semconv.ERROR_TYPE)
    if semconv.ERROR_TYPE not in metric.attributes:
        return ""
    where = indicator.part if indicator.part_is_bad else indicator.total
    matchers = (*map(promql.matcher, where), f'{kind}!=""')
    chosen = ",".join(dict.fromkeys(matchers))
    count = "_count" if metric.instrument == "histogram" else ""
    grown = f"increase({promql.series(metric)}{count}{{{chosen}"
    asked = _asked(slo, f"topk(1, sum by ({kind}) ({grown}", f"}}[{window}])) > 0)")
    found = f'{{{{ . | first | label "{kind}" }}}}'
    return f"{{{{ with {asked} }}}} Most of the bad ones: {found}.{{{{ end }}}}"


def _asked(slo: Slo, ahead: str, behind: str) -> str:
    """A query of a template, for the group that the alert is of.

    Args:
        slo: The objective.
        ahead: The query, up to the last of its label matchers.
        behind: What follows these.
    """
    names = [promql.label(each) for each in slo.group_by]
    groups = "".join(f",{name}=%q" for name in names)
    ahead, behind = (
        promql.quoted(each.replace("%", "%%"))[1:-1] for each in (ahead, behind)
    )
    values = "".join(f" $labels.{name}" for name in names)
    return f'printf "{ahead}{groups}{behind}"{values} | query'


def _literal(text: str) -> str:
    """``text`` for an annotation, which Prometheus reads as a template."""
    return text.replace("{{", '{{ "{{" }}')
