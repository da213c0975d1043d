"""One YAML file of the registry, read so that each mistake names its place."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

import yaml

# The key by which a definition of each section is known.
SECTIONS: Final = {
    "attributes": "key",
    "attribute_groups": "id",
    "entities": "type",
    "events": "name",
    "metrics": "name",
    "spans": "type",
}

_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*")
_UNIT = re.compile(r"s|By|\{[a-z_]+\}")
_REQUIRED: Final = object()
# The one in C, where it was built: 8 ms for all files instead of 78.
_LOADER: Final = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader


class RegistryError(ValueError):
    """The registry can't be used; the text names file, definition and field."""


@dataclass(frozen=True)
class Node:
    """A mapping in a registry file, with the way to it."""

    file: str
    name: str
    data: Mapping[str, object]

    def error(self, problem: str) -> RegistryError:
        """The error to raise for a mistake in this mapping."""
        return RegistryError(f"{self.file}: {self.name}: {problem}")

    def field(self, key: str, default: object = _REQUIRED) -> object:
        """The value as it is; an error when it is missing without a default."""
        value = self.data.get(key, default)
        if value is _REQUIRED:
            raise self.error(f"{key}: is missing")
        return value

    def text(self, key: str, default: object = _REQUIRED) -> str:
        """The value, which must be text, on one line."""
        value = self.field(key, default)
        if not isinstance(value, str):
            raise self.error(f"{key}: must be text, is {value!r}")
        return " ".join(value.split())

    def choice(self, key: str, *allowed: str) -> str:
        """The value, which must be one of those."""
        value = self.text(key)
        if value not in allowed:
            raise self.error(f"{key}: {value!r} is none of {', '.join(allowed)}")
        return value

    def unit(self, key: str) -> str:
        """A unit: seconds, bytes or a counted thing in braces. Never `1`."""
        value = self.field(key)
        if not (isinstance(value, str) and _UNIT.fullmatch(value)):
            raise self.error(f"{key}: {value!r} is none of s, By, {{thing}}")
        return value

    def numbers(self, key: str) -> Iterator[float]:
        """The numbers in a list; none when it isn't there."""
        for value in self._list(key):
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise self.error(f"{key}: must be numbers, has {value!r}")
            yield float(value)

    def node(self, key: str) -> "Node":
        """A mapping in this one; an empty one when it isn't there."""
        return self._child(self.data.get(key, {}), f"{self.name}: {key}")

    def nodes(self, key: str, *, at_least: int = 0) -> "list[Node]":
        """The mappings in a list."""
        entries = self._list(key)
        if len(entries) < at_least:
            raise self.error(f"{key}: must have at least {at_least}")
        return [
            self._child(entry, f"{self.name}: {key}[{index}]")
            for index, entry in enumerate(entries)
        ]

    def definitions(self, section: str) -> "Iterator[Node]":
        """The definitions in a section, each known by its own name."""
        key = SECTIONS[section]
        for node in self.nodes(section):
            name = node.text(key)
            if not _NAME.fullmatch(name):
                raise node.error(f"{key}: {name!r} must be lower-case words with dots")
            yield Node(self.file, name, node.data)

    def _list(self, key: str) -> list[object]:
        entries = self.data.get(key, [])
        if not isinstance(entries, list):
            raise self.error(f"{key}: must be a list")
        return cast("list[object]", entries)

    def _child(self, data: object, name: str) -> "Node":
        if not isinstance(data, dict):
            raise RegistryError(f"{self.file}: {name}: must be a mapping")
        return Node(self.file, name, cast("dict[str, object]", data))


def read(path: Path) -> Node:
    """The file as one mapping of known sections."""
    try:
        text = path.read_text(encoding="utf-8")
        data: object = yaml.load(text, _LOADER)  # noqa: S506 - it is a safe one
    except yaml.YAMLError as error:
        raise RegistryError(f"{path.name}: is no YAML: {error}") from error
    if not isinstance(data, dict):
        raise RegistryError(f"{path.name}: must be a mapping")
    file = Node(path.name, "file", cast("dict[str, object]", data))
    file.choice("file_format", "definition/2")
    for section in file.data:
        if section not in {*SECTIONS, "file_format"}:
            raise file.error(f"{section}: is no section that is used here")
    return file
