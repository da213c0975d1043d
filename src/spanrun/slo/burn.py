"""When a burn of the budget is worth waking somebody: windows and factors.

Multi-window, multi-burn-rate alerts, as in The Site Reliability Workbook, chapter
5: the long window says that it matters, the short one that it still goes on.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, TypeAlias

from spanrun.slo.model import Period, Slo

Severity: TypeAlias = Literal["page", "ticket"]

MINUTES: Final = {
    "5m": 5,
    "30m": 30,
    "1h": 60,
    "2h": 120,
    "6h": 360,
    "1d": 1_440,
    "3d": 4_320,
}
"""All windows of the alerts, in minutes."""

ALERT_WINDOWS: Final = tuple(MINUTES)


class Burn(NamedTuple):
    """One condition of an alert.

    Attributes:
        severity: What happens when it is met.
        long: The window in which ``share`` of the budget is spent.
        short: The window that must burn as fast, so that it ends soon after.
        share: Of the period's budget.
    """

    severity: Severity
    long: str
    short: str
    share: float

    def factor(self, period: Period) -> float:
        """How many times faster than allowed ``share`` is spent within ``long``."""
        return self.share * period * MINUTES["1d"] / MINUTES[self.long]


BURNS: Final = (
    Burn("page", "1h", "5m", 0.02),
    Burn("page", "6h", "30m", 0.05),
    Burn("ticket", "1d", "2h", 0.10),
    Burn("ticket", "3d", "6h", 0.10),
)


def burns(slo: Slo, severity: Severity) -> list[tuple[Burn, float]]:
    """The conditions that ``slo`` can meet, each with its factor.

    A low objective leaves some out: when a fifth may fail, even if all fails the
    budget burns only five times too fast.
    """
    return [
        (burn, factor)
        for burn in BURNS
        if burn.severity == severity
        and (factor := burn.factor(slo.period)) * slo.budget < 1
    ]
