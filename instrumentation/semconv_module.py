"""`src/spanrun/semconv.py`, written from the registry, as ruff formats it."""

import json
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Final

from instrumentation.conventions import (
    Attribute,
    Metric,
    Registry,
    Signal,
    constant_name,
)

_WIDTH: Final = 88

_HEAD = '''\
"""The names of all telemetry: generated, use the constants, never the text.

`ATTRIBUTES` has the type of each attribute, `VALUES` the values of those that
allow no other; `SPANS` and `EVENTS` have what belongs on each kind of them.
"""

from typing import Final, Literal, NamedTuple, TypeAlias

Instrument: TypeAlias = Literal["counter", "updowncounter", "gauge", "histogram"]


class Metric(NamedTuple):
    """One metric as the registry defines it. Only a histogram has boundaries."""

    name: str
    instrument: Instrument
    unit: str
    description: str
    attributes: tuple[str, ...]
    required: tuple[str, ...] = ()
    boundaries: tuple[float, ...] = ()


class Signal(NamedTuple):
    """What may be, and must be, on a kind of span or on an event.

    Only a span has a kind, and a title: the form of the names of such spans.
    """

    attributes: tuple[str, ...]
    required: tuple[str, ...] = ()
    kind: str = ""
    title: str = ""

'''


def render(registry: Registry) -> str:
    """The text of the module, without the line that says it is generated."""
    attributes = registry.attributes.values()
    enums = [attribute for attribute in attributes if attribute.members]
    parts = chain(
        [_HEAD, "# Attributes"],
        (_constant(attribute.key) for attribute in attributes),
        ["", "# Allowed values"],
        chain.from_iterable(map(_enum, enums)),
        ["", "# Events"],
        (_constant(event.name, "EVENT_") for event in registry.events),
        ["", "# Metrics"],
        _metrics(registry.metrics),
        [""],
        _tables(registry),
    )
    return "\n".join(parts) + "\n"


def _constant(name: str, prefix: str = "") -> str:
    return f'{prefix}{constant_name(name)}: Final = "{name}"'


def _enum(attribute: Attribute) -> Iterator[str]:
    values = [f'"{member.value}"' for member in attribute.members]
    if attribute.is_closed:
        alias = attribute.key.title().replace(".", "").replace("_", "")
        yield _collection(f"{alias}: TypeAlias = Literal", "[]", values)
    name = f"{constant_name(attribute.key)}_VALUES"
    yield _collection(f"{name}: Final = ", "()", values)


def _metrics(metrics: Iterable[Metric]) -> Iterator[str]:
    known: dict[tuple[float, ...], str] = {}
    for metric in metrics:
        constant = f"METRIC_{constant_name(metric.name)}"
        keys = map(constant_name, metric.keys)
        yield f"{constant}: Final = Metric("
        yield f'    name="{metric.name}",'
        yield f'    instrument="{metric.instrument}",'
        yield f'    unit="{metric.unit}",'
        yield f"    description={json.dumps(metric.brief)},"
        yield _collection("attributes=", "()", keys, depth=1) + ","
        yield from _required(metric, depth=1)
        if metric.boundaries in known:
            yield f"    boundaries={known[metric.boundaries]}.boundaries,"
        elif metric.boundaries:
            known[metric.boundaries] = constant
            numbers = map(repr, metric.boundaries)
            yield _collection("boundaries=", "()", numbers, depth=1) + ","
        yield ")"


def _tables(registry: Registry) -> Iterator[str]:
    metrics = (f"METRIC_{constant_name(metric.name)}" for metric in registry.metrics)
    yield _collection("METRICS: Final = ", "()", metrics)
    attributes = registry.attributes.values()
    types = (f'{constant_name(at.key)}: "{at.type}"' for at in attributes)
    yield _collection("ATTRIBUTES: Final[dict[str, str]] = ", "{}", types)
    closed = (constant_name(at.key) for at in attributes if at.is_closed)
    values = (f"{name}: {name}_VALUES" for name in closed)
    yield _collection("VALUES: Final[dict[str, tuple[str, ...]]] = ", "{}", values)
    yield "SPANS: Final[dict[str, Signal]] = {"
    for span in registry.spans:
        kind = f'    kind="{span.kind}",', f'    title="{span.title}",'
        yield from _signal(f'"{span.name.removeprefix("spanrun.")}"', span, *kind)
    yield "}"
    yield "EVENTS: Final[dict[str, Signal]] = {"
    for event in registry.events:
        yield from _signal(f"EVENT_{constant_name(event.name)}", event)
    yield "}"


def _signal(key: str, signal: Signal, *more: str) -> Iterator[str]:
    keys = map(constant_name, signal.keys)
    yield f"    {key}: Signal("
    yield _collection("attributes=", "()", keys, depth=2) + ","
    yield from _required(signal, depth=2)
    yield from (f"    {line}" for line in more)
    yield "    ),"


def _required(signal: Signal, *, depth: int) -> Iterator[str]:
    keys = [constant_name(ref.key) for ref in signal.refs if ref.level == "required"]
    if keys:
        yield _collection("required=", "()", keys, depth=depth) + ","


def _collection(
    start: str, brackets: str, items: Iterable[str], *, depth: int = 0
) -> str:
    """On one line when it fits, else one item a line."""
    left, right = brackets[0], brackets[1]
    found = list(items)
    indent = "    " * depth
    only = "," if brackets == "()" and len(found) == 1 else ""
    line = f"{indent}{start}{left}{', '.join(found)}{only}{right}"
    # Inside a call or a display the comma after it must fit as well.
    if len(line) + bool(depth) <= _WIDTH:
        return line
    lines = "".join(f"{indent}    {item},\n" for item in found)
    return f"{indent}{start}{left}\n{lines}{indent}{right}"
