"""What the registry says against telemetry as it is: the rules, on plain values.

Names that begin with ``spanrun.`` are held against it wherever they stand. All
else is, where ``ours`` says that spanrun itself emitted it: the conventions of
others allow more than what spanrun makes use of.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, TypeAlias, cast

from spanrun import semconv

Rule: TypeAlias = Literal[
    "unknown-name",
    "misplaced-name",
    "missing-name",
    "wrong-type",
    "wrong-value",
    "wrong-kind",
    "wrong-unit",
]

SCOPE: Final = "spanrun"
"""The instrumentation scope of what spanrun itself emits."""

_OWN: Final = f"{SCOPE}."
_OVERFLOW: Final = "otel.metric.overflow"
_METRICS: Final = {metric.name: metric for metric in semconv.METRICS}
_TYPES: Final = ((str, "string"), (bool, "boolean"), (int, "int"), (float, "double"))
_SHOWN: Final = 60


class Problem(NamedTuple):
    """One thing that isn't as the registry has it.

    Attributes:
        rule: Which rule it breaks.
        name: The attribute, metric, event or span that breaks it.
        what: What is wrong, and what it should be.
    """

    rule: Rule
    name: str
    what: str


def attribute_problems(
    attributes: Mapping[str, Any], *, ours: bool
) -> Iterator[Problem]:
    """Attributes that the registry doesn't know, or knows otherwise."""
    for key, value in attributes.items():
        if key not in semconv.ATTRIBUTES:
            if key.startswith(_OWN):
                yield _unknown(key, "attribute", semconv.ATTRIBUTES)
        elif ours or key.startswith(_OWN):
            wanted, found = semconv.ATTRIBUTES[key], type_of(value)
            allowed = semconv.VALUES.get(key, ())
            if found != wanted:
                told = f"is {_shown(value)}, of type {found}; must be of type {wanted}"
                yield Problem("wrong-type", key, told)
            elif allowed and value not in allowed:
                told = f"is {_shown(value)}; must be one of {', '.join(allowed)}"
                yield Problem("wrong-value", key, told)


def span_problems(
    name: str, kind: str, attributes: Mapping[str, Any], *, ours: bool
) -> list[Problem]:
    """What is wrong with a span, without its events. ``kind`` is in lower case."""
    found = list(attribute_problems(attributes, ours=ours))
    if not ours:
        return found
    told = f"no span of kind {kind} is called so and has such attributes"
    best = [Problem("unknown-name", name, told)]
    fewest = len(attributes) + len(semconv.ATTRIBUTES)
    for place, signal in semconv.SPANS.items():
        if signal.kind == kind and _form(signal.title).fullmatch(name):
            problems = list(_on_signal(f"a span {place!r}", signal, attributes))
            missing = sum(each.rule == "missing-name" for each in problems)
            is_any = signal.title.startswith("{") and missing == len(signal.required)
            # What says least against it is what it was meant to be.
            if not is_any and len(problems) < fewest:
                best, fewest = problems, len(problems)
    return [*found, *best]


def event_problems(
    name: str, attributes: Mapping[str, Any], *, ours: bool
) -> Iterator[Problem]:
    """What is wrong with an event of a span."""
    yield from attribute_problems(attributes, ours=ours)
    known = semconv.EVENTS.get(name)
    if known is None:
        if name.startswith(_OWN):
            yield _unknown(name, "event", semconv.EVENTS)
    elif ours or name.startswith(_OWN):
        yield from _on_signal(f"an event {name!r}", known, attributes)


def metric_problems(
    name: str, instrument: str, unit: str, *, ours: bool
) -> Iterator[Problem]:
    """What is wrong with a metric, without its points."""
    metric = _METRICS.get(name)
    if metric is None:
        if ours or name.startswith(_OWN):
            yield _unknown(name, "metric", _METRICS)
    elif ours or name.startswith(_OWN):
        if instrument != metric.instrument:
            told = f"is a {instrument}; must be a {metric.instrument}"
            yield Problem("wrong-kind", name, told)
        if unit != metric.unit:
            told = f"has the unit {unit!r}; must be {metric.unit!r}"
            yield Problem("wrong-unit", name, told)


def point_problems(
    name: str, attributes: Mapping[str, Any], *, ours: bool
) -> Iterator[Problem]:
    """What is wrong with the attributes of one point of the metric ``name``."""
    yield from attribute_problems(attributes, ours=ours)
    metric = _METRICS.get(name)
    if metric is None or not (ours or name.startswith(_OWN)):
        return
    if _OVERFLOW in attributes:  # the point in which all beyond the limit are counted
        return
    known = semconv.Signal(metric.attributes, metric.required)
    yield from _on_signal(f"a metric {name!r}", known, attributes)
    for key in attributes:
        if key not in semconv.ATTRIBUTES and not key.startswith(_OWN):
            yield _misplaced(key, f"a metric {name!r}")


def type_of(value: Any) -> str:
    """The type of an attribute's value, as the registry calls it."""
    if isinstance(value, list | tuple):
        value = cast("Sequence[Any]", value)
        kinds = {type_of(each) for each in value}
        inner = kinds.pop() if len(kinds) == 1 else "any" if kinds else "string"
        return f"{inner}[]"
    if isinstance(value, Mapping):
        return "map"
    if value is None:
        return "none"
    return next((name for kind, name in _TYPES if isinstance(value, kind)), "bytes")


def _on_signal(
    place: str, signal: semconv.Signal, attributes: Mapping[str, Any]
) -> Iterator[Problem]:
    for key in attributes:
        own = key.startswith(_OWN) and key in semconv.ATTRIBUTES
        if own and key not in signal.attributes:
            yield _misplaced(key, place)
    for key in signal.required:
        if key not in attributes:
            yield Problem("missing-name", key, f"must be on {place}")


def _misplaced(key: str, place: str) -> Problem:
    return Problem("misplaced-name", key, f"does not belong on {place}")


def _unknown(name: str, kind: str, known: Iterable[str]) -> Problem:
    close = difflib.get_close_matches(name, list(known), 1, 0.8)
    hint = f"; did you mean {close[0]}?" if close else ""
    return Problem("unknown-name", name, f"there is no such {kind}{hint}")


def _form(title: str) -> re.Pattern[str]:
    """What names of a kind of span look like; `re` remembers what it compiled."""
    texts = re.split(r"\{[^}]*\}", title)
    return re.compile(".+".join(map(re.escape, texts)), re.DOTALL)


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= _SHOWN else f"{shown[: _SHOWN - 1]}…"
