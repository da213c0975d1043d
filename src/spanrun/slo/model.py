"""An objective as values: what is counted, what is bad, how much of it is allowed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from spanrun.semconv import Metric

Period: TypeAlias = Literal[28, 30]
"""Days of the rolling window."""

MIN_BAD_EVENTS: Final = 5.0
"""An alert's floor, unless the file says otherwise."""


@dataclass(frozen=True, slots=True)
class Match:
    """Which events count, by one attribute of theirs.

    Attributes:
        attribute: Its name in the registry.
        values: Of which the attribute must have one; an attribute that an event
            hasn't is the empty text.
        negated: It must have none of them.
    """

    attribute: str
    values: tuple[str, ...]
    negated: bool = False

    def accepts(self, value: str) -> bool:
        """Whether an event whose attribute is ``value`` counts."""
        return (value in self.values) is not self.negated


Where: TypeAlias = tuple[Match, ...]
"""All of these must accept an event."""


def accepts(where: Where, attributes: Mapping[str, str]) -> bool:
    """Whether an event with these attributes counts."""
    return all(match.accepts(attributes.get(match.attribute, "")) for match in where)


@dataclass(frozen=True, slots=True)
class Availability:
    """Some of the events are good, or bad, by their attributes.

    Attributes:
        metric: A counter, or a histogram, of which only the count is looked at.
        total: All events that count.
        part: Those of them that are good, or bad.
        part_is_bad: Which of the two.
    """

    metric: Metric
    total: Where
    part: Where
    part_is_bad: bool


@dataclass(frozen=True, slots=True)
class Latency:
    """The events up to a threshold are good.

    Attributes:
        metric: A histogram.
        total: All events that count.
        threshold: In the metric's unit; the value itself is good.
        native: Read from the native histogram alone, as an estimate.
    """

    metric: Metric
    total: Where
    threshold: float
    native: bool


Form: TypeAlias = Literal["counters", "window", "share"]
"""What a query of Prometheus gives: series that grow, a number of events in
``{window}``, or a share from 0 to 1."""


@dataclass(frozen=True, slots=True)
class Queried:
    """Events that any metric of Prometheus counts.

    Attributes:
        total: The query for all of them; of a share there is none, and each series that
            there is counts as one event each time.
        part: The query for those that are good, or bad; or for their share.
        part_is_bad: Which of the two.
        form: What both give.
    """

    total: str
    part: str
    part_is_bad: bool
    form: Form


Indicator: TypeAlias = Availability | Latency | Queried


@dataclass(frozen=True, slots=True)
class Slo:
    """One service level objective.

    Attributes:
        name: Unique among all that one Prometheus evaluates.
        title: For people.
        description: For people; may be empty.
        service: Whose it is: a label of everything that is recorded.
        indicator: What is counted.
        target: The share of events that must be good, above 0 and below 1.
        period: Days of the rolling window.
        min_bad_events: An alert waits until so many bad events are in its long
            window.
        runbook: A URL or a path for the alerts; empty for that of the indicator's
            kind.
        group_by: Attributes. Each set of their values has its own budget, rules and
            alerts; empty for one budget of all events.
    """

    name: str
    title: str
    description: str
    service: str
    indicator: Indicator
    target: float
    period: Period
    min_bad_events: float = MIN_BAD_EVENTS
    runbook: str = ""
    group_by: tuple[str, ...] = ()

    @property
    def part_is_bad(self) -> bool:
        """Whether the part of the events that is counted is the bad one."""
        indicator = self.indicator
        return not isinstance(indicator, Latency) and indicator.part_is_bad

    @property
    def budget(self) -> float:
        """The share of events that may be bad."""
        # 1 - 0.99 is 0.010000000000000009: nobody wants to read that in a rule.
        return round(1 - self.target, 12)
