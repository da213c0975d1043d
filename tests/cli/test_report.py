"""`spanrun report`: one file of what was recorded."""

import base64
import json
import re
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import Cli
from tests.programs import plain_environ
from tests.slo.files import AVAILABILITY, LATENCY, changed
from tests.waiting import PATIENCE

from spanrun import recordings
from spanrun.cli.exits import Exit
from spanrun.slo import load

PROGRAM = """
import asyncio
import spanrun as sr

async def main():
    async with sr.Runner("naps") as runner:
        await runner.map(asyncio.sleep, [0] * 3)

sr.configure()
sr.run(main())
sr.report().save("saved.html")
"""


@pytest.fixture
def recorded(cli: Cli) -> Cli:
    subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=cli.folder,
        env=plain_environ(),
        check=True,
        timeout=PATIENCE,
    )
    return cli


def data_in(page: Path) -> Any:
    (packed,) = re.findall(r'id="data">([^<]+)<', page.read_text("utf-8"))
    return json.loads(zlib.decompress(base64.b64decode(packed)))


def test_the_last_session_is_written_to_a_file(recorded: Cli) -> None:
    told = recorded("report")
    assert told.code == Exit.OK
    assert told.out == ""
    assert "wrote run.html: 3 jobs, " in told.err
    assert "MB" in told.err
    page = (recorded.folder / "run.html").read_text("utf-8")
    assert page.startswith("<!doctype html>")
    # Again, over the file: a report is made anew and anew.
    assert recorded("report", "last").code == Exit.OK


def test_a_run_is_written_by_how_its_id_begins(recorded: Cli, tmp_path: Path) -> None:
    with recordings.open(recorded.folder / ".spanrun") as recording:
        (run,) = recording.runs()
    told = recorded("report", run.id[:6], "-o", "naps.html", "--store", ".spanrun")
    assert told.code == Exit.OK
    assert (recorded.folder / "naps.html").exists()


def test_a_program_saves_its_own_report(recorded: Cli) -> None:
    saved = (recorded.folder / "saved.html").read_text("utf-8")
    assert saved.startswith("<!doctype html>")
    assert saved.endswith("</html>\n")


def test_two_are_compared(recorded: Cli) -> None:
    with recordings.open(recorded.folder / ".spanrun") as recording:
        (run,) = recording.runs()
    told = recorded("report", run.id[:8], "last", "-o", "two.html")
    assert told.code == Exit.OK
    data = data_in(recorded.folder / "two.html")
    assert data["compare"]["a"]["id"] == run.id
    assert data["compare"]["b"]["id"] == data["session"]["id"]
    assert recorded("report", "none", "last").code == Exit.INPUT
    assert recorded("report", "last", "none").code == Exit.INPUT


def test_objectives_are_judged_in_it(recorded: Cli) -> None:
    (recorded.folder / "jobs.yaml").write_text(AVAILABILITY, "utf-8")
    told = recorded("report", "--slo", "jobs.yaml", "-o", "slo.html")
    assert told.code == Exit.OK
    (found,) = data_in(recorded.folder / "slo.html")["objectives"]
    (slo,) = load([recorded.folder / "jobs.yaml"])
    assert (found["name"], found["budget"]) == (slo.name, slo.budget)
    assert found["met"]


@pytest.mark.parametrize("command", ["report", "view"])
def test_an_objective_on_what_isnt_recorded_is_refused(
    recorded: Cli, command: str
) -> None:
    text = changed(LATENCY, "spanrun.job.duration", "spanrun.loop.lag")
    text = changed(text, "spanrun.job.outcome: ok", "service.name: x")
    (recorded.folder / "jobs.yaml").write_text(text, "utf-8")
    told = recorded(command, "--slo", "jobs.yaml")
    assert told.code == Exit.CONFIGURATION
    assert "doesn't keep" in told.err


def test_a_folder_is_never_written_over(recorded: Cli) -> None:
    (recorded.folder / "folder").mkdir()
    told = recorded("report", "-o", "folder")
    assert told.code == Exit.USAGE
    assert "folder is a folder" in told.err


def test_where_it_cant_be_written_is_told(recorded: Cli) -> None:
    told = recorded("report", "-o", "none/run.html")
    assert told.code == Exit.DISK
    assert "none/run.html can't be written" in told.err
    assert not (recorded.folder / "none").exists()


def test_nothing_recorded_and_no_such_run_are_told(cli: Cli, recorded: Cli) -> None:
    assert cli("report", "--store", "nowhere").code == Exit.INPUT
    told = recorded("report", "nope")
    assert told.code == Exit.INPUT
    assert "there is no such session or run" in told.err
