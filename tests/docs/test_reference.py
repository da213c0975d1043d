"""Whatever a user can name has an entry in the reference."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from docs import _generate
from docs._reference import errors as errors_page
from tests.docs.pages import DOCS, ROOT, all_pages
from typer.main import get_command

import spanrun
from spanrun import semconv, settings
from spanrun.cli.app import app
from spanrun.cli.exits import Exit

REFERENCE = DOCS / "reference"
SOURCE = ROOT / "src"

# Of the backends' own tools, and of continuous integration.
TOOLS = ("instrumentation", "tests/backends")


def text(page: str) -> str:
    return (REFERENCE / page).read_text(encoding="utf-8")


def test_generated_pages_are_up_to_date() -> None:
    assert _generate.main(["--check"]) == 0


def test_generated_pages_are_the_same_without_the_part_in_c() -> None:
    done = subprocess.run(
        [sys.executable, _generate.__file__, "--check"],
        env={**os.environ, "SPANRUN_PURE_PYTHON": "1"},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_page_that_is_out_of_date_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _generate.main(["--root", str(tmp_path)]) == 0
    assert _generate.main(["--root", str(tmp_path), "--check"]) == 0
    page = tmp_path / "docs/reference/errors.md"
    page.write_text(page.read_text().replace("JobCancelled", "JobStopped"))
    capsys.readouterr()
    assert _generate.main(["--root", str(tmp_path), "--check"]) == 1
    assert "docs/reference/errors.md is out of date" in capsys.readouterr().err


@pytest.mark.parametrize("name", spanrun.__all__)
def test_public_name(name: str) -> None:
    assert f"### `{name}`\n" in text("public-api.md")


@pytest.mark.parametrize("name", [each.__name__ for each in errors_page.classes()])
def test_error(name: str) -> None:
    assert f"### `{name}`\n" in text("errors.md")


def commands() -> Iterator[tuple[str, str]]:
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        yield name, f"## `spanrun {name}`\n"
        for option in command.params:
            yield from ((name, each) for each in option.opts if each.startswith("-"))


@pytest.mark.parametrize(("command", "shown"), [*commands()])
def test_command(command: str, shown: str) -> None:
    section = text("cli.md").partition(f"## `spanrun {command}`\n")
    own = "".join(section[1:]).split("\n## ")[0]
    assert shown in own if shown[0] == "#" else f"`{shown}`" in own


@pytest.mark.parametrize("code", [*Exit])
def test_exit_code(code: Exit) -> None:
    assert f"\n| {code.value} | {code.meaning} |\n" in text("cli.md")


METRICS = sorted(
    value.name for name, value in vars(semconv).items() if name.startswith("METRIC_")
)


@pytest.mark.parametrize("metric", METRICS)
def test_metric(metric: str) -> None:
    kinds = "counter|gauge|histogram|updowncounter"
    assert re.search(
        rf"\n\| `{re.escape(metric)}` \| ({kinds}) \|", text("telemetry.md")
    )


_SERIES = re.compile(r"\b(?:spanrun|http|gen_ai|db)_\w+")


def unknown_series(promql: str) -> set[str]:
    """Metrics and labels of a query that nothing emits."""
    page = text("telemetry.md")
    rows = re.findall(r"^\| `.+` \| \w+ \| `.+` \| `(\w+)` \|", page, re.MULTILINE)
    parts = ("", "_bucket", "_sum", "_count")
    known = {metric + part for metric in rows for part in parts}
    attributes = page.partition("\n## All attributes\n")[2]
    known |= {name.replace(".", "_") for name in re.findall(r"`(\S+)`", attributes)}
    return set(_SERIES.findall(promql)) - known


def test_queries_ask_for_what_there_is() -> None:
    queries = [block.code for page in all_pages() for block in page.of("promql")]
    assert queries
    for query in queries:
        assert not unknown_series(query), query


def test_a_wrong_query_is_found() -> None:
    assert unknown_series('rate(spanrun_jobs{spanrun_runner="a"}[5m])') == {
        "spanrun_jobs",
        "spanrun_runner",
    }


class Asked(Mapping[str, str]):
    """An environment without variables, which notes what it is asked for."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __getitem__(self, name: str) -> str:
        self.names.append(name)
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def asked() -> Asked:
    environ = Asked()
    settings.load({}, environ=environ)
    return environ


def variables_read() -> set[str]:
    """What `settings` asks for, and what stands as a text in any source."""
    found = set(asked().names)
    folders = [SOURCE, *(ROOT / tool for tool in TOOLS)]
    for path in (each for folder in folders for each in folder.rglob("*.py")):
        found |= variables_in(path.read_text(encoding="utf-8"))
    return found


_NAME = re.compile(r"\b(?:SPANRUN|OTEL)_[A-Z_]*[A-Z]\b(?![_{*])")


def variables_in(code: str) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found |= set(_NAME.findall(node.value))
        match node:
            case ast.Call(func=source, args=[ast.Constant(value=str(name)), *_]):
                found |= {name} if _environ(source) else set()
            case ast.Subscript(slice=ast.Constant(value=str(name))):
                found |= {name} if _environ(node) else set()
    return found


def _environ(node: ast.expr) -> bool:
    return re.match(r"(os\.)?env(iron)?(\.get\b|\[)", ast.unparse(node)) is not None


@pytest.mark.parametrize("variable", sorted(variables_read()))
def test_environment_variable(variable: str) -> None:
    assert f"`{variable}`" in text("settings.md")


@pytest.mark.parametrize("setting", sorted(settings.load({}, environ={}).origins))
def test_setting(setting: str) -> None:
    assert f"| `{setting}` | " in text("settings.md")


def test_variables_are_found_however_they_are_read() -> None:
    source = """
import os
os.environ.get("ONE"); os.environ["TWO"]; environ["THREE"]; f"SPANRUN_{x}_A"
f"OTEL_EXPORTER_OTLP_{x}"; read("OTEL_FOUR"); semconv.SPANRUN_JOB_OUTCOME
"""
    assert variables_in(source) == {"ONE", "TWO", "THREE", "OTEL_FOUR"}
