"""The telemetry's names as values: attributes, spans, metrics, events, resource."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Member:
    """One allowed value of an enum attribute."""

    value: str
    brief: str


@dataclass(frozen=True)
class Attribute:
    """An attribute's definition. `members` is empty unless it is an enum."""

    key: str
    type: str
    brief: str
    note: str
    stability: str
    members: tuple[Member, ...]
    is_open: bool

    @property
    def is_closed(self) -> bool:
        """Only the members are allowed."""
        return bool(self.members) and not self.is_open


@dataclass(frozen=True)
class Ref:
    """An attribute's place on a signal; `condition` says when it is there."""

    key: str
    level: str
    condition: str


@dataclass(frozen=True)
class Signal:
    """What spans, metrics, events and resource entities have in common."""

    name: str
    brief: str
    note: str
    stability: str
    refs: tuple[Ref, ...]

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of its attributes, in the registry's order."""
        return tuple(ref.key for ref in self.refs)


@dataclass(frozen=True)
class Span(Signal):
    """A kind of span; `title` is the form of the names of such spans."""

    kind: str
    title: str


@dataclass(frozen=True)
class Metric(Signal):
    """A metric; `boundaries` is empty unless it is a histogram."""

    instrument: str
    unit: str
    boundaries: tuple[float, ...]


@dataclass(frozen=True)
class Registry:
    """All definitions, in the order of the files and of the lines in them."""

    attributes: Mapping[str, Attribute]
    spans: tuple[Span, ...]
    metrics: tuple[Metric, ...]
    events: tuple[Signal, ...]
    entities: tuple[Signal, ...]


def constant_name(name: str) -> str:
    """`spanrun.job.outcome` as a Python constant."""
    return name.upper().replace(".", "_")


def prometheus_name(metric: Metric) -> str:
    """The metric's name in Prometheus, by the OTLP translation with suffixes."""
    name = metric.name.replace(".", "_")
    suffix = {"s": "_seconds", "By": "_bytes"}.get(metric.unit, "")
    total = "_total" if metric.instrument == "counter" else ""
    return name + suffix + total
