"""`spanrun run --checkpoint` and `spanrun resume`."""

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests import programs
from tests.cli.conftest import Cli
from tests.runner.checkpoint.test_file import OWNER

from spanrun.cli.exits import Exit

APP = """
import contextlib, sqlite3, os, pathlib, signal, asyncio
from dataclasses import dataclass

@dataclass
class Point:
    x: int

def point(item):
    with open("ran", "a") as file:
        file.write(f"{item}\\n")
    if item == 5 and not pathlib.Path("mended").exists():
        raise ValueError("five")
    return Point(item)

def committed():
    with contextlib.closing(sqlite3.connect("kept")) as db:
        return db.execute("SELECT count(*) FROM outcomes").fetchone()[0]

async def killed(item):
    if item == 7 and not pathlib.Path("mended").exists():
        while committed() < 7:
            await asyncio.sleep(0)
        os.kill(os.getpid(), signal.SIGKILL)
    return item

async def stopped(item):
    if item == 7:
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.Event().wait()
    return item
"""


@pytest.fixture
def app(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cli]:
    monkeypatch.chdir(cli.folder)
    (cli.folder / "work.py").write_text(APP, "utf-8")
    (cli.folder / "in.jsonl").write_text("".join(f"{n}\n" for n in range(10)))
    yield cli
    sys.modules.pop("work", None)


def run(function: str, *more: str) -> list[str]:
    kept = ["--checkpoint", "kept", "-o", "out.jsonl", "--limit", "1"]
    return ["run", f"work:{function}", "in.jsonl", *kept, "--no-progress", *more]


def program(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "spanrun", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "SPANRUN_STORE": "store", "COLUMNS": "200"},
    )


def written() -> list[Any]:
    return [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]


def ran() -> list[int]:
    path = Path("ran")
    found = [int(line) for line in path.read_text().split()] if path.exists() else []
    path.unlink(missing_ok=True)
    return found


def test_a_run_that_was_killed_goes_on_and_writes_all_results(app: Cli) -> None:
    assert program(*run("killed")).returncode == -signal.SIGKILL
    Path("mended").touch()
    done = program("resume", "kept")
    assert done.returncode == 0, done.stderr
    assert written() == [{"index": n, "result": n} for n in range(10)]
    told = program("runs").stdout
    assert "7 results taken over" in told
    assert "7 results taken over" in program("show").stdout


def test_ctrl_c_says_what_is_safe_and_the_command_that_goes_on(app: Cli) -> None:
    done = program(*run("stopped"))
    assert done.returncode == Exit.INTERRUPTED
    command = shlex.join(["spanrun", *run("stopped")])
    assert f"7 results safe in kept; go on with {command}\n" in done.stderr


def test_what_failed_runs_again_and_with_an_option_nothing_else(app: Cli) -> None:
    assert app(*run("point")).code == Exit.SOME_FAILED
    assert ran() == list(range(10))
    with Path("in.jsonl").open("a") as file:
        file.write("10\n")
    Path("mended").touch()
    result = app("resume", "kept", "--only-failed")
    assert result.code == Exit.SOME_FAILED
    assert ran() == [5]
    assert written()[5] == {"index": 5, "result": {"x": 5}}
    assert app("resume", "kept").code == Exit.OK
    assert ran() == [10]
    assert len(written()) == 11


def test_another_input_is_refused(app: Cli) -> None:
    app(*run("point"))
    Path("in.jsonl").write_text("9\n")
    result = app("resume", "kept")
    assert result.code == Exit.INPUT
    assert "item 0 isn't the one that kept has there" in result.err


def test_a_checkpoint_in_use_is_told_with_its_owner(app: Cli) -> None:
    with programs.start(
        [sys.executable, "-c", OWNER, "kept"], stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        result = app(*run("point"))
        other.kill()
    assert result.code == Exit.LOCKED
    assert f"kept is in use by process {other.pid}" in result.err


def test_only_its_own_results_are_written_over(app: Cli) -> None:
    app(*run("point"))
    Path("theirs").write_text("theirs")
    command = [each if each != "out.jsonl" else "theirs" for each in run("point")]
    assert app(*command).code == Exit.USAGE
    assert Path("theirs").read_text() == "theirs"


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["resume", "nothing"], Exit.INPUT),
        (["resume", "in.jsonl"], Exit.INPUT),
        (["run", "work:point", "-", "--checkpoint", "kept"], Exit.USAGE),
        (["run", "work:point", "in.jsonl", "--only-failed"], Exit.USAGE),
        (["run", "work:point", "in.jsonl", "--checkpoint", "/proc/x"], Exit.DISK),
    ],
)
def test_what_cant_work_is_told(app: Cli, command: list[str], code: Exit) -> None:
    assert app(*command).code == code
