"""Which extra has which module, and what is said where one is missing."""

import ast
import os
import re
import subprocess
import sys
from importlib.metadata import packages_distributions

import pytest
from packaging.utils import canonicalize_name
from tests.installation import EXTRAS, ROOT, commands, distributions, environment, site

from spanrun import extras
from spanrun.causes import causes
from spanrun.cli.entry import EXTRAS as OF_COMMANDS
from spanrun.errors import ConfigurationError

SRC = ROOT / "src" / "spanrun"

GUARDED = {
    "clients/solr_responses.py": "by `lazy`, and by `libraries` for the client",
    "ingest/local_model.py": "numpy: after wordllama, which needs it",
    "runner/checkpoint/codec.py": "numpy: who kept an array of it has it",
    "sandbox/_session.py": "by `require` before it is imported",
}
"""Files that import an extra's module by themselves, and what speaks for them."""


def test_each_module_is_in_the_extra_that_is_named():
    homes = packages_distributions()
    for module, extra in extras.EXTRAS.items():
        names = {canonicalize_name(each) for each in homes[module]}
        assert names & distributions(frozenset({extra})), f"{module} isn't in {extra}"
        assert not names & distributions(frozenset()), f"{module} is always there"


def test_each_extra_is_known():
    every = set(EXTRAS) - {"all"}
    assert set(extras.EXTRAS.values()) == every
    assert set(OF_COMMANDS.values()) <= every
    all_but_ray = sorted(every - {"ray"})  # it takes more than all others together
    assert EXTRAS["all"] == [f"spanrun[{','.join(all_but_ray)}]"]


@pytest.mark.parametrize("module", sorted(extras.EXTRAS))
def test_what_is_missing_is_said_with_the_extra_that_has_it(module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigurationError) as raised:
        extras.load("Thing", module)
    extra = extras.EXTRAS[module]
    told = f"Thing needs {module}: pip install 'spanrun[{extra}]'"
    assert str(raised.value) == told
    assert len(list(causes(raised.value))) == 2
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ConfigurationError, match=re.escape(told)):
        extras.require("Thing", module)


def test_what_an_extra_s_module_lacks_itself_is_in_the_same_extra(tmp_path):
    (tmp_path / "wordllama.py").write_text("import tokenizers_of_old")
    assert told_of("wordllama", tmp_path) == (
        "Thing needs tokenizers_of_old: pip install 'spanrun[ingest]'"
    )


def test_a_module_that_is_broken_is_not_said_to_be_missing(tmp_path):
    (tmp_path / "apsw.py").write_text("raise ImportError('wrong ELF class')")
    assert told_of("apsw", tmp_path) == (
        "Thing needs apsw, which is installed and can't be imported: wrong ELF class: "
        "pip install --force-reinstall apsw"
    )


def told_of(module, folder):
    code = (
        f"import sys; sys.path.insert(0, {str(folder)!r})\n"
        "from spanrun import extras\n"
        f"try: extras.load('Thing', {module!r})\n"
        "except ValueError as error: print(error)"
    )
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.strip()


def test_a_module_of_no_extra_is_no_question_of_extras():
    with (
        pytest.raises(ModuleNotFoundError, match="nowhere"),
        extras.named_when_missing("Thing"),
    ):
        raise ModuleNotFoundError("no module named 'nowhere'", name="nowhere")


def imported(tree):
    """The modules that a file imports when it runs."""
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body.clear()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]


def test_nothing_imports_an_extra_s_module_past_the_one_who_says_so():
    found = {
        path.relative_to(SRC).as_posix()
        for path in SRC.rglob("*.py")
        if extras.EXTRAS.keys() & set(imported(ast.parse(path.read_text("utf-8"))))
    }
    in_cli = {name for name in found if name.startswith("cli/")}
    assert found - in_cli == GUARDED.keys()


def test_who_tells_of_a_missing_extra_is_one():
    wrong = [
        path.relative_to(SRC).as_posix()
        for path in SRC.rglob("*.py")
        if "pip install 'spanrun[" in path.read_text("utf-8")
    ]
    assert sorted(wrong) == ["cli/entry.py", "extras.py"]


SLO = (ROOT / "instrumentation" / "slo" / "jobs.yaml").read_text("utf-8")
COMMANDS = {
    "ingest notes": 0,
    "slo check slo.yaml": 65,
    "spool status": 0,
}


@pytest.fixture
def spanrun_with(tmp_path):
    """Run a command where some extras are installed, and no others."""
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("A text.")
    (tmp_path / "slo.yaml").write_text(SLO)

    def run(installed, command):
        place = tmp_path / "-".join(("with", *installed))
        place.mkdir()
        modules = site(place / "site", installed)
        programs = commands(place / "bin", installed)
        return subprocess.run(
            [str(programs / "spanrun"), *command.split()],
            cwd=tmp_path,
            env=environment({"PATH": os.environ["PATH"]}, modules, programs),
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_works_with_the_extras_that_it_asks_for(command, spanrun_with):
    asked = spanrun_with((), command)
    assert asked.returncode == 78, asked.stderr
    (named,) = re.findall(r"pip install 'spanrun\[([a-z,]+)\]'", asked.stderr)
    done = spanrun_with(named.split(","), command)
    assert done.returncode == COMMANDS[command], done.stderr
    assert "pip install" not in done.stderr


@pytest.mark.parametrize("command", ["demo", "ingest notes", "slo check slo.yaml"])
def test_with_the_command_line_alone_the_other_extra_is_named(command, spanrun_with):
    done = spanrun_with(("cli",), command)
    assert done.returncode == 78, done.stderr
    extra = OF_COMMANDS[command.partition(" ")[0]]
    assert f"pip install 'spanrun[{extra}]'" in done.stderr
