"""`spanrun run --engine`: the same command, with its jobs in other processes."""

import contextlib
import importlib.util
import json
import os
import signal
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.cli.conftest import Cli
from tests.waiting import PATIENCE, until

from spanrun.cli.exits import Exit

Start = Callable[..., subprocess.Popen[str]]

APP = """
import asyncio, os, pathlib, signal

async def where(item):
    return {"item": item, "process": os.getpid()}

async def bad(item):
    if item == "7":
        raise ValueError("not this one")
    return item

async def killing(item):
    if item == "7":
        try:
            pathlib.Path("killed").touch(exist_ok=False)
        except FileExistsError:
            pass
        else:
            os.kill(os.getpid(), signal.SIGKILL)
    return item

async def hang(item):
    pathlib.Path("runs").open("a").write(item + "\\n")
    if int(item) < 4 or pathlib.Path("released").exists():
        return item
    pathlib.Path(f"{os.getpid()}-{item}.begun").touch()
    await asyncio.Event().wait()
"""
ITEMS = [str(number) for number in range(20)]

without_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="pip install 'spanrun[ray]'"
)
ENGINES = ["process", pytest.param("ray", marks=without_ray)]
ON_PROCESSES = pytest.mark.parametrize("run", ["process"], indirect=True)
"""What is the driver's alone, and slow on Ray."""


@pytest.fixture(autouse=True)
def app(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP, "utf-8")
    (tmp_path / "items.txt").write_text("\n".join(ITEMS), "utf-8")
    return tmp_path


@pytest.fixture(params=ENGINES)
def run(start: Start, app: Path, request: pytest.FixtureRequest) -> Start:
    """Start the command with two workers of each engine, and its results in a file."""

    def started(function: str, *more: str) -> subprocess.Popen[str]:
        engine = ("--engine", request.param, "--workers", "2")
        given = ("items.txt", "-o", "out.jsonl", "--no-progress", *engine, *more)
        # Jobs on Ray find the module by this; a shell's Ctrl-C is for the whole group.
        return start(
            *("run", f"app:{function}", *given),
            env={"PYTHONPATH": str(app)},
            start_new_session=True,
        )

    return started


def told(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, err = process.communicate(timeout=PATIENCE)
    assert "Traceback" not in err
    return process.returncode, err


def results(folder: Path) -> list[dict[str, object]]:
    text = (folder / "out.jsonl").read_text("utf-8")
    return [json.loads(line) for line in text.splitlines()]


def is_alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text("ascii").rpartition(")")[2]
    except FileNotFoundError:
        return False
    return state.split()[0] != "Z"


def begun(folder: Path) -> list[int]:
    """The processes of the jobs that hang: of both may be one, which has both slots."""
    return [int(each.stem.split("-")[0]) for each in folder.glob("*.begun")]


def test_results_are_those_of_one_process_and_come_from_two(
    run: Start, app: Path
) -> None:
    process = run("where", "--limit", "2")
    code, err = told(process)
    assert code == Exit.OK, err
    found = [each["result"] for each in results(app)]
    assert [each["item"] for each in found] == ITEMS
    processes = {each["process"] for each in found}
    assert len(processes) == 2
    assert process.pid not in processes


@ON_PROCESSES
def test_a_failed_job_is_told_as_without_an_engine(run: Start, app: Path) -> None:
    code, err = told(run("bad"))
    assert code == Exit.SOME_FAILED
    assert "1 of 20 jobs failed, the first is #7: ValueError: not this one" in err
    assert results(app)[7]["error"] == {
        "type": "ValueError",
        "message": "not this one",
    }


def test_a_killed_worker_costs_no_result(run: Start, app: Path) -> None:
    code, err = told(run("killing"))
    assert code == Exit.OK, err
    assert [each["result"] for each in results(app)] == ITEMS
    assert (app / "killed").exists()


@pytest.mark.parametrize(
    ("number", "code", "what"),
    [
        (signal.SIGINT, Exit.INTERRUPTED, "interrupted after 4 jobs"),
        (signal.SIGTERM, Exit.TERMINATED, "terminated after 4 jobs"),
    ],
)
def test_a_signal_ends_it_and_its_workers(
    run: Start,
    app: Path,
    request: pytest.FixtureRequest,
    number: signal.Signals,
    code: Exit,
    what: str,
) -> None:
    process = run("hang", "--limit", "2")
    until(lambda: len(begun(app)) == 2)
    # A shell and a service manager send it to the whole group. Ray's own processes
    # leave a Ctrl-C alone, and end by a SIGTERM.
    alone = request.node.callspec.params["run"] == "ray" and number is signal.SIGTERM
    send = os.kill if alone else os.killpg
    send(process.pid, number)
    if number is signal.SIGTERM:
        send(process.pid, number)  # else the jobs have ten seconds
    ended, err = told(process)
    assert ended == code
    assert f"spanrun: {what}" in err
    until(lambda: not any(map(is_alive, begun(app))))


@ON_PROCESSES
def test_after_a_kill_a_second_run_does_what_is_missing(run: Start, app: Path) -> None:
    kept = ("--checkpoint", "kept.db", "--limit", "2")
    process = run("hang", *kept)
    until(lambda: len(begun(app)) == 2)
    process.kill()
    process.communicate()
    until(lambda: not any(map(is_alive, begun(app))))
    with contextlib.closing(sqlite3.connect(app / "kept.db")) as db:
        known = {ITEMS[index] for (index,) in db.execute("SELECT id FROM outcomes")}
    assert known <= set(ITEMS[:4])
    (app / "released").touch()
    code, err = told(run("hang", *kept))
    assert code == Exit.OK, err
    assert [each["result"] for each in results(app)] == ITEMS
    times = (app / "runs").read_text("utf-8").split()
    assert all(times.count(each) == 1 for each in known)
    assert set(times) == set(ITEMS)


def test_what_cannot_be_is_told(cli: Cli) -> None:
    given = ("run", "app:bad", "items.txt")
    alone = cli(*given, "--workers", "2")
    assert alone.code == Exit.USAGE
    assert "--workers: of what?" in alone.err
    few = cli(*given, "--engine", "process", "--workers", "3", "--limit", "2")
    assert few.code == Exit.CONFIGURATION
    assert "an engine of 3 workers needs a limit of 3 or more" in few.err
