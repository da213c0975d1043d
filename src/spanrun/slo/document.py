"""A YAML file of which every part knows its name and its line."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final

from spanrun.errors import ConfigurationError
from spanrun.extras import load
from spanrun.text import one_line

_STRING: Final = "tag:yaml.org,2002:str"
_NULL: Final = "tag:yaml.org,2002:null"
_BOOL: Final = "tag:yaml.org,2002:bool"
_NUMBERS: Final = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")


def documents(text: str, source: str) -> list[Part]:
    """The documents of a YAML text, without the empty ones.

    Args:
        text: The text.
        source: The file's name, for messages.

    Raises:
        ConfigurationError: It isn't YAML, with the line; or PyYAML isn't there.
    """
    yaml = pyyaml()
    try:
        nodes = list(yaml.compose_all(text, Loader=yaml.SafeLoader))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        why = getattr(error, "problem", None) or getattr(error, "reason", "") or error
        raise ConfigurationError(
            one_line(f"{source}{line} isn't YAML, {why}: mend that line")
        ) from error
    except RecursionError as error:
        raise ConfigurationError(
            f"{one_line(source)} is nested too deeply: it isn't an objective, name "
            "another file"
        ) from error
    return [Part(node, "", source, _line(node)) for node in nodes if node.tag != _NULL]


def pyyaml() -> ModuleType:
    """PyYAML.

    Raises:
        ConfigurationError: It isn't there.
    """
    return load("reading an SLO file", "yaml")


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a file. What reads it raises ConfigurationError if it's unlike that.

    Attributes:
        node: PyYAML's.
        path: Its name from the top, as ``spec.objectives[0].target``.
        source: The file's name.
        line: Where it begins, from 1.
    """

    node: Any
    path: str
    source: str
    line: int

    def wrong(self, what: str, to_do: str) -> ConfigurationError:
        """The error that says where it is, ``what`` it is and what ``to_do``."""
        name = self.path or "the document"
        where = f"{self.source}:{self.line}"
        return ConfigurationError(one_line(f"{where}: {name} {what}: {to_do}"))

    def fields(self, *known: str) -> dict[str, Part]:
        """The fields of a mapping, of which no others are allowed than ``known``."""
        found: dict[str, Part] = {}
        for key, part in self.pairs():
            if key not in known:
                raise part.wrong(
                    "is not in the subset of OpenSLO that spanrun knows",
                    f"remove it, here may be {', '.join(known)}",
                )
            found[key] = part
        return found

    def pairs(self) -> Iterator[tuple[str, Part]]:
        """The fields of a mapping, whatever they are called; each once."""
        if self.node.id != "mapping":
            raise self.wrong("is no mapping", "write one, as name and value")
        seen: set[str] = set()
        for key, value in self.node.value:
            name = str(key.value) if key.id == "scalar" else "?"
            path = f"{self.path}.{name}" if self.path else name
            # The line of the key: a value may begin on the next one.
            part = Part(value, path, self.source, _line(key))
            if name in seen:
                raise part.wrong("is there twice", "leave one of them")
            seen.add(name)
            yield name, part

    def items(self) -> list[Part]:
        """The items of a list."""
        if self.node.id != "sequence":
            raise self.wrong("is no list", "write one, as lines that begin with -")
        return [
            Part(node, f"{self.path}[{number}]", self.source, _line(node))
            for number, node in enumerate(self.node.value)
        ]

    @property
    def is_list(self) -> bool:
        """Whether it is a list."""
        return bool(self.node.id == "sequence")

    @property
    def is_mapping(self) -> bool:
        """Whether it is a mapping."""
        return bool(self.node.id == "mapping")

    def value(self) -> str:
        """A single value, a number too, as it is written."""
        if self.node.id != "scalar" or self.node.tag == _NULL:
            raise self.wrong("is no single value", "write one")
        return str(self.node.value)

    def text(self) -> str:
        """A text that isn't empty."""
        value = self.value().strip()
        if self.node.tag != _STRING or not value:
            raise self.wrong(f"is {value!r}", "it must be a text, quote it if it is")
        if not all(each.isprintable() or each.isspace() for each in value):
            raise self.wrong(f"is {value!r}", "it must be printable")
        return value

    def word(self, *allowed: str) -> str:
        """One of the ``allowed`` words."""
        value = self.value()
        if value not in allowed:
            raise self.wrong(f"is {value!r}", f"it must be {' or '.join(allowed)}")
        return value

    def flag(self) -> bool:
        """True or false."""
        if self.node.id != "scalar" or self.node.tag != _BOOL:
            raise self.wrong("is neither true nor false", "it must be one of them")
        return self.value().lower() in ("true", "yes", "on")

    def number(self) -> float:
        """A finite number."""
        if self.node.id == "scalar" and self.node.tag in _NUMBERS:
            try:
                number = float(self.value().replace("_", ""))
            except ValueError:  # sexagesimal, octal and the like
                number = math.nan
            if math.isfinite(number):
                return number
        shown = self.value() if self.node.id == "scalar" else "a list or a mapping"
        raise self.wrong(f"is {shown!r}", "it must be a plain number, as 0.5")


def _line(node: Any) -> int:
    return int(node.start_mark.line) + 1
