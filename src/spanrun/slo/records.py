"""The series that the rules record: what they are called, and how they are asked for.

All series of one objective have the same two labels, ``slo`` and ``service``, so
that one can be divided by another as they stand.
"""

from __future__ import annotations

from typing import Final

BASE: Final = "1m"
"""The window that is counted from the telemetry; the others are sums of it."""

PERIOD: Final = "period"
"""The window of the budget, of 28 or 30 days."""

ERROR_BUDGET: Final = "slo:error_budget:ratio"
"""The share of events that may be bad: 0.01 for an objective of 99 %."""

OBJECTIVE: Final = "slo:objective:ratio"
"""The share of events that must be good: 0.99 for an objective of 99 %."""

PERIOD_DAYS: Final = "slo:time_period:days"
"""For how long the budget is."""

BUDGET_REMAINING: Final = "slo:budget_remaining:ratio"
"""What is left of the period's budget: 1 untouched, 0 used up, below 0 overdrawn."""


def bad(window: str) -> str:
    """The number of bad events in the window."""
    return f"slo:bad:increase_{window}"


def total(window: str) -> str:
    """The number of events in the window."""
    return f"slo:total:increase_{window}"


def ratio(window: str) -> str:
    """The share of the window's events that is bad; absent without events."""
    return f"slo:bad:ratio_{window}"
