"""`reference/public-api.md`: every public name, from its code."""

import ast
import dataclasses
import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from typing import Any, Final

from docs._reference.docstring import first_line, markdown

WIDTH: Final = 80

PACKAGES: Final = (
    "spanrun",
    "spanrun.engines",
    "spanrun.clients",
    "spanrun.stores",
    "spanrun.ingest",
    "spanrun.sandbox",
    "spanrun.slo",
    "spanrun.async_utils",
    "spanrun.recordings",
    "spanrun.testing",
)
"""Each with an `__all__`: these names are the public API."""

_INSIDE: Final = re.compile(r"\bspanrun\.(?:\w+\.)+")
"""Where a class is defined: it is imported from its package."""

# How a runner takes a policy or an engine up: nobody else calls them.
_INTERNAL: Final = ("attempt_layer", "bind", "deadline_layer")
_INTERNAL_OF_ENGINES: Final = ("dumps", "open")

_HEAD: Final = """\
# Public API

Import each name from the package under which it stands here:
`from spanrun.clients import Embeddings`. A package imports nothing until one of its
names is used. Where a name needs an extra that isn't installed, a `ConfigurationError`
says which. Times are in seconds.

**What is stable?** These names, those of [`spanrun.errors`](errors.md), and the
[command line](cli.md) are public:

- `spanrun`, `spanrun.errors` and the command line are stable: nothing is removed, or
  changes its meaning, before a minor version has warned of it.
- The other packages may change with a minor version until 1.0; the changelog says how.
- Names of metrics, spans and attributes: [the registry](telemetry.md) says it of each.

Everything else is private, and may move or go with any version: the modules inside a
package, and whatever begins with `_`.
"""


def render() -> str:
    """The page."""
    modules = {name: public(name) for name in PACKAGES}
    parts = [_HEAD]
    for module, names in modules.items():
        rows = [
            f"| [`{name}`](#{_anchor(module, name)}) | {_cell(_summary(name, value))} |"
            for name, value in names.items()
        ]
        parts.append("\n".join([f"**`{module}`**", "", "| name | |", "|---|---|"]))
        parts[-1] += "\n" + "\n".join(rows) + "\n"
    for module, names in modules.items():
        parts.append(f"## `{module}`\n")
        for name, value in names.items():
            parts += [f"{part}\n" for part in _entry(_heading(module, name), value)]
    return "\n".join(parts)


def public(module: str) -> dict[str, Any]:
    """The public names of ``module``, and what they stand for."""
    held = importlib.import_module(module)
    return {name: getattr(held, name) for name in held.__all__}


def _heading(module: str, name: str) -> str:
    return name if module == "spanrun" else f"{module.removeprefix('spanrun.')}.{name}"


def _anchor(module: str, name: str) -> str:
    return _heading(module, name).lower().replace(".", "")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _summary(name: str, value: Any) -> str:
    if _alias(name, value):
        return f"`{_alias(name, value)}`"
    return first_line(value) if callable(value) else f"`{value!r}`"


def _entry(title: str, value: Any) -> Iterator[str]:
    yield f"### `{title}`"
    name = title.rpartition(".")[2]
    if _alias(name, value):
        yield f"```python\n{_alias(name, value)}\n```"
    elif not callable(value):
        yield f"```python\n{name} = {value!r}\n```"
    else:
        yield f"```python\n{signature(name, value)}\n```"
        yield markdown(value)
        if inspect.isclass(value):
            for member, found in _members(value):
                yield f"#### `{title}.{member}`"
                yield f"```python\n{signature(member, found)}\n```"
                yield markdown(found)


def _members(owner: type) -> Iterator[tuple[str, Any]]:
    """The public methods and properties that ``owner`` itself defines."""
    is_engine = owner.__module__.startswith("spanrun.engines")
    internal = _INTERNAL + (_INTERNAL_OF_ENGINES if is_engine else ())
    for name, found in vars(owner).items():
        documented = isinstance(found, property) or inspect.isfunction(found)
        if documented and not name.startswith("_") and name not in internal:
            yield name, found


def signature(name: str, value: Any) -> str:
    """How ``value`` is called, on one line or with an argument on each."""
    if isinstance(value, property):
        returns = inspect.signature(value.fget).return_annotation  # type: ignore[arg-type]
        return f"{name}: {_type(returns)}"
    try:
        called = inspect.signature(value)
    except ValueError:  # an exception that has no constructor of its own
        return f"{name}(*args)"
    arguments = [*_arguments(called)]
    returns = ""
    if not inspect.isclass(value) and called.return_annotation is not called.empty:
        returns = f" -> {_type(called.return_annotation)}"
    prefix = "async " if inspect.iscoroutinefunction(value) else ""
    line = f"{prefix}{name}({', '.join(arguments)}){returns}"
    if len(line) <= WIDTH:
        return line
    inner = "".join(f"    {argument},\n" for argument in arguments)
    return f"{prefix}{name}(\n{inner}){returns}"


def _arguments(called: inspect.Signature) -> Iterator[str]:
    keyword_only = positional_only = False
    for parameter in called.parameters.values():
        if positional_only and parameter.kind is not parameter.POSITIONAL_ONLY:
            yield "/"
        positional_only = parameter.kind is parameter.POSITIONAL_ONLY
        if parameter.name == "self":
            positional_only = False
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not keyword_only:
            keyword_only = True
            yield "*"
        keyword_only |= parameter.kind is parameter.VAR_POSITIONAL
        stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}
        text = stars.get(parameter.kind, "") + parameter.name
        if parameter.annotation is not parameter.empty:
            text += f": {_type(parameter.annotation)}"
        if parameter.default is not parameter.empty:
            text += f" = {_default(parameter.default)}"
        yield text
    if positional_only:
        yield "/"


def _type(annotation: Any) -> str:
    if isinstance(annotation, str):
        return annotation.strip("'")
    return _INSIDE.sub("", inspect.formatannotation(annotation))


def _default(value: Any) -> str:
    if isinstance(value, dataclasses._HAS_DEFAULT_FACTORY_CLASS):  # type: ignore[attr-defined] # noqa: SLF001 -- there is no other mark of one
        return "…"
    return getattr(value, "__qualname__", None) or repr(value)


def _alias(name: str, value: Any) -> str:
    """The source of a type alias: it has no signature or docstring of its own."""
    if type(value).__module__ not in ("typing", "types"):
        return ""
    for module in [m for n, m in sorted(sys.modules.items()) if n[:7] == "spanrun"]:
        if vars(module).get(name) is not value:
            continue
        for node in ast.parse(inspect.getsource(module)).body:
            if (
                isinstance(node, ast.AnnAssign)
                and ast.unparse(node.target) == name
                and ast.unparse(node.annotation) == "TypeAlias"
            ):
                return f"{name} = {ast.unparse(node.value)}"  # type: ignore[arg-type]
    return ""
