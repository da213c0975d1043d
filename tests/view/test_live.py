"""The page of a server, in a browser, while a program runs."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.view.conftest import Browser
from tests.waiting import until

from spanrun import recordings
from spanrun.errors import StoreError
from spanrun.view import server
from spanrun.view.server import Viewer

PROGRAM = """\
import asyncio, sys
import spanrun as sr

async def step(number):
    if number >= 5:
        await go.wait()

async def told():
    await asyncio.to_thread(sys.stdin.readline)
    go.set()

async def main():
    global go
    go = asyncio.Event()
    async with sr.Runner("count", limit=20) as runner:
        await asyncio.gather(runner.map(step, range(12)), told())

sr.configure(summary=False)
sr.run(main())
"""
JOBS = "document.querySelector('nav').textContent.match(/Jobs (\\d+)/)[1]"


@pytest.fixture
def program(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """It has recorded five jobs, and seven end when it is told."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], cwd=tmp_path, stdin=subprocess.PIPE, text=True
    )
    until(lambda: recorded(tmp_path / ".spanrun") == 5)
    yield process
    process.kill()
    process.communicate()


def recorded(store: Path) -> int:
    try:
        with recordings.open(store) as recording:
            return sum(1 for _ in recording.jobs())
    except (LookupError, StoreError):  # it is only being made
        return 0


@pytest.fixture
def viewer(tmp_path: Path, program: "subprocess.Popen[str]") -> Iterator[Viewer]:
    viewer = Viewer(tmp_path / ".spanrun")
    thread = threading.Thread(target=viewer.serve)
    thread.start()
    yield viewer
    viewer.close()
    thread.join()


def test_the_overview_follows_and_the_rows_of_a_table_wait(
    browse: Browser,
    viewer: Viewer,
    program: "subprocess.Popen[str]",
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def go_on(request: Any, _: Any) -> None:
        assert program.stdin is not None
        program.stdin.write("go\n")
        program.stdin.flush()
        request.sessions({})

    monkeypatch.setitem(server.ANSWERS, "/go", go_on)
    told = browse(
        viewer.url,
        ("eval", "location.search"),
        ("wait", f"{JOBS} === '5'"),
        ("press", "2"),
        ("eval", "fetch('/go').then(() => 0)"),
        ("eval", JOBS),
        (
            "wait",
            "document.querySelector('[role=status] button')?.textContent === '7 new'",
        ),
        ("eval", JOBS),
        ("click", "[role=status] button"),
        ("wait", f"{JOBS} === '12'"),
        ("wait", "document.querySelector('[role=status]').textContent.trim() === ''"),
        ("press", "1"),
        ("eval", JOBS),
        ("go", "#/"),
        ("wait", "document.querySelector('h1').textContent === '1 session'"),
    )
    assert told[0] == ""  # the token is in the first URL alone
    assert (told[4], told[6], told[11]) == ("5", "5", "12")


def test_going_on_in_the_newest_session_keeps_what_is_shown(
    browse: Browser, viewer: Viewer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gets its name in the URL; nothing is read again, and nothing moves."""
    asked: list[Any] = []

    def data(request: Any, its: Any) -> None:
        asked.append(dict(its))
        request.data(its)

    monkeypatch.setitem(server.ANSWERS, "/data", data)
    told = browse(
        viewer.url,
        ("wait", f"{JOBS} === '5'"),
        ("eval", "location.hash"),
        ("press", "2"),
        ("eval", "location.hash"),
        ("eval", JOBS),
        ("press", "1"),
        ("eval", JOBS),
    )
    with recordings.open(viewer.store) as recording:
        (session,) = recording.sessions()
    assert told[1] == ""
    assert told[3].startswith(f"#/s/{session.id}/jobs")
    assert (told[4], told[6]) == ("5", "5")
    assert asked == [{"name": "last"}]


def test_a_server_that_is_gone_is_said_and_what_was_shown_stays(
    browse: Browser, viewer: Viewer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(request: Any, _: Any) -> None:
        viewer.close()
        request.close_connection = True  # else the browser waits for an answer

    monkeypatch.setitem(server.ANSWERS, "/go", end)
    told = browse.look(
        viewer.url,
        ("wait", f"{JOBS} === '5'"),
        ("eval", "fetch('/go').catch(() => 0)"),
        (
            "wait",
            "document.querySelector('[role=status]').textContent.includes('lost')",
        ),
        ("eval", JOBS),
    )
    assert told["results"][-1] == "5"
