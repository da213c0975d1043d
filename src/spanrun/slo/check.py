"""Whether an objective is met, given how many events were bad."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from spanrun.slo import promql
from spanrun.slo.model import Slo

_ROUNDING: Final = 1e-9

STEP: Final = 300
"""Seconds. The queries of `queries` want to be asked at a multiple of it."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of an objective.

    Attributes:
        slo: The objective.
        bad: How many events were bad.
        total: Of how many.
        group: What the attributes are that the objective groups by.
    """

    slo: Slo
    bad: float
    total: float
    group: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def name(self) -> str:
        """The objective's, with the group's values."""
        values = ", ".join(self.group.values())
        return f"{self.slo.name} ({values})" if values else self.slo.name

    @property
    def ratio(self) -> float | None:
        """The share of bad events; None where there were none at all."""
        return self.bad / self.total if self.total else None

    @property
    def allowed(self) -> float:
        """How many of the events there were may be bad."""
        return self.slo.budget * self.total

    @property
    def met(self) -> bool:
        """Whether no more were bad than may be; so it is without any event."""
        return self.bad <= self.allowed * (1 + _ROUNDING)

    @property
    def remaining(self) -> float:
        """What is left of the budget: 1 is all, 0 nothing, below 0 overdrawn."""
        return 1 - (self.ratio or 0) / self.slo.budget


def queries(slo: Slo) -> tuple[str, str]:
    """PromQL for the events of the period and the part of them: good, or bad.

    They are counted as by the rules, from the telemetry itself. The counts of five
    minutes are put end to end, so ask at a full five minutes of the clock (`STEP`),
    that may be yet to come: else the youngest are missing.
    """
    within, by = promql.FIVE_MINUTES, slo.group_by
    total = promql.total(slo.indicator, within, by)
    part = promql.part(slo.indicator, within, by)
    window = f"[{slo.period}d:{within.length}]"
    return f"sum_over_time(({total}){window})", f"sum_over_time(({part}){window})"


def judge(
    slo: Slo, total: float, part: float, group: Mapping[str, str] | None = None
) -> Verdict:
    """The verdict, from how many events there were, and the good or bad of them."""
    bad = part if slo.part_is_bad else max(total - part, 0)
    return Verdict(slo, bad, total, group or {})
