"""SLO: how much of the error budget is left, and how fast it is spent."""

from collections.abc import Iterator
from typing import Final

from grafana_foundation_sdk.models.dashboard import Dashboard

from dashboards import panels, places, tables
from dashboards.board import Panel, board, choice
from dashboards.panels import COUNT, SECONDS, SHARE, Limits, Query, Text, each
from dashboards.tables import Column
from spanrun import semconv
from spanrun.slo import dashboard as recording
from spanrun.slo import panels as recorded
from spanrun.slo import records
from spanrun.slo.promql import label

_GROUPS: Final = tuple(map(label, (semconv.SERVICE_NAME, semconv.SPANRUN_RUNNER_NAME)))
"""What the shipped objectives group by; empty of those that don't."""
_NAME: Final = " ".join(f"{{{{{name}}}}}" for name in ("slo", *_GROUPS))
_CHOSEN: Final = '{slo=~"$slo"}'


def slo() -> Dashboard:
    """The dashboard: what `spanrun.slo` has to show, with the worst of it on top."""
    return board(
        places.SLO.uid,
        "spanrun · SLO",
        "How much of each error budget is left, and how fast it is spent. Made of "
        "what the rules of `spanrun slo compile` record.",
        [
            (
                "Now",
                [_worst(), _fastest(), _firing(), _targets()],
                places.ERRORS,
            ),
            (
                "Each objective",
                [
                    panels.lines(
                        panel.title,
                        panel.description,
                        panel.unit,
                        *_queries(panel),
                        signed=True,
                        to=[places.RUNS],
                    )
                    for panel in recorded()
                ],
                places.ERRORS,
            ),
        ],
        [choice("slo", "Objective", records.ERROR_BUDGET, "slo")],
    )


def _queries(panel: recording.Panel) -> Iterator[Query]:
    yield Query(panel.expr, _NAME)
    if panel.limit:
        legend = f"{_NAME} may be" if "$slo" in panel.limit else "the budget just lasts"
        yield Query(panel.limit, legend)


def _targets() -> Panel:
    return tables.compared(
        "Objectives",
        Text(
            "What each objective asks for, and how it stands.",
            "little budget left, or little time until it is gone.",
            "The how-to is *errors burn the budget*.",
        ),
        [
            ("slo", "objective"),
            (semconv.SERVICE_NAME, "service"),
            (semconv.SPANRUN_RUNNER_NAME, "runner"),
        ],
        [
            Column("target", SHARE, _each(f"{records.OBJECTIVE}{_CHOSEN}")),
            Column("days", COUNT, _each(f"{records.PERIOD_DAYS}{_CHOSEN}")),
            Column(
                "budget left",
                SHARE,
                _each(f"{records.BUDGET_REMAINING}{_CHOSEN}"),
                Limits(0.25, 0),
            ),
            Column("bad", SHARE, _each(f"{records.ratio(records.PERIOD)}{_CHOSEN}")),
            Column("lasts for", SECONDS, _each(_exhausted())),
        ],
        ["bad"],
    )


def _each(expression: str) -> str:
    """With these labels alone, so that the rows of columns meet."""
    return f"max by (slo, {', '.join(_GROUPS)}) ({expression})"


def _exhausted() -> str:
    (found,) = (each for each in recorded() if each.title == "Time to exhaustion")
    return found.expr


def _worst() -> Panel:
    return panels.number(
        "Least budget left",
        Text(
            "What is left of the budget of the objective that is worst off.",
            "below 25 %: little may go wrong now. Below 0: the objective is broken.",
            "Stop what adds risk. The how-to is *errors burn the budget*.",
        ),
        SHARE,
        Query(f"min({records.BUDGET_REMAINING}{_CHOSEN})"),
        Limits(0.25, 0),
        width=8,
        to=[places.RUNS],
    )


def _fastest() -> Panel:
    window = "1h"
    rate = f"{records.ratio(window)}{_CHOSEN} / {records.ERROR_BUDGET}{_CHOSEN}"
    return panels.number(
        "Fastest burn in the last hour",
        Text(
            "How many times too fast the worst objective spent its budget in the last "
            "hour. At 1 the budget lasts exactly for its period.",
            "above 1 for long; above 14 a budget of 30 days is gone in two.",
            "The how-to is *errors burn the budget*.",
        ),
        each("×"),
        Query(f"max({rate})"),
        Limits(1, 14),
        width=8,
        to=[places.RUNS],
    )


def _firing() -> Panel:
    firing = 'ALERTS{alertstate="firing", slo=~"$slo"}'
    return panels.number(
        "Alerts firing",
        Text(
            "Alerts of these objectives that fire now.",
            "any.",
            "Each alert names its run book; open it, and *Runs* beside it.",
        ),
        each("alerts"),
        Query(f"count({firing}) or vector(0)"),
        Limits(1, 1),
        width=8,
        to=[places.RUNS],
    )
