"""`SolrSchema`: which fields a collection has, as the server tells it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final, cast

from spanrun.clients._solr_query import is_field_name
from spanrun.errors import StoreError

Properties = Mapping[str, Any]

_VALUES: Final = re.compile(
    r"(?:Str|Bool|UUID|EnumField|(?:Int|Long|Float|Double|Date)Point|Trie\w+)(?:Field)?"
)


@dataclass(frozen=True, slots=True)
class SolrSchema:
    """A collection's fields.

    Attributes:
        unique_key: The field that identifies a document.
        fields: The type's name of each field.
        dynamic_fields: The type's name of each pattern, such as ``*_s``.
        types: The properties of each type, as Solr writes them.
    """

    unique_key: str | None
    fields: Mapping[str, str]
    dynamic_fields: Mapping[str, str]
    types: Mapping[str, Properties]

    @classmethod
    def read(cls, answer: Any) -> SolrSchema:
        """The schema in the answer of ``GET {collection}/schema``.

        Raises:
            StoreError: It isn't one.
        """
        try:
            told = cast("Mapping[str, Any]", answer["schema"])
            return cls(
                told.get("uniqueKey"),
                _types_of(told["fields"]),
                _types_of(told.get("dynamicFields", ())),
                {kind["name"]: kind for kind in told["fieldTypes"]},
            )
        except (KeyError, TypeError, AttributeError) as why:
            raise StoreError(f"Solr's answer is no schema: {why!r:.100}") from why

    def type_of(self, field: str) -> Properties | None:
        """The properties of a field's type; None where there is no such field.

        Names that would need quoting in a query are no fields, though a pattern may
        match them.
        """
        if not is_field_name(field):
            return None
        kind = self.fields.get(field)
        if kind is None:  # the longest pattern is the one that Solr takes
            fitting = [p for p in self.dynamic_fields if fnmatchcase(field, p)]
            kind = self.dynamic_fields[max(fitting, key=len)] if fitting else None
        return None if kind is None else self.types.get(kind, {})

    def has_values(self, field: str) -> bool:
        """Whether a field is known and has values as they were given, not words."""
        kind = str((self.type_of(field) or {}).get("class", "")).rpartition(".")[2]
        return _VALUES.fullmatch(kind) is not None


def _types_of(fields: Sequence[Mapping[str, str]]) -> dict[str, str]:
    return {field["name"]: field["type"] for field in fields}
