"""`check`: what code may not even say, with the line and column where it does.

This gives good messages; it is no wall. The wall is that the code runs in an
interpreter of its own, in a process of its own, which has no way to the system.
"""

from __future__ import annotations

import ast
import symtable
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from types import CodeType
from typing import Final, Literal

from spanrun.errors import UnsafeCode

Mode = Literal["eval", "exec"]

_FILE: Final = "<sandbox>"
_MAX_SOURCE: Final = 16_384  # characters: ≤ 11 MiB while its tree is looked at
_MAX_DOTS: Final = 100  # `import a.a.…`: CPython's parser takes their square in bytes
_REACHING: Final = frozenset(
    (
        *("breakpoint", "compile", "eval", "exec", "exit", "globals"),
        *("help", "input", "locals", "open", "quit", "vars"),
    )
)
_NAMES: Final = ("id", "attr", "name", "arg", "asname", "rest", "names", "kwd_attrs")


@dataclass(frozen=True, slots=True)
class Checked:
    """Code that may be tried.

    Attributes:
        source: Its text.
        used: Names that it looks up somewhere.
        bound: Names that it binds at its outermost level.
    """

    source: str
    used: frozenset[str]
    bound: frozenset[str]


def check(
    source: str | bytes | CodeType,
    mode: Mode,
    imports: Collection[str],
    given: Collection[str],
) -> Checked:
    """Look at the code without running it.

    Args:
        source: The code, in UTF-8 where it is bytes.
        mode: An expression, or statements.
        imports: Modules that it may import.
        given: Names that the caller gives it, whatever they mean elsewhere.

    Raises:
        UnsafeCode: It imports another module, uses a private or dunder name or one
            that reaches out of it, nests too deep or is too long; or it is a code
            object, which can't be looked at.
        SyntaxError: It isn't Python, as this version of Python knows it.
    """
    text = _text(source, mode)
    try:
        tree = ast.parse(text, _FILE, mode)
        bound: frozenset[str] = frozenset()
        if mode == "exec":
            bound = frozenset(_bound(symtable.symtable(text, _FILE, mode)))
    except (RecursionError, MemoryError):
        raise UnsafeCode("the code nests too deep: take it apart") from None
    lines = text.split("\n")
    methods = {
        id(method)
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for method in node.body
        if isinstance(method, ast.FunctionDef)
    }
    used: set[str] = set()
    for node in ast.walk(tree):
        why = _why_not(node, imports, given, method=id(node) in methods)
        if why:
            raise _unsafe(why, node, lines)
        if isinstance(node, ast.Name):
            used.add(node.id)
    return Checked(text, frozenset(used), bound)


def _text(source: str | bytes | CodeType, mode: Mode) -> str:
    if isinstance(source, CodeType):
        raise UnsafeCode("a code object can't be looked at: hand over its source")
    if len(source) > _MAX_SOURCE:
        raise UnsafeCode(
            f"the code has {len(source):,} characters: {_MAX_SOURCE:,} at most"
        )
    try:
        text = source.decode() if isinstance(source, bytes) else source
        text.encode()
    except UnicodeError:
        raise SyntaxError("the source isn't valid UTF-8") from None
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if "\0" in text:  # a SyntaxError in newer versions
        raise SyntaxError("the source has a NUL character")
    for line in text.replace("\\\n", " ").split("\n"):
        if "import" in line and line.count(".") > _MAX_DOTS:
            raise UnsafeCode(f"an import has more than {_MAX_DOTS} dots")
    return text.lstrip(" \t") if mode == "eval" else text


def _bound(table: symtable.SymbolTable) -> Iterator[str]:
    top = table.get_type() == "module"
    for symbol in table.get_symbols():
        binds = symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace()
        if binds and (top or symbol.is_declared_global()):
            yield symbol.get_name()
    for child in table.get_children():
        yield from _bound(child)


def _why_not(
    node: ast.AST, imports: Collection[str], given: Collection[str], *, method: bool
) -> str:
    match node:
        case ast.Import(names=names):
            modules = [alias.name for alias in names]
        case ast.ImportFrom(module=module, level=level):
            modules = ["." * level + (module or "")]
        case _:
            modules = []
    for module in modules:
        if module not in imports:
            allowed = ", ".join(sorted(imports)) or "nothing"
            return f"import of {module!r}: only {allowed} may be imported"
    for name in _names(node):
        dunder = name.startswith("__") and name.endswith("__")
        if name.startswith("_") and name != "_" and not (method and dunder):
            return f"{name!r} is private: use a name that doesn't begin with '_'"
    if isinstance(node, ast.Name) and node.id in _REACHING and node.id not in given:
        return f"{node.id!r} isn't to be had in the sandbox"
    return ""


def _names(node: ast.AST) -> Iterator[str]:
    for field in _NAMES:
        value: str | list[str | ast.AST] | None = getattr(node, field, None)
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, str):
                yield each


def _unsafe(why: str, node: ast.AST, lines: list[str]) -> UnsafeCode:
    line: int = getattr(node, "lineno", 0)
    offset: int = getattr(node, "col_offset", 0)
    if isinstance(node, ast.Attribute):  # it begins where its object does
        line = node.end_lineno or line
        offset = (node.end_col_offset or 0) - len(node.attr.encode())
    before = lines[line - 1].encode()[: max(0, offset)]
    column = len(before.decode(errors="replace")) + 1
    return UnsafeCode(f"line {line}, column {column}: {why}", line, column)
