"""What a dashboard shows of an objective, as data; the rules record all of it."""

from __future__ import annotations

from typing import Final, NamedTuple

from spanrun.slo import records
from spanrun.slo.burn import ALERT_WINDOWS
from spanrun.slo.model import Slo

_DAY: Final = 86_400
_COUNT: Final = "short"


class Panel(NamedTuple):
    """One panel.

    Attributes:
        title: What it shows.
        description: What a bad value means, and what to do.
        expr: PromQL.
        unit: Grafana's name of the unit.
        limit: PromQL of what the value is held against, drawn as a line of its own;
            empty without any.
    """

    title: str
    description: str
    expr: str
    unit: str
    limit: str = ""


def panels(slo: Slo | str = "$slo") -> list[Panel]:
    """The panels of ``slo``: budget, events, errors, time to exhaustion, burn rates.

    Args:
        slo: An objective, or a regular expression for names, such as a variable
            of the dashboard.
    """
    chosen = f'{{slo="{slo.name}"}}' if isinstance(slo, Slo) else f'{{slo=~"{slo}"}}'
    period = records.PERIOD
    return [
        Panel(
            "Error budget remaining",
            "What is left of the period's budget. At 0 it is used up, below it the "
            "objective is broken: stop what adds risk, and find what burns it.",
            f"{records.BUDGET_REMAINING}{chosen}",
            "percentunit",
        ),
        Panel(
            "Bad events, share of the period",
            "The bad ones among all events of the period. Above the budget, which "
            "is 1 less the objective, the objective is broken.",
            f"{records.ratio(period)}{chosen}",
            "percentunit",
            f"{records.ERROR_BUDGET}{chosen}",
        ),
        Panel(
            "Time to exhaustion",
            "How long what is left of the budget lasts, if bad events go on as in the "
            "last hour. A gap means that there were none. Under a day: act now.",
            f"clamp_min({records.BUDGET_REMAINING}{chosen}, 0) "
            f"* {records.PERIOD_DAYS}{chosen} * {_DAY} / "
            f"({records.ratio('1h')}{chosen} / {records.ERROR_BUDGET}{chosen} > 0)",
            "s",
        ),
        Panel(
            "Events in the period",
            "All events that count. Few of them make every failure weigh much.",
            f"{records.total(period)}{chosen}",
            _COUNT,
        ),
        Panel(
            "Bad events in the period",
            "The failures, or the slow ones. See the run book of the alert.",
            f"{records.bad(period)}{chosen}",
            _COUNT,
        ),
        *(_burn_rate(window, chosen) for window in ALERT_WINDOWS),
    ]


def _burn_rate(window: str, chosen: str) -> Panel:
    return Panel(
        f"Burn rate, {window}",
        "How many times too fast the budget is spent: at 1 it lasts exactly for the "
        "period. A gap means that there were no events.",
        f"{records.ratio(window)}{chosen} / {records.ERROR_BUDGET}{chosen}",
        "suffix: ×",
        "vector(1)",
    )
