"""What the command line writes: a terminal takes no orders from texts of others."""

from pathlib import Path

import pytest
from tests.cli.conftest import Cli
from tests.test_text import ACTIVE, HOSTILE

from spanrun import cli as command_line
from spanrun.cli import console, entry, search
from spanrun.cli.exits import Exit, fail
from spanrun.stores.base import Hit

NAMED = HOSTILE.replace("\ud800", "")


def is_inert(written: str) -> None:
    assert not set(written) & {*ACTIVE}
    assert "\\x1b" in written


def test_both_streams_are_inert(capsys: pytest.CaptureFixture[str]) -> None:
    console.say(f"a{HOSTILE}\n  b")
    console.give(f"a{HOSTILE}\n\tb")
    written = capsys.readouterr()
    is_inert(written.err)
    is_inert(written.out)
    assert written.err.endswith("\n  b\n")
    assert written.out.endswith("\n\tb\n")


def test_both_lines_of_a_failure_are_inert_and_without_secrets(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        fail(Exit.DISK, f"a{HOSTILE}\nb", f"c{HOSTILE}\nd password=hunter2")
    written = capsys.readouterr().err
    is_inert(written)
    assert written.count("\n") == 2
    assert "hunter2" not in written


def test_an_unforeseen_failure_is_shown_whole_and_inert(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise ZeroDivisionError(HOSTILE)

    monkeypatch.setattr(entry, "_run", broken)
    with pytest.raises(SystemExit) as ended:
        command_line.main()
    assert ended.value.code == Exit.FAULT
    written = capsys.readouterr().err
    is_inert(written)
    assert "Traceback (most recent call last):\n" in written


@pytest.mark.parametrize(
    "arguments",
    [
        (NAMED,),
        (f"--{NAMED}",),
        ("spool", NAMED),
        ("slo", "check", NAMED),
        ("search", "x", f"--{NAMED}"),
    ],
)
def test_arguments_are_quoted_inert(cli: Cli, arguments: tuple[str, ...]) -> None:
    result = cli(*arguments)
    assert result.code == Exit.USAGE
    assert not set(result.err + result.out) & {*ACTIVE}
    assert "[2J" in result.err


def test_the_file_of_an_objective_is_quoted_inert(cli: Cli, tmp_path: Path) -> None:
    name = f"a{NAMED.replace('/', '')}.yaml"
    for text in ('"\\e[2J": 1', "a: [", 'apiVersion: "\\e[2J"', "a: 1\na: 2", "\xff"):
        (tmp_path / name).write_text(text, encoding="latin-1")
        result = cli("slo", "check", name)
        assert result.code == Exit.CONFIGURATION
        is_inert(result.err)
        assert result.err.count("\n") == 2


def test_passages_are_inert_and_whole() -> None:
    """They are the user's own: what he looks for isn't hidden from him."""
    hit = Hit("a", 0, f"password=hunter2 {HOSTILE}\nb", HOSTILE, HOSTILE, 1.0)
    shown = search.show([hit])
    is_inert(shown)
    assert "password=hunter2" in shown
    assert shown.count("\n") == 1


@pytest.mark.parametrize("group", [[], ["dashboards"], ["registry"], ["slo"]])
def test_a_list_of_commands_says_whole_sentences(cli: Cli, group: list[str]) -> None:
    listed = cli(*group, "--help").out.partition("Commands:")[2].splitlines()[1:]
    assert listed
    assert not [line for line in listed if not line.endswith(".")]
    assert not [line for line in listed if line.endswith("...")]
