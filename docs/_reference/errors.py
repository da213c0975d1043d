"""`reference/errors.md`: the tree of errors, from its code."""

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from docs._reference.docstring import markdown

from spanrun import errors

_SOURCE: Final = Path(errors.__file__).parent

_HEAD: Final = """\
# Errors

All are in `spanrun.errors`; some are in `spanrun` as well. Catch `SpanrunError` for
everything that spanrun raises itself.

**Your own exceptions are never wrapped.** They come out of `call` and `map` as they
were raised, and are `Err.error` where outcomes are collected, with one note that says
which job, attempt and wait they belong to:

```text
ValueError: no such row
job 3 of 'rows' · attempt 2/4 · waited 12 ms for a slot
```

So `except ValueError` works as if spanrun weren't there. `KeyboardInterrupt`,
`SystemExit` and the caller's own cancellation are never turned into an outcome: see
[cancellation](../explanation/cancellation.md).
"""


def render() -> str:
    """The page."""
    tree = inspect.cleandoc(errors.__doc__ or "").split("::\n\n")[1].split("\n\n")[0]
    parts = [_HEAD, f"```text\n{inspect.cleandoc(tree)}\n```\n", "## Each of them\n"]
    used = set(_used())
    for error in classes():
        names = [base.__name__ for base in error.__bases__]
        public = " · in `spanrun` too" if error.__name__ in _exported() else ""
        parts.append(f"### `{error.__name__}`\n")
        kinds = " and ".join(f"{_article(name)} `{name}`" for name in names)
        parts.append(f"{kinds[0].upper()}{kinds[1:]}{public}.\n")
        parts.append(f"{markdown(error)}\n")
        below = {each.__name__ for each in classes() if issubclass(each, error)}
        if not below & used:
            parts.append("Nothing raises it yet: the name is reserved.\n")
    return "\n".join(parts)


def classes() -> list[type[Exception]]:
    """Every error, in the order of the tree."""
    found = [each for each in vars(errors).values() if inspect.isclass(each)]
    return [each for each in found if issubclass(each, errors.SpanrunError)]


def _article(name: str) -> str:
    return "an" if name[0] in "AEIO" else "a"


def _exported() -> list[str]:
    import spanrun  # noqa: PLC0415 -- only for its list of names

    return spanrun.__all__


def _used() -> Iterator[str]:
    """The names that are called, or handed on, anywhere but where they are defined."""
    for path in _SOURCE.rglob("*.py"):
        if path.name in ("errors.py", "__init__.py"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                handed = [node.func, *node.args, *(kw.value for kw in node.keywords)]
                yield from (each.id for each in handed if isinstance(each, ast.Name))
