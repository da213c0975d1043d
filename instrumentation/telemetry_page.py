"""`docs/reference/telemetry.md`, written from the registry."""

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Final

from instrumentation.conventions import (
    Attribute,
    Metric,
    Ref,
    Registry,
    Signal,
    Span,
    prometheus_name,
)

_HEAD: Final = """\
# Telemetry

Every name that spanrun emits. Attributes that you set yourself keep your names.

- **Units**: `s` is seconds, with a fraction; `By` is bytes; a word in braces, as in
  `{job}`, is what is counted. Attributes that hold a time are in seconds too.
- **In Prometheus** a dot is an underscore, in label names too: `spanrun.runner.name`
  is `spanrun_runner_name`. A histogram is `…_bucket`, `…_sum` and `…_count`. The
  label `job` is `service.name`, `instance` is `service.instance.id`.
- **Metrics are exact**, whatever the sampling of traces. A metric's attributes have
  few values; what may have many (index, key, URL, text) is on spans only.
- **Level**: *required* is always there; *recommended* is there when it is known;
  else the table says when.
- **Stability**: a *development* name may change with a release; a *stable* one is
  OpenTelemetry's and doesn't.
- In code, use the constants of `spanrun.semconv`."""

_NO_ATTRIBUTES: Final = "none"


def render(registry: Registry) -> str:
    """The text of the page, without the line that says it is generated."""
    blocks = chain(
        [_HEAD],
        _metrics(registry.metrics),
        _spans(registry.spans),
        _events(registry.events),
        _resource(registry.entities),
        _attributes(registry.attributes.values()),
    )
    return "\n\n".join(blocks) + "\n"


def _metrics(metrics: Iterable[Metric]) -> Iterator[str]:
    found = list(metrics)
    yield "## Metrics"
    yield _table(
        ("metric", "kind", "unit", "in Prometheus", "meaning"),
        (
            (
                _code(metric.name),
                metric.instrument,
                _code(metric.unit),
                _code(prometheus_name(metric)),
                _meaning(metric),
            )
            for metric in found
        ),
    )
    yield "### Attributes of each metric"
    yield _table(
        ("metric", "attributes", "stability"),
        (
            (
                _code(metric.name),
                ", ".join(map(_code, metric.keys)) or _NO_ATTRIBUTES,
                metric.stability,
            )
            for metric in found
        ),
    )
    yield "### Buckets of each histogram"
    sharing: dict[tuple[float, ...], list[str]] = {}
    for metric in found:
        sharing.setdefault(metric.boundaries, []).append(_code(metric.name))
    sharing.pop((), None)
    yield _table(
        ("histogram", "upper bounds"),
        (
            (", ".join(names), " · ".join(map(_number, boundaries)))
            for boundaries, names in sharing.items()
        ),
    )


def _spans(spans: Iterable[Span]) -> Iterator[str]:
    found = list(spans)
    yield "## Spans"
    yield (
        "They nest: run ⊃ batch ⊃ job ⊃ attempt ⊃ client call. The status is ERROR for "
        "what failed or ran out of time, else UNSET: the library never sets OK."
    )
    yield _table(
        ("span", "name", "kind", "meaning", "stability"),
        (
            (
                _code(span.name),
                _code(span.title),
                span.kind.upper(),
                _meaning(span),
                span.stability,
            )
            for span in found
        ),
    )
    for span in found:
        yield f"### Attributes of `{span.name}`"
        yield _levels(span.refs)


def _events(events: Iterable[Signal]) -> Iterator[str]:
    yield "## Events on spans"
    for event in events:
        yield f"### `{event.name}`"
        yield f"{_meaning(event)} Stability: {event.stability}."
        yield _levels(event.refs)


def _resource(entities: Iterable[Signal]) -> Iterator[str]:
    yield "## Resource"
    yield "On everything that a process sends."
    yield _levels(ref for entity in entities for ref in entity.refs)


def _attributes(attributes: Iterable[Attribute]) -> Iterator[str]:
    found = list(attributes)
    yield "## All attributes"
    yield "An attribute with values has one of them, and no other unless they end in …"
    yield _table(
        ("attribute", "type", "meaning", "stability"),
        ((_code(at.key), _type(at), _meaning(at), at.stability) for at in found),
    )
    yield "## Meaning of the values"
    yield _table(
        ("attribute", "value", "meaning"),
        (
            (_code(at.key), _code(member.value), member.brief)
            for at in found
            for member in at.members
            if member.brief
        ),
    )


def _type(attribute: Attribute) -> str:
    if not attribute.members:
        return attribute.type
    values = [_code(member.value) for member in attribute.members]
    return ", ".join([*values, "…"] if attribute.is_open else values)


def _levels(refs: Iterable[Ref]) -> str:
    return _table(
        ("attribute", "level"), ((_code(ref.key), _level(ref)) for ref in refs)
    )


def _level(ref: Ref) -> str:
    if ref.level == "conditionally_required":
        return f"when {ref.condition}"
    level = ref.level.replace("_", " ")
    return f"{level} when {ref.condition}" if ref.condition else level


def _meaning(thing: Attribute | Signal) -> str:
    return f"{thing.brief} {thing.note}".strip()


def _code(text: str) -> str:
    return f"`{text}`"


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() else repr(value)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |"
        for line in lines
    )
