"""The command in a process of its own: signals, pipes, terminals, the exit."""

import contextlib
import os
import pty
import re
import signal
import sqlite3
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from fcntl import ioctl
from pathlib import Path

import pytest
from tests.cli.conftest import FILES, documents, many
from tests.waiting import PATIENCE, until

import spanrun.cli
from spanrun.cli.exits import Exit
from spanrun.testing import EmbeddingServer

Start = Callable[..., subprocess.Popen[str]]

AGAIN = "  Run the same command again: it does only what is missing."


def until_stored(process: subprocess.Popen[str], folder: Path, least: int) -> None:
    """Wait until that many documents are in."""

    def enough() -> bool:
        assert process.poll() is None, process.communicate()
        with contextlib.suppress(sqlite3.OperationalError):  # it is being made
            return len(documents(folder)) >= least
        return False

    until(enough)


# Signals


@pytest.mark.parametrize(
    ("number", "code", "what"),
    [
        (signal.SIGINT, Exit.INTERRUPTED, "interrupted"),
        (signal.SIGTERM, Exit.TERMINATED, "terminated"),
    ],
)
def test_a_signal_ends_it_in_order(
    start: Start,
    tmp_path: Path,
    endpoint: EmbeddingServer,
    at: tuple[str, ...],
    number: signal.Signals,
    code: Exit,
    what: str,
) -> None:
    many(tmp_path / "docs", 200)
    assert start("ingest", "docs/0000.txt", *at).wait(PATIENCE) == Exit.OK
    endpoint.fail_next(503)
    endpoint.spoil_next("order")
    endpoint.spoil_next("hang", times=99)
    process = start("ingest", "docs", *at, "--no-progress")
    until_stored(process, tmp_path, 2)  # a batch may be small on a busy machine
    process.send_signal(number)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == code
    assert out == ""
    assert err.splitlines()[-2:] == [
        f"spanrun: {what}; what was stored is whole",
        AGAIN,
    ]
    assert "Traceback" not in err
    assert set(documents(tmp_path).values()) == {1}


def test_after_a_kill_a_second_run_does_what_is_missing(
    start: Start, tmp_path: Path, endpoint: EmbeddingServer, at: tuple[str, ...]
) -> None:
    many(tmp_path / "docs", 200)
    process = start("ingest", "docs", *at)
    until_stored(process, tmp_path, 10)
    process.kill()
    process.communicate()
    stored = documents(tmp_path)
    assert 10 <= len(stored) <= 200
    before = endpoint.stats.texts
    process = start("ingest", "docs", *at)
    out, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == Exit.OK
    assert f"{200 - len(stored)} documents stored" in out
    assert f" · {len(stored)} unchanged" in out
    assert endpoint.stats.texts == before + 200 - len(stored)
    assert set(documents(tmp_path).values()) == {1}
    assert len(documents(tmp_path)) == 200


# Streams


def shell(start: Start, redirection: str, *arguments: str) -> tuple[int, str, str]:
    """Run the command with a redirection, as a shell makes it."""
    script = f'exec "$0" -m spanrun "$@" {redirection}'
    command = ["sh", "-c", script, sys.executable, *arguments]
    process = start(args=command)
    out, err = process.communicate(timeout=PATIENCE)
    return process.returncode, out, err


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full", "0<&- 1>&- 2>&-"])
def test_nothing_hangs_on_standard_error(
    start: Start, docs: Path, redirection: str
) -> None:
    code, out, err = shell(start, redirection, "ingest", "docs")
    assert (code, err) == (Exit.OK, "")
    assert out.startswith("4 documents stored") or "1>&-" in redirection
    assert documents(docs.parent) == dict.fromkeys(FILES, 1)


def test_a_result_that_cannot_be_written_is_an_error(start: Start, docs: Path) -> None:
    code, _, err = shell(start, ">/dev/full", "ingest", "docs", "--no-progress")
    assert code == Exit.DISK
    assert err.startswith("spanrun: standard output: No space left on device\n  ")
    assert err.count("\n") == 2
    assert documents(docs.parent) == dict.fromkeys(FILES, 1)


def test_a_reader_may_stop_early(start: Start, docs: Path) -> None:
    reading, writing = os.pipe()
    process = start("ingest", "docs", "--no-progress", stdout=writing)
    os.close(writing)
    os.close(reading)
    _, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (Exit.OK, "")


def test_a_locale_without_unicode_is_no_error(start: Start, docs: Path) -> None:
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    process = start("ingest", "docs", env=plain, encoding="utf-8")
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == Exit.OK, err
    assert "4 documents stored" in out
    assert "store: 4/4 ? " in err


def on_terminal(start: Start, columns: int, *arguments: str, **environ: str) -> str:
    """What a terminal of that width is sent."""
    screen, terminal = pty.openpty()
    ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    process = start(*arguments, stderr=terminal, stdout=subprocess.DEVNULL, env=environ)
    os.close(terminal)
    shown = b""
    with contextlib.suppress(OSError):  # Linux: the other side is closed
        while part := os.read(screen, 65_536):
            shown += part
    os.close(screen)
    assert process.wait(PATIENCE) == Exit.OK
    return shown.decode()


@pytest.mark.parametrize("columns", [100, 38])
def test_a_terminal_gets_bars_that_fit(start: Start, docs: Path, columns: int) -> None:
    shown = on_terminal(start, columns, "ingest", "docs", TERM="xterm", NO_COLOR="1")
    assert re.search(r"store +100%\|█+", shown)
    assert not re.search(r"\x1b\[[\d;]*m", shown)  # a colour
    lines = re.split(r"[\r\n]+|\x1b\[A", shown)
    assert max(map(len, lines)) <= columns


def test_a_terminal_without_a_cursor_gets_lines(start: Start, docs: Path) -> None:
    shown = on_terminal(start, 100, "ingest", "docs", TERM="dumb")
    assert "store: 4/4 · " in shown
    assert "\x1b" not in shown


# What nobody foresaw


def test_a_fault_is_shown_whole(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> None:
        raise KeyError("no such thing")

    monkeypatch.setattr("spanrun.cli.app.app", broken)
    with pytest.raises(SystemExit) as exit_:
        spanrun.cli.main()
    assert exit_.value.code == Exit.FAULT
    err = capsys.readouterr().err
    assert err.startswith("Traceback")
    assert err.endswith("KeyError: 'no such thing'\n")


@pytest.mark.parametrize(
    ("words", "extras"),
    [
        ([], "cli"),
        (["--version"], "cli"),
        (["spool", "status"], "cli"),
        (["registry", "docs"], "cli"),
        (["slo", "check", "x.yaml"], "cli,slo"),
        (["ingest", "notes"], "cli,ingest"),
        (["search", "x"], "cli,ingest"),
        (["demo"], "cli,ingest"),
    ],
)
def test_without_the_extra_it_tells_how_to_get_it(
    words: list[str],
    extras: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delitem(sys.modules, "spanrun.cli.app")
    monkeypatch.setitem(sys.modules, "typer", None)
    monkeypatch.setattr(sys, "argv", ["spanrun", *words])
    with pytest.raises(SystemExit) as exit_:
        spanrun.cli.main()
    assert exit_.value.code == Exit.CONFIGURATION
    assert capsys.readouterr().err == (
        "spanrun: the command line needs typer, which isn't installed\n"
        f"  pip install 'spanrun[{extras}]'\n"
    )
