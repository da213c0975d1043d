"""The packages whose names are imported when they are first used."""

import ast
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src"
PACKAGES = [
    "spanrun",
    "spanrun.clients",
    "spanrun.ingest",
    "spanrun.stores",
    "spanrun.testing",
]
NAMES = [
    (package, name)
    for package in PACKAGES
    for name in importlib.import_module(package).__all__
]
SOLR = "SolrResponseHeader"


def tree(package):
    path = SRC.joinpath(*package.split("."), "__init__.py")
    return ast.parse(path.read_text("utf-8"))


def checked(package):
    """What type checkers see under ``TYPE_CHECKING``: ``{"Chat": "chat"}``."""
    (block,) = [
        node
        for node in tree(package).body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    return {
        alias.name: node.module.removeprefix(f"{package}.")
        for node in block.body
        for alias in node.names
    }


def held(package):
    """The table that ``lazy.names`` is given, in the same form."""
    (table,) = [
        ast.literal_eval(node.args[1])
        for node in ast.walk(tree(package))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "lazy.names"
    ]
    return {name: home for home, names in table.items() for name in names}


def in_a_new_process(code):
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("package", PACKAGES)
def test_the_table_is_what_type_checkers_see(package):
    assert held(package) == checked(package)
    assert held(package).keys() <= set(importlib.import_module(package).__all__)


@pytest.mark.parametrize("package", PACKAGES[1:])
def test_all_names_are_in_the_table(package):
    assert sorted(importlib.import_module(package).__all__) == sorted(held(package))


@pytest.mark.parametrize(("package", "name"), NAMES)
def test_each_name_is_there(package, name):
    value = getattr(importlib.import_module(package), name)
    assert value is not None
    assert not isinstance(value, type(sys)), "a module hides the name"


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_has_the_name_of_what_its_package_hands_out(package):
    folder = SRC.joinpath(*package.split("."))
    modules = {path.stem for path in folder.iterdir()}
    assert not modules & set(importlib.import_module(package).__all__)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_name_that_there_is_not(package):
    module = importlib.import_module(package)
    with pytest.raises(AttributeError, match=f"'{package}' has no attribute 'nothing'"):
        module.nothing  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'nothing'"):
        exec(f"from {package} import nothing")  # noqa: S102
    assert set(module.__all__) <= set(dir(module))


def test_importing_the_packages_imports_none_of_their_modules():
    found = in_a_new_process(
        f"import json, sys, {', '.join(PACKAGES)}\n"
        "print(json.dumps([dir(spanrun.clients), sorted(sys.modules)]))"
    )
    names, modules = found
    assert "Embeddings" in names
    inside = [name for name in modules if name.startswith((*PACKAGES[1:],))]
    assert inside == PACKAGES[1:]
    heavy = {"httpx", "numpy", "tqdm", "pydantic", "pytest", "apsw", "sqlite3"}
    assert not heavy & set(modules)


def test_each_name_keeps_what_it_found():
    found = in_a_new_process(
        "import json, spanrun.clients as clients\n"
        "before = 'Chat' in vars(clients)\n"
        "chat = clients.Chat\n"
        "print(json.dumps([before, vars(clients)['Chat'] is chat]))"
    )
    assert found == [False, True]


def test_without_its_extra_a_name_says_which_one_it_is():
    found = in_a_new_process(
        "import json, sys\n"
        "sys.modules['pydantic'] = None\n"
        f"try: from spanrun.clients import {SOLR}\n"
        "except Exception as error:\n"
        "    print(json.dumps([type(error).__name__, *error.args]))"
    )
    assert found == [
        "ConfigurationError",
        f"spanrun.clients.{SOLR} needs pydantic: pip install 'spanrun[solr]'",
    ]
