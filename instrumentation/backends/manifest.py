"""manifest.toml as values: which backends there are, and what makes each of them."""

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from dataclasses import fields as dataclass_fields
from pathlib import Path
from typing import Literal, cast, get_args

HERE = Path(__file__).resolve().parent
MANIFEST = HERE / "manifest.toml"

# Raise it when a recipe makes something else from the same manifest.
_RECIPES_VERSION = 1

Recipe = Literal["go_install", "go_module", "go_files", "otelcol", "maven", "npm"]


class ManifestError(ValueError):
    """The manifest can't be used; the message names the table and the field."""


@dataclass(frozen=True)
class Backend:
    """One backend, pinned.

    `programs` maps a program's name to the package which it comes from; a
    backend without programs (Solr) is its folder.
    """

    name: str
    version: str
    recipe: Recipe
    programs: Mapping[str, str] = field(default_factory=dict[str, str])
    module: str = ""
    check: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    components: Mapping[str, tuple[str, ...]] = field(
        default_factory=dict[str, tuple[str, ...]]
    )

    @property
    def tools(self) -> tuple[str, ...]:
        """The commands which the recipe needs; the first one is its toolchain."""
        tools = {"maven": ("java", "javac", "mvn"), "npm": ("node", "npm")}
        return tools.get(self.recipe, ("go",))

    @property
    def fingerprint(self) -> str:
        """A hash of all that decides what the recipe makes."""
        told = json.dumps([_RECIPES_VERSION, asdict(self)], sort_keys=True)
        digest = hashlib.sha256(told.encode())
        for name in self.files:
            digest.update((HERE / name).read_bytes())
        return digest.hexdigest()


_FIELDS = {spec.name for spec in dataclass_fields(Backend)} - {"name"}


def load(path: Path = MANIFEST) -> dict[str, Backend]:
    """Read the manifest, in its own order.

    Raises:
        ManifestError: a field is missing, unknown or of the wrong kind.
    """
    return parse(path.read_text(encoding="utf-8"))


def parse(text: str) -> dict[str, Backend]:
    """Turn a manifest's text into backends by name (see `load`)."""
    try:
        tables: dict[str, object] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ManifestError(f"manifest: {error}") from error
    return {name: _backend(name, table) for name, table in tables.items()}


def _backend(name: str, table: object) -> Backend:
    if not isinstance(table, dict):
        raise ManifestError(f"manifest: {name} must be a table, [{name}]")
    fields = cast("dict[str, object]", table)
    unknown = fields.keys() - _FIELDS
    if unknown:
        raise ManifestError(f"[{name}]: unknown field {min(unknown)!r}")
    recipe = _text(name, fields, "recipe")
    if recipe not in get_args(Recipe):
        known = ", ".join(get_args(Recipe))
        raise ManifestError(f"[{name}] recipe={recipe!r}: must be one of {known}")
    backend = Backend(
        name=name,
        version=_text(name, fields, "version"),
        recipe=cast("Recipe", recipe),
        programs=_table(name, fields, "programs"),
        module=_text(name, fields, "module", required=False),
        check=_texts(name, "check", fields.get("check", [])),
        files=_texts(name, "files", fields.get("files", [])),
        components={
            kind: _texts(name, f"components.{kind}", modules)
            for kind, modules in _mapping(name, fields, "components").items()
        },
    )
    if backend.recipe != "maven" and not backend.programs:
        raise ManifestError(f"[{name}]: the recipe {recipe} needs programs")
    if backend.recipe in {"go_module", "otelcol"} and not backend.module:
        raise ManifestError(f"[{name}]: the recipe {recipe} needs module")
    return backend


def _text(
    name: str, fields: Mapping[str, object], key: str, *, required: bool = True
) -> str:
    value = fields.get(key, None if required else "")
    if not isinstance(value, str) or (required and not value):
        raise ManifestError(f"[{name}] {key}={value!r}: must be a text")
    return value


def _texts(name: str, key: str, value: object) -> tuple[str, ...]:
    items = cast("list[object]", value) if isinstance(value, list) else [None]
    if not all(isinstance(item, str) for item in items):
        raise ManifestError(f"[{name}] {key}={value!r}: must be a list of texts")
    return tuple(cast("list[str]", items))


def _mapping(name: str, fields: Mapping[str, object], key: str) -> dict[str, object]:
    value = fields.get(key, {})
    if not isinstance(value, dict):
        raise ManifestError(f"[{name}] {key}={value!r}: must be a table")
    return cast("dict[str, object]", value)


def _table(name: str, fields: Mapping[str, object], key: str) -> dict[str, str]:
    table = _mapping(name, fields, key)
    return {entry: _text(f"{name}.{key}", table, entry) for entry in table}
