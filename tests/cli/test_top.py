"""`spanrun top`: what runs now, on a terminal, once and as JSON."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from tests.cli.conftest import Cli
from tests.programs import plain_environ
from tests.telemetry.live.test_files import JOB, LOOP, RUNNER, state
from tests.waiting import PATIENCE, until

from spanrun.cli.exits import Exit
from spanrun.cli.keys import END
from spanrun.cli.top_view import View, lines
from spanrun.telemetry.live import files
from spanrun.telemetry.live.state import PHASES

TMUX = shutil.which("tmux")
WIDTHS = (20, 40, 80, 200)
HOSTILE = "\x1b]0;title\x07<b>\u202e日本語"

PROGRAM = """
import asyncio
import sys
import spanrun as sr

async def call(name):
    if name == "bad":
        raise ValueError(name)
    await asyncio.Event().wait()

async def main():
    async with sr.Runner("embed", limit=4) as runner:
        mapped = asyncio.create_task(
            runner.map(call, ["bad", "first", "second", {hostile!r}, "last"],
                       errors="collect", key=str)
        )
        await asyncio.to_thread(sys.stdin.read)
        mapped.cancel()

sr.configure(summary=False)
sr.run(main())
"""


@pytest.fixture
def program(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A program with four open jobs, until it is told to end."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(hostile=HOSTILE)],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        text=True,
        env=plain_environ(),
    )
    yield process
    process.communicate(timeout=PATIENCE)


def plain(processes: Any, view: View, width: int, height: int = 0) -> list[str]:
    return [text.plain.rstrip() for text in lines(processes, view, width, height)]


def many_jobs() -> list[Any]:
    jobs = tuple(
        replace(JOB, index=at, key="", age=100.0 - at, phase=phase, attempt=at + 1)
        for at, phase in enumerate(PHASES)
    )
    jobs += (replace(JOB, key=HOSTILE, runner="a-runner-with-a-long-name"),)
    runners = (RUNNER, replace(RUNNER, name=f"a-runner-{HOSTILE}", rate=1234.5))
    now = files.time.time_ns()
    one = state(jobs=jobs, runners=runners, open=200, at_ns=now)
    return [one, replace(one, pid=77, command=HOSTILE * 9, at_ns=1, loops=(LOOP,) * 2)]


# What is shown


@pytest.mark.parametrize("width", range(20, 201))
def test_each_line_fits_and_no_number_or_word_is_broken(width: int) -> None:
    for height in (0, 24):
        shown = plain(many_jobs(), View(), width, height)
        assert all(cell_len(line) <= width for line in shown)
        assert not height or len(shown) == height
        text = "\n".join(shown)
        assert not set(text) & {"\x1b", "\x07", "\u202e"}
        whole = {*text.replace(",", "").split()}
        assert whole & {"rate_limit", "backoff", "service"}, "phases aren't cut"
        assert not {word for word in whole if word.endswith(("_", "_l", "_li"))}
        titles = next(line for line in shown if line.lstrip().startswith("age"))
        known = {"age", "phase", "job", "runner", "attempt", "trace", "process"}
        assert {*titles.split()} <= known


def test_wide_terminals_show_all() -> None:
    text = "\n".join(plain(many_jobs(), View(), 200))
    for part in ("1234/s", "500 ms", "process", "attempt", "4/8", "ValueError 1"):
        assert part in text
    assert "loop blocked for 300 ms by job 3, in f (x.py:1)" in text
    assert "silent for " in text
    assert "and 386 more" in text


def test_jobs_are_sorted_and_filtered_by_keys() -> None:
    processes = many_jobs()[:1]
    view = View()

    def first() -> str:
        return view.rows(processes)[0][1].phase

    assert first() == "queue", "the oldest"
    view.press("s")
    assert (view.sort, first()) == ("phase", "queue")
    view.press("s")
    assert view.sort == "runner"
    view.press("s")
    assert (view.sort, first()) == ("attempt", "service")
    view.press("s")
    for phase in PHASES:
        view.press("f")
        assert {job.phase for _, job in view.rows(processes)} == {phase}
    view.press("f")
    assert view.phase is None
    for key in "/日本q":
        view.press(key)
    assert not view.over, "q is a letter here"
    assert view.rows(processes) == []
    view.press("\x7f")
    view.press("\n")
    assert [job.key for _, job in view.rows(processes)] == [HOSTILE]
    assert "/ filter: 日本" in plain(processes, view, 100, 24)[-1]
    view.press("\x1b")
    assert len(view.rows(processes)) == len(processes[0].jobs)
    view.press("q")
    assert view.over
    view = View(typing=True)
    view.press(END)
    assert view.over, "nobody is there any more"


# The command


@pytest.mark.foreign_clock  # the program has its own
def test_as_json_it_is_one_object(cli: Cli, program: subprocess.Popen[str]) -> None:
    found: list[Any] = []

    def runs() -> bool:
        found[:] = cli("top", "--json").json["processes"]
        return bool(found) and found[0]["open"] == 4

    until(runs)
    (process,) = found
    assert process["pid"] == program.pid
    assert process["window"] > 0
    assert [job["key"] for job in process["jobs"]][:2] == ["first", "second"]
    assert {job["phase"] for job in process["jobs"]} == {"service"}
    assert process["runners"][0]["errors"] == {"ValueError": 1}
    assert not list((cli.folder / ".spanrun").glob("top-*"))


@pytest.mark.foreign_clock  # the program has its own
def test_elsewhere_it_is_shown_once(cli: Cli, program: subprocess.Popen[str]) -> None:
    until(lambda: cli("top").code == Exit.OK)
    cli.environ["COLUMNS"] = "60"
    shown = cli("top").out
    assert f"{program.pid} -c · 4 open · loop lag" in shown
    assert "\x1b" not in shown
    assert max(map(len, shown.splitlines())) <= 60


def test_where_nothing_runs_it_says_so(cli: Cli) -> None:
    assert cli("top", "--json").json == {"processes": []}
    result = cli("top")
    assert result.code == Exit.INPUT
    assert "spanrun: no program with open runners uses .spanrun" in result.err


def test_a_folder_that_is_none_is_told(cli: Cli) -> None:
    (cli.folder / "file").touch()
    result = cli("top", "--store", "file")
    assert result.code == Exit.DISK
    assert "spanrun: file" in result.err


# On a terminal


class Terminal:
    """A real terminal's screen, by tmux, with a server of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def tmux(self, *arguments: str) -> str:
        socket = str(self.folder / "tmux")
        command = [str(TMUX), "-S", socket, "-f", "/dev/null", *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, cwd=self.folder, check=False
        ).stdout

    def begin(self, columns: int, command: str) -> None:
        """Run it in a terminal, which stays when it has ended."""
        script = f"sh -c 'echo $$ > pid; exec {command}'; echo $? > code; exec cat"
        size = ("-x", str(columns), "-y", "24")
        self.tmux("new-session", "-d", *size, script)

    def press(self, *keys: str) -> None:
        self.tmux("send-keys", *keys)

    @property
    def screen(self) -> list[str]:
        return [line.rstrip() for line in self.tmux("capture-pane", "-p").splitlines()]

    @property
    def colours(self) -> bool:
        return "\x1b[1m" in self.tmux("capture-pane", "-p", "-e")

    @property
    def code(self) -> str:
        """The exit code, as soon as there is one."""
        path = self.folder / "code"
        return path.read_text("utf-8").strip() if path.exists() else ""


@pytest.fixture
def terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    if TMUX is None:
        pytest.skip("tmux is not installed")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    for name in ("COLUMNS", "LINES"):  # of the terminal that the shell was in before
        monkeypatch.setenv(name, "90")
    terminal = Terminal(tmp_path)
    yield terminal
    terminal.tmux("kill-server")


TOP = f"{sys.executable} -m spanrun top"


def jobs_on(terminal: Terminal) -> int:
    return sum("service" in line for line in terminal.screen)


@pytest.mark.parametrize("columns", WIDTHS)
def test_it_is_driven_by_keys(
    terminal: Terminal, program: subprocess.Popen[str], columns: int
) -> None:
    terminal.begin(columns, TOP)
    until(lambda: jobs_on(terminal) == 4)
    screen = terminal.screen
    assert all(cell_len(line) <= columns for line in screen)
    assert screen[-1].startswith("q quit · s sort: age")
    if columns > 40:
        assert "first" in "\n".join(screen)
        assert "\\x1b]0;" in "\n".join(screen)
    terminal.press("s")
    until(lambda: "s sort: age" not in terminal.screen[-1])
    assert columns == 20 or "s sort: phase" in terminal.screen[-1]
    terminal.press("f")
    until(lambda: jobs_on(terminal) == 0)
    terminal.press("Escape")
    until(lambda: jobs_on(terminal) == 4)
    terminal.press("/", "f", "i", "r")
    until(lambda: terminal.screen[-1].startswith("filter: fir"))
    assert jobs_on(terminal) == 1
    terminal.press("Enter", "q")
    until(lambda: terminal.code)
    assert terminal.code == str(int(Exit.OK))
    assert not jobs_on(terminal), "the screen is as it was before"


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, Exit.INTERRUPTED), (signal.SIGTERM, Exit.TERMINATED)],
)
def test_a_signal_ends_it_and_the_screen_is_put_back(
    terminal: Terminal,
    program: subprocess.Popen[str],
    number: signal.Signals,
    code: Exit,
) -> None:
    terminal.begin(80, TOP)
    until(lambda: jobs_on(terminal) == 4)
    assert terminal.colours
    os.kill(int((terminal.folder / "pid").read_text("utf-8")), number)
    until(lambda: terminal.code)
    assert terminal.code == str(int(code))
    assert not jobs_on(terminal)
    assert not list((terminal.folder / ".spanrun").glob("top-*"))


def test_no_color_is_obeyed(terminal: Terminal, program: subprocess.Popen[str]) -> None:
    terminal.begin(80, f"env NO_COLOR=1 {TOP}")
    until(lambda: jobs_on(terminal) == 4)
    assert not re.search(r"\x1b\[[34][0-7]m", terminal.tmux("capture-pane", "-p", "-e"))


RUN = """
import asyncio
import spanrun as sr

async def call(number):
    if number == 2:
        raise ValueError
    if number == 4:
        await asyncio.Event().wait()

async def many(numbers):
    if 2 in numbers or 4 in numbers:
        await call(4)
    return numbers

async def main():
    async with sr.Runner("a-runner", limit=4) as runner:
        await asyncio.gather(
            runner.map(call, range(5), errors="collect", progress=True),
            runner.map_batches(many, range(5), size=2, progress=True),
        )

sr.run(main())
"""


@pytest.mark.parametrize("columns", WIDTHS)
def test_bars_of_two_runs_fit_into_the_terminal(
    terminal: Terminal, columns: int
) -> None:
    (terminal.folder / "prog.py").write_text(RUN, "utf-8")
    terminal.begin(columns, f"{sys.executable} prog.py")

    def bars() -> list[str]:
        return [line for line in terminal.screen if line.startswith("a-runner")]

    until(lambda: len(bars()) == 2)
    if columns >= 40:
        until(lambda: sum("4/5" in line for line in bars()) == 1)
        until(lambda: sum(line.endswith("1 failed") for line in bars()) == 1)
    assert terminal.screen[:2] == bars(), "no line was broken"
    assert not any(terminal.screen[2:])


def test_json_needs_no_terminal(tmp_path: Path) -> None:
    (tmp_path / ".spanrun").mkdir()
    in_an_hour = files.time.time_ns() + 3600 * 10**9  # is it then silent
    far = state(host="far", at_ns=in_an_hour, window=1.0)
    files.publish(tmp_path / ".spanrun", far)
    command = [sys.executable, "-m", "spanrun", "top", "--json"]
    ended = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert json.loads(ended.stdout)["processes"][0]["host"] == "far"
