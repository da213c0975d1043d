"""Reads `instrumentation/registry` into values, and checks it meanwhile.

The files are OpenTelemetry semantic-convention registry files (`definition/2`).
Two annotations are spanrun's: `boundaries` of a histogram's buckets, and `open`
for an enum that other values than its members may appear in.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Final

from instrumentation.conventions import (
    Attribute,
    Member,
    Metric,
    Ref,
    Registry,
    Signal,
    Span,
    constant_name,
)
from instrumentation.registry_file import Node, RegistryError, read

REGISTRY: Final = Path(__file__).resolve().parent / "registry"

# What a reader looks for first comes first; a file that is not named comes last.
_ORDER: Final = (
    *("job", "ledger", "run", "unit", "loop", "telemetry"),
    *("otel", "http", "gen_ai", "db"),
)

# The lists in a signal that name attributes; the first two are an entity's.
_PARTS: Final = ("identity", "description", "attributes")

Groups = Mapping[str, tuple[Ref, ...]]


def load(folder: Path = REGISTRY) -> Registry:
    """Read and check all files of the folder.

    Raises:
        RegistryError: The text names the file, the definition and the field.
    """
    files = [read(path) for path in sorted(folder.glob("*.yaml"), key=_place)]
    if not files:
        raise RegistryError(f"{folder}: no *.yaml file in it")

    def each(section: str) -> Iterator[Node]:
        return (node for file in files for node in file.definitions(section))

    attributes = {at.key: at for at in map(_attribute, _unique(each("attributes")))}
    groups = {
        node.name: _refs(node, "attributes", attributes, {})
        for node in _unique(each("attribute_groups"))
    }

    def signals(section: str) -> Iterator[tuple[Node, tuple[Ref, ...]]]:
        for node in _unique(each(section)):
            parts = (_refs(node, part, attributes, groups) for part in _PARTS)
            yield node, tuple(chain.from_iterable(parts))

    return Registry(
        attributes=attributes,
        spans=tuple(_span(*found) for found in signals("spans")),
        metrics=tuple(_metric(*found) for found in signals("metrics")),
        events=tuple(Signal(*_common(*found)) for found in signals("events")),
        entities=tuple(Signal(*_common(*found)) for found in signals("entities")),
    )


def _place(path: Path) -> tuple[int, str]:
    known = path.stem in _ORDER
    return _ORDER.index(path.stem) if known else len(_ORDER), path.stem


def _unique(nodes: Iterable[Node]) -> Iterator[Node]:
    """Pass them on; a name must not come twice."""
    seen: dict[str, str] = {}
    for node in nodes:
        constant = constant_name(node.name)
        if constant in seen:
            raise node.error(f"is defined twice, also in {seen[constant]}")
        seen[constant] = node.file
        yield node


def _attribute(node: Node) -> Attribute:
    members: tuple[Member, ...] = ()
    kind = node.field("type")
    if isinstance(kind, str):
        type_ = node.choice("type", "string", "int", "double", "boolean", "string[]")
    else:
        type_ = "string"
        members = tuple(
            Member(
                entry.text("value", default=entry.text("id")),
                entry.text("brief", default=""),
            )
            for entry in node.node("type").nodes("members", at_least=1)
        )
        values = [member.value for member in members]
        twice = {value for value in values if values.count(value) > 1}
        if twice:
            raise node.error(f"type.members: {', '.join(sorted(twice))} is there twice")
    notes = node.node("annotations")
    return Attribute(
        key=node.name,
        type=type_,
        brief=node.text("brief"),
        note=node.text("note", default=""),
        stability=node.choice("stability", "development", "stable"),
        members=members,
        is_open=notes.field("open", default=False) is True,
    )


def _refs(
    node: Node, part: str, attributes: Mapping[str, Attribute], groups: Groups
) -> tuple[Ref, ...]:
    found: list[Ref] = []
    for entry in node.nodes(part):
        if "ref_group" in entry.data:
            group = entry.text("ref_group")
            if group not in groups:
                raise entry.error(f"ref_group: {group} is not defined")
            found += groups[group]
            continue
        key = entry.text("ref")
        if key not in attributes:
            raise entry.error(f"ref: {key} is not defined")
        found.append(Ref(key, *_level(entry)))
    keys = [ref.key for ref in found]
    if len(set(keys)) < len(keys):
        raise node.error(f"{part}: an attribute is there twice")
    return tuple(found)


def _level(entry: Node) -> tuple[str, str]:
    level = entry.field("requirement_level")
    if isinstance(level, str):
        allowed = ("required", "recommended", "opt_in")
        return entry.choice("requirement_level", *allowed), ""
    node = entry.node("requirement_level")
    for name in ("conditionally_required", "recommended", "opt_in"):
        if name in node.data:
            return name, node.text(name)
    raise entry.error("requirement_level: no such level")


def _common(
    node: Node, refs: tuple[Ref, ...]
) -> tuple[str, str, str, str, tuple[Ref, ...]]:
    stability = node.choice("stability", "development", "stable")
    note = node.text("note", default="")
    return node.name, node.text("brief"), note, stability, refs


def _span(node: Node, refs: tuple[Ref, ...]) -> Span:
    kinds = ("internal", "client", "server", "producer", "consumer")
    title = node.node("name").text("note")
    return Span(*_common(node, refs), kind=node.choice("kind", *kinds), title=title)


def _metric(node: Node, refs: tuple[Ref, ...]) -> Metric:
    instrument = node.choice(
        "instrument", "counter", "updowncounter", "gauge", "histogram"
    )
    boundaries = tuple(node.node("annotations").numbers("boundaries"))
    if (instrument == "histogram") != bool(boundaries):
        raise node.error("annotations.boundaries: for histograms, and only for them")
    if list(boundaries) != sorted(set(boundaries)):
        raise node.error("annotations.boundaries: must ascend")
    return Metric(
        *_common(node, refs),
        instrument=instrument,
        unit=node.unit("unit"),
        boundaries=boundaries,
    )
