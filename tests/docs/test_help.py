"""The command line's page says what `--help` says."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from tests.docs.pages import DOCS
from typer.main import get_command
from typer.testing import CliRunner

from spanrun.cli.app import app

PAGE = (DOCS / "reference" / "cli.md").read_text(encoding="utf-8")


def commands() -> Iterator[tuple[str, ...]]:
    group: Any = get_command(app)
    for name, command in group.commands.items():
        yield (name,)
        yield from ((name, inner) for inner in getattr(command, "commands", {}))


def shown(words: tuple[str, ...]) -> str:
    """What the command's ``--help`` prints."""
    done = CliRunner().invoke(app, [*words, "--help"], prog_name="spanrun")
    assert done.exit_code == 0
    return done.output


def differences(words: tuple[str, ...], page: str) -> list[str]:
    """What the page has of a command that ``--help`` hasn't, or lacks."""
    title = f"{'#' * (len(words) + 1)} `spanrun {' '.join(words)}`\n"
    section = re.split(r"\n#", page.partition(title)[2])[0]
    rows = re.findall(r"^\| (`.+`) \| (.*) \|$", section, re.MULTILINE)
    found = [f"{name} {text}".replace("`", "") for name, text in rows]
    found += [f"Usage: {each}" for each in re.findall(r"```text\n(.*)\n", section)]
    help_ = shown(words)
    options = re.findall(r"^  (--?[a-z][\w-]*)", help_, re.MULTILINE)
    on_one_line = " ".join(re.sub(r" <[^>]*>", "", help_).split())  # without types
    return [
        *(each for each in found if each not in on_one_line),
        *(each for each in ["Usage:", *options] if each not in " ".join(found).split()),
    ]


@pytest.mark.parametrize("words", [*commands()], ids=" ".join)
def test_the_page_has_what_help_shows(words: tuple[str, ...]) -> None:
    assert differences(words, PAGE) == []


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("spool status [OPTIONS] [FOLDER]", "spool status [OPTIONS] FOLDER"),
        ("| `--json` | One JSON object", "| `--json` | Two JSON objects"),
        ("| `FOLDER` | Of the spool. [default", "| `FOLDER` | Of the spool. [required"),
        ("| `--json` | One JSON object on standard output. |\n", ""),
    ],
)
def test_a_page_that_is_unlike_the_help_is_found(right: str, wrong: str) -> None:
    words = ("spool", "status")
    before, title, after = PAGE.partition("### `spanrun spool status`\n")
    assert right in after
    assert differences(words, before + title + after.replace(right, wrong, 1))
