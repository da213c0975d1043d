"""Every command that a page shows exists."""

import re
import shlex
from collections.abc import Iterator

import pytest
from tests.docs.pages import DOCS, ROOT, all_pages
from typer.main import get_command

from spanrun.cli.app import app

OTHERS = ("cargo", "cd", "curl", "git", "pip")


def lines() -> Iterator[tuple[str, str]]:
    for page in all_pages():
        for block in page.of("sh", "console"):
            code = block.code.replace("\\\n", " ")
            for number, line in enumerate(code.splitlines()):
                shown = line.removeprefix("$ ") if block.language == "console" else line
                if block.language == "console" and shown == line:
                    continue  # what the command prints
                if shown.strip() and not shown.startswith("#"):
                    yield f"{page.name}:{block.line + number + 1}", shown


def targets() -> set[str]:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))


def settings_page() -> str:
    return (DOCS / "reference" / "settings.md").read_text(encoding="utf-8")


def check(line: str) -> None:
    words = shlex.split(line, comments=True)
    if words and words[0] == "export":
        words.pop(0)
    while words and re.match(r"[A-Z_]+=", words[0]):
        variable = words.pop(0).partition("=")[0]
        assert f"`{variable}`" in settings_page(), f"{variable}: not in settings.md"
    if not words:
        return
    program = words[0].removeprefix(".venv/bin/")
    if program == "make":
        wanted = {word for word in words[1:] if "=" not in word}
        assert wanted <= targets(), f"no such target: {wanted - targets()}"
    elif program == "spanrun":
        check_command(words[1:])
    elif program == "python" and words[1].endswith(".py") and "/" in words[1]:
        assert (ROOT / words[1]).is_file(), f"no such file: {words[1]}"
    else:
        assert program in ("python", *OTHERS), f"unknown program {program}"


def check_command(words: list[str]) -> None:
    group = get_command(app)
    try:
        context = group.make_context("spanrun", [*words])
        rest = [*context._protected_args, *context.args]
        name, command, rest = group.resolve_command(context, rest)
        command.make_context(name, rest, parent=context)
    except Exception as error:
        raise AssertionError(f"spanrun {shlex.join(words)}: {error!r}") from error


@pytest.mark.parametrize(
    "line", [line for _, line in lines()], ids=[where for where, _ in lines()]
)
def test_command_exists(line: str) -> None:
    check(line)


@pytest.mark.parametrize(
    "line",
    [
        "make nothing",
        "spanrun frobnicate",
        "spanrun ingest notes --frobnicate",
        "spanrun ingest",
        "spanrun search a b",
        "OTEL_NOTHING=1 spanrun search x",
        "python docs/nothing.py",
        "frobnicate",
    ],
)
def test_a_wrong_command_is_found(line: str) -> None:
    with pytest.raises(AssertionError):
        check(line)
