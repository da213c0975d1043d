"""The house rules: imports point downwards, names come from the registry, size."""

import ast
from pathlib import Path

import pytest

from spanrun import semconv

SRC = Path(__file__).parents[1] / "src" / "spanrun"

LAYERS = {
    "accelerator": 0,
    "causes": 0,
    "checks": 0,
    "descriptors": 0,
    "filenames": 0,
    "errors": 0,
    "extras": 0,
    "lazy": 0,
    "markup": 0,
    "semconv": 0,
    "outcome": 0,
    "clock": 0,
    "quantities": 0,
    "speed": 0,
    "text": 0,
    "secret_forms": 0,
    "secret_words": 0,
    "secret_search": 0,
    "urls": 0,
    "proxies": 0,
    "retry_after": 0,
    "endpoints": 0,
    "_core": 0,
    "_native": 0,
    "settings": 1,
    "slo": 1,
    "policies": 2,
    "telemetry": 3,
    "view": 3,
    "loop": 3,
    "registry": 4,
    "runner": 4,
    "recordings": 5,
    "async_utils": 5,
    "clients": 5,
    "stores": 5,
    "sandbox": 5,
    "engines": 5,
    "ingest": 6,
    "testing": 7,
    "cli": 8,
    "__main__": 9,
    "": 9,
}
"""DESIGN's layers. A part imports from lower ones and from itself."""

GROUND = {part for part, layer in LAYERS.items() if layer == 0}
"""These are one layer of small files, and may import each other."""

ALLOWED = {
    ("loop", "telemetry"): "where its metrics and events go; never the other way",
    ("view", "telemetry"): "the reader of what was recorded; never the other way",
    ("telemetry", ""): "the version of the package, for the instrumentation scope",
    ("cli", ""): "the command line shows what users would write",
}

NOT_NAMES = {
    "spanrun.toml": "a file",
    "spanrun.egg-info": "a folder",
}

MAX_LINES = 400
MAX_FUNCTION = 60

FILES = sorted(SRC.rglob("*.py"))


def part_of(path):
    """The part of the house that a file is in: its first folder, or itself."""
    first = path.relative_to(SRC).parts[0]
    return "" if first == "__init__.py" else first.removesuffix(".py")


def imported_parts(tree):
    """Which parts of spanrun a file imports, and in which line."""
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            pytest.fail(f"line {node.lineno}: a relative import hides what it is")
        for name in names:
            first, _, rest = name.partition(".")
            if first == "spanrun":
                part = rest.partition(".")[0]
                files = (SRC / part, SRC / f"{part}.py", SRC / f"{part}.pyi")
                exists = bool(part) and any(file.exists() for file in files)
                yield (part if exists else ""), node.lineno


def types_only(tree):
    """The tree without what only type checkers read."""

    class Strip(ast.NodeTransformer):
        def visit_If(self, node):
            if ast.unparse(node.test) == "TYPE_CHECKING":
                return node.orelse or ast.Pass()
            return self.generic_visit(node)

    return Strip().visit(tree)


def docstrings(tree):
    """The nodes of docstrings, also those of attributes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr):
            yield node.value


@pytest.fixture(scope="module")
def trees():
    return {path: ast.parse(path.read_text("utf-8")) for path in FILES}


def test_every_part_has_a_layer():
    assert {part_of(path) for path in FILES} <= LAYERS.keys()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SRC)))
def test_imports_point_downwards(path, trees):
    here = part_of(path)
    wrong = [
        f"line {line}: {here or 'the package'} ({LAYERS[here]}) imports "
        f"{part or 'the package'} ({LAYERS[part]})"
        for part, line in imported_parts(types_only(ast.parse(path.read_text("utf-8"))))
        if part != here
        and LAYERS[part] >= LAYERS[here]
        and not {part, here} <= GROUND
        and (here, part) not in ALLOWED
    ]
    assert not wrong


def test_the_queue_imports_the_export_without_a_circle():
    """Also not for types: who reads one file needn't have read the other before."""
    folders = ("telemetry/export", "telemetry/queue")
    names = {
        ".".join(("spanrun", *path.relative_to(SRC).with_suffix("").parts)): path
        for folder in folders
        for path in (SRC / folder).glob("*.py")
    }
    left = {
        name: {
            each
            for node in ast.walk(ast.parse(path.read_text("utf-8")))
            if isinstance(node, ast.ImportFrom)
            for each in (node.module, *(f"{node.module}.{a.name}" for a in node.names))
            if each in names
        }
        for name, path in names.items()
    }
    assert not {
        (name, each)
        for name, imported in left.items()
        for each in imported
        if ".export." in name and ".queue." in each
    }
    while ends := {name for name, imported in left.items() if not imported}:
        left = {name: imported - ends for name, imported in left.items() if imported}
    assert not left


def test_every_exception_is_used(trees):
    used = {
        (part_of(path), part)
        for path, tree in trees.items()
        for part, _ in imported_parts(tree)
    }
    assert ALLOWED.keys() <= used


def test_names_are_written_in_the_registry_alone(trees):
    registered = {metric.name for metric in semconv.METRICS} | set(semconv.ATTRIBUTES)
    modules = {
        ".".join(("spanrun", *path.relative_to(SRC).with_suffix("").parts))
        for path in FILES
    }
    wrong = []
    for path, tree in trees.items():
        if path.name == "semconv.py":
            continue
        prose = set(docstrings(tree))
        for node in ast.walk(tree):
            if not isinstance(node, ast.Constant) or node in prose:
                continue
            text = node.value
            if not isinstance(text, str) or text in NOT_NAMES or text in modules:
                continue
            ours = text.startswith("spanrun.") and " " not in text
            theirs = text in registered and "." in text
            if ours or theirs:
                wrong.append(f"{path.relative_to(SRC)}:{node.lineno}: {text!r}")
    assert not wrong


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SRC)))
def test_files_and_functions_are_small(path, trees):
    lines = path.read_text("utf-8").count("\n")
    generated = path.name == "semconv.py"
    assert lines <= MAX_LINES or generated
    long = [
        f"line {node.lineno}: {node.name} has {node.end_lineno - node.lineno + 1}"
        for node in ast.walk(trees[path])
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno - node.lineno >= MAX_FUNCTION
    ]
    assert not long


def test_cancellation_is_never_caught_and_kept(trees):
    """An ``except CancelledError`` re-raises, or keeps the error to raise it later."""
    wrong = []
    for path, tree in trees.items():
        for node in ast.walk(tree):
            if not isinstance(node, ast.ExceptHandler) or node.type is None:
                continue
            if "CancelledError" not in ast.unparse(node.type):
                continue
            raises = any(isinstance(inner, ast.Raise) for inner in ast.walk(node))
            kept = node.name is not None
            if not raises and not kept:
                wrong.append(f"{path.relative_to(SRC)}:{node.lineno}")
    assert not wrong
