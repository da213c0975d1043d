"""`spanrun run`: a function over the items of a file."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import Cli, Result
from tests.waiting import PATIENCE, until

from spanrun.cli.exits import Exit

Start = Callable[..., subprocess.Popen[str]]

APP = """
import asyncio
import pathlib
import time
from dataclasses import dataclass

seen = {}

@dataclass
class Point:
    x: int

async def same(item):
    if item == "bad":
        raise ValueError("no, password=hunter2secret")
    return item

others = asyncio.Event()

async def last_first(item):
    if item == "a":
        await others.wait()
    others.set()
    return item

def plain(item):
    return Point(len(item))

def strange(item):
    return object()

async def once_more(item):
    seen[item] = seen.get(item, 0) + 1
    if seen[item] < 3:
        raise ConnectionError("gone")
    return seen[item]

def stuck(item):
    pathlib.Path("begun").touch()
    while not pathlib.Path("release").exists():
        time.sleep(0.001)
    pathlib.Path("ended").touch()

async def hang(item):
    if item == "a":
        return item
    pathlib.Path("begun").touch()
    await asyncio.sleep(3600)

def each(item):
    yield item
"""


@pytest.fixture
def app(cli: Cli) -> Iterator[Cli]:
    (cli.folder / "app.py").write_text(APP, "utf-8")
    (cli.folder / "items.txt").write_text("a\nbb\n\nccc\n", "utf-8")
    path = sys.path[:]
    yield cli
    sys.path[:] = path
    sys.modules.pop("app", None)


def lines(result: Result) -> list[Any]:
    return [json.loads(line) for line in result.out.splitlines()]


def test_each_line_is_an_item_and_results_keep_their_order(app: Cli) -> None:
    result = app("run", "app:last_first", "items.txt")
    assert result.code == Exit.OK
    assert lines(result) == [
        {"index": 0, "result": "a"},
        {"index": 1, "result": "bb"},
        {"index": 2, "result": "ccc"},
    ]
    assert "3 jobs · 0 failed" in result.err
    assert "where the time went" in result.err
    assert "kept in .spanrun" in result.err


@pytest.mark.parametrize(
    ("name", "text", "items"),
    [
        ("i.jsonl", '{"a": 1}\n\n[2]\n', [{"a": 1}, [2]]),
        (
            "i.csv",
            'n,m\n1,2\n3,"x\ny"\n',
            [{"n": "1", "m": "2"}, {"n": "3", "m": "x\ny"}],
        ),
        ("i.csv", "\ufeffn\n1\n", [{"n": "1"}]),
        ("i.log", '{"a": 1}\r\n', ['{"a": 1}']),
    ],
)
def test_the_format_follows_the_name(
    app: Cli, name: str, text: str, items: list[Any]
) -> None:
    (app.folder / name).write_text(text, "utf-8", newline="")
    result = app("run", "app:same", name)
    assert [line["result"] for line in lines(result)] == items


def test_a_format_can_be_named(app: Cli) -> None:
    (app.folder / "items").write_text("[1]\n", "utf-8")
    result = app("run", "app:same", "items", "--format", "jsonl")
    assert lines(result) == [{"index": 0, "result": [1]}]


def test_a_function_that_is_not_async_runs_too(app: Cli) -> None:
    result = app("run", "app:plain", "items.txt", "--limit", "2")
    assert [line["result"] for line in lines(result)] == [{"x": 1}, {"x": 2}, {"x": 3}]


def test_failed_jobs_are_named_without_secrets(app: Cli) -> None:
    (app.folder / "items.txt").write_text("a\nbad\nb\n", "utf-8")
    result = app("run", "app:same", "items.txt")
    assert result.code == Exit.SOME_FAILED
    _, failed, last = lines(result)
    assert failed["error"]["type"] == "ValueError"
    assert last == {"index": 2, "result": "b"}
    assert "failed jobs   #1" in result.err
    assert "spanrun: 1 of 3 jobs failed, the first is #1: ValueError: no" in result.err
    assert "hunter2secret" not in result.out + result.err


def test_a_result_that_json_cannot_have_is_a_failure(app: Cli) -> None:
    result = app("run", "app:strange", "items.txt")
    assert result.code == Exit.SOME_FAILED
    assert lines(result)[0]["error"] == {
        "type": "TypeError",
        "message": "no JSON can be made of the result: of type object",
    }


def test_retries_are_of_each_job(app: Cli) -> None:
    (app.folder / "many.txt").write_text("".join(f"{n}\n" for n in range(30)), "utf-8")
    assert app("run", "app:once_more", "many.txt", "--retries", "1").code == 1
    sys.modules.pop("app")
    result = app("run", "app:once_more", "many.txt", "--retries", "2")
    assert result.code == Exit.OK
    assert {line["result"] for line in lines(result)} == {3}


def test_an_attempt_can_be_bounded(app: Cli) -> None:
    result = app("run", "app:hang", "items.txt", "--timeout", "0.01")
    assert result.code == Exit.SOME_FAILED
    assert lines(result)[1]["error"]["type"] == "DeadlineExceeded"


def test_results_go_to_a_new_file(app: Cli) -> None:
    result = app("run", "app:same", "items.txt", "-o", "out.jsonl")
    assert result.code == Exit.OK
    assert "3 jobs · 0 failed" in result.out
    written = (app.folder / "out.jsonl").read_text("utf-8")
    assert written.count("\n") == 3
    again = app("run", "app:same", "items.txt", "-o", "out.jsonl")
    assert again.code == Exit.USAGE
    assert "out.jsonl is there already" in again.err
    assert (app.folder / "out.jsonl").read_text("utf-8") == written


def test_as_json_the_summary_is_one_object(app: Cli) -> None:
    result = app("run", "app:same", "items.txt", "-o", "out.jsonl", "--json")
    told = result.json
    assert (told["jobs"], told["failed"], told["broken"]) == (3, 0, [])
    assert told["runners"][0]["name"] == "same"
    alone = app("run", "app:same", "items.txt", "--json")
    assert alone.code == Exit.USAGE


def test_without_telemetry_it_runs_as_well(app: Cli) -> None:
    app.environ["OTEL_SDK_DISABLED"] = "true"
    result = app("run", "app:same", "items.txt", "--threshold", "p95<60s")
    assert result.code == Exit.OK
    assert len(lines(result)) == 3
    assert "off (OTEL_SDK_DISABLED)" in result.err


@pytest.mark.parametrize(
    ("threshold", "code"),
    [
        ("p95<1us", Exit.BROKEN),
        ("mean < 60s", Exit.SOME_FAILED),
        ("failed<1%", Exit.BROKEN),
        ("failed < 2", Exit.OK),
        ("failed <= 34%", Exit.OK),
        ("limit<60s", Exit.SOME_FAILED),
    ],
)
def test_a_threshold_that_does_not_hold_ends_with_99(
    app: Cli, threshold: str, code: Exit
) -> None:
    (app.folder / "items.txt").write_text("a\nbad\nb\n", "utf-8")
    result = app("run", "app:same", "items.txt", "--threshold", threshold)
    assert result.code == code
    assert (f"spanrun: {threshold}: " in result.err) == (code is Exit.BROKEN)


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("app:same", "nothing.txt"), Exit.INPUT, "nothing.txt: No such file"),
        (("app:same", "empty.txt"), Exit.INPUT, "there is no item in empty.txt"),
        (("app:same", "bad.jsonl"), Exit.INPUT, "bad.jsonl: line 2 is no JSON"),
        (("app", "items.txt"), Exit.USAGE, "'app' is no function's name"),
        (("app:none", "items.txt"), Exit.USAGE, "'app' has no function 'none'"),
        (("nope:f", "items.txt"), Exit.USAGE, "'nope' can't be imported"),
        (("app:each", "items.txt"), Exit.USAGE, "'app:each' is a generator"),
        (
            ("app:same", "items.txt", "--threshold", "p95<10%"),
            Exit.USAGE,
            "percent of what?",
        ),
    ],
)
def test_what_cannot_be_is_told(
    app: Cli, arguments: tuple[str, ...], code: Exit, told: str
) -> None:
    (app.folder / "empty.txt").write_text("\n", "utf-8")
    (app.folder / "bad.jsonl").write_text("1\nbad\n", "utf-8")
    result = app("run", *arguments)
    assert (result.code, told in result.err) == (code, True), result.err
    assert "Traceback" not in result.err


# In a process of its own


def test_standard_input_is_read_as_it_comes(app: Cli, start: Start) -> None:
    process = start("run", "app:same", "-", "--no-progress", stdin=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    for item in ("one", "two"):  # the second is written when the first has come back
        process.stdin.write(f"{item}\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["result"] == item
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == Exit.OK
    assert "2 jobs · 0 failed" in err


@pytest.mark.parametrize(
    ("number", "code", "what"),
    [
        (signal.SIGINT, Exit.INTERRUPTED, "interrupted"),
        (signal.SIGTERM, Exit.TERMINATED, "terminated"),
    ],
)
def test_a_signal_ends_it_while_it_waits_for_input(
    app: Cli, start: Start, number: signal.Signals, code: Exit, what: str
) -> None:
    process = start("run", "app:hang", "-", "--no-progress", stdin=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("a\n")
    process.stdin.flush()
    assert json.loads(process.stdout.readline())["result"] == "a"
    process.stdin.write("b\n")
    process.stdin.flush()
    until((app.folder / "begun").exists)
    process.send_signal(number)
    if number is signal.SIGTERM:
        process.send_signal(number)  # else the job has ten seconds
    assert process.wait(PATIENCE) == code
    assert process.stderr is not None
    err = process.stderr.read()
    assert f"spanrun: {what} after " in err
    assert "Traceback" not in err
    assert "Fatal" not in err


def test_a_reader_may_stop_early(app: Cli, start: Start) -> None:
    reading, writing = os.pipe()
    process = start("run", "app:same", "items.txt", "--no-progress", stdout=writing)
    os.close(writing)
    os.close(reading)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == Exit.OK
    assert "Traceback" not in err


def test_a_full_disk_is_an_error(app: Cli, start: Start, tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        process = start("run", "app:same", "items.txt", "--no-progress", stdout=full)
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == Exit.DISK
    assert "spanrun: standard output: No space left on device" in err


def said(process: subprocess.Popen[str], what: str) -> str:
    """The lines of standard error up to one that has ``what``."""
    assert process.stderr is not None
    lines: list[str] = []
    while not lines or what not in lines[-1]:
        line = process.stderr.readline()
        assert line, lines
        lines.append(line)
    return "".join(lines)


def test_ctrl_c_says_what_it_waits_for_and_a_second_one_ends_at_once(
    app: Cli, start: Start
) -> None:
    process = start("run", "app:stuck", "items.txt", "--no-progress", "--limit", "2")
    until((app.folder / "begun").exists)
    process.send_signal(signal.SIGINT)
    told = said(process, "Press Ctrl-C")
    assert "spanrun: waits for 2 calls of stuck, which can't be interrupted" in told
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == Exit.INTERRUPTED
    assert process.stderr is not None
    err = process.stderr.read()
    assert "spanrun: interrupted after " in err
    assert "Traceback" not in err
    assert not (app.folder / "ended").exists()


def test_calls_that_end_after_ctrl_c_are_waited_for(app: Cli, start: Start) -> None:
    process = start("run", "app:stuck", "items.txt", "--no-progress", "--limit", "1")
    until((app.folder / "begun").exists)
    process.send_signal(signal.SIGINT)
    said(process, "Press Ctrl-C")
    (app.folder / "release").touch()
    assert process.wait(PATIENCE) == Exit.INTERRUPTED
    assert (app.folder / "ended").exists()


def test_a_second_sigterm_ends_it_whatever_a_call_does(app: Cli, start: Start) -> None:
    process = start("run", "app:stuck", "items.txt", "--no-progress")
    until((app.folder / "begun").exists)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)  # else the job has ten seconds
    assert process.wait(PATIENCE) == Exit.TERMINATED
    assert process.stderr is not None
    assert "spanrun: terminated after " in process.stderr.read()


SLOW = """
import pathlib, time
pathlib.Path("begun").touch()
while not pathlib.Path("release").exists():
    time.sleep(0.001)
def f(item):
    return item
"""


def test_sigterm_before_the_first_job_has_its_line(app: Cli, start: Start) -> None:
    (app.folder / "slow.py").write_text(SLOW, "utf-8")
    process = start("run", "slow:f", "items.txt", "--no-progress")
    until((app.folder / "begun").exists)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == Exit.TERMINATED
    assert err.startswith("spanrun: terminated before the first job\n")


def test_sigterm_while_the_command_line_is_loaded_has_its_line(
    app: Cli, start: Start
) -> None:
    # In the place of a part of it: `typer` is imported when `main` has begun.
    (app.folder / "typer.py").write_text(SLOW, "utf-8")
    process = start("--version", env={"PYTHONPATH": str(app.folder)})
    until((app.folder / "begun").exists)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == Exit.TERMINATED
    assert err == "spanrun: terminated before it had begun\n"
