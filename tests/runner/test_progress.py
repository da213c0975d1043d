"""`Progress`: bars on a terminal, lines elsewhere, silence where that fails."""

import asyncio
import contextlib
import errno
import io
import os
import pty
import re
import struct
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from fcntl import ioctl
from typing import Any, TextIO

import pytest
from tests.test_text import ACTIVE, HOSTILE
from tests.waiting import PATIENCE, becomes

import spanrun as sr
from spanrun.outcome import Err, Ok, Timings
from spanrun.runner import progress as module
from spanrun.runner.progress import Progress
from spanrun.telemetry.observe import RunInfo
from spanrun.testing import no_leaks

OK = Ok(0, None, Timings())
ERR = Err(0, ValueError(), Timings())


def a_run(runner: str = "embed", total: int | None = 3, **options: Any) -> RunInfo:
    return RunInfo(f"{runner}-id", runner, total, 0, 0, total_items=total, **options)


def end(progress: Progress, run: RunInfo, outcome: Any) -> None:
    """A job ends, as a run tells it."""
    ended = "ok" if isinstance(outcome, Ok) else outcome.outcome
    run.items[ended] = run.items.get(ended, 0) + 1
    progress.job_ended(run, outcome)


def show(progress: Progress, run: RunInfo, *outcomes: Any) -> None:
    run.items.clear()
    progress.run_opened(run)
    for outcome in outcomes:
        end(progress, run, outcome)
    progress.run_closed(run)


def test_what_a_checkpoint_had_is_done_and_no_part_of_the_rate() -> None:
    """A bar of a resumed run began at zero, and never came to its end."""
    for bars in (False, True):
        stream = io.StringIO()
        progress, run = Progress(stream, bars=bars), a_run(total=1_000_000)
        progress.run_opened(run)
        run.restored = 999_998
        end(progress, run, OK)
        end(progress, run, ERR)
        progress.run_closed(run)
        last = re.split(r"[\r\n]+", stream.getvalue().strip())[-1]
        assert re.search(r"\b1000000/1000000\b", last), last
        assert "1 failed" in last
        rate = re.search(r"([\d.]+)\s?jobs/s", last)
        assert rate is None or float(rate[1]) < 100_000, last


def test_a_run_whose_outcomes_are_all_in_its_checkpoint_is_done() -> None:
    stream = io.StringIO()
    progress, run = Progress(stream), a_run()
    progress.run_opened(run)
    run.restored = 3
    progress.run_closed(run)
    assert stream.getvalue() == "embed: 3/3 · 0.0 jobs/s · 0 failed\n"


# Lines


def test_elsewhere_a_run_ends_with_a_line() -> None:
    stream = io.StringIO()
    show(Progress(stream), a_run(), OK, ERR, OK)
    assert re.fullmatch(r"embed: 3/3 · [\d.]+ jobs/s · 1 failed\n", stream.getvalue())


def test_a_line_comes_every_two_seconds_at_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    stream = io.StringIO()
    progress, run = Progress(stream), a_run(total=100)
    progress.run_opened(run)
    for _ in range(50):
        now += 0.1
        end(progress, run, OK)
    assert stream.getvalue().splitlines() == [
        "embed: 20/100 · 10.0 jobs/s · 0 failed · 8 s left",
        "embed: 40/100 · 10.0 jobs/s · 0 failed · 6 s left",
    ]


def test_without_a_total_there_is_no_time_left() -> None:
    stream = io.StringIO()
    show(Progress(stream), a_run(total=None), OK)
    assert re.fullmatch(r"embed: 1 · [\d.]+ jobs/s · 0 failed\n", stream.getvalue())


@pytest.mark.parametrize(
    ("run", "outcomes"),
    [
        (a_run(calls=True, total=None), [OK]),  # single calls
        (a_run(total=0), []),
        (a_run(total=None), []),
    ],
)
def test_where_nothing_is_done_nothing_is_said(run: RunInfo, outcomes: Any) -> None:
    stream = io.StringIO()
    show(Progress(stream), run, *outcomes)
    assert stream.getvalue() == ""


def test_a_name_is_inert_in_lines_and_in_bars() -> None:
    stream, bars = io.StringIO(), io.StringIO()
    run = a_run(f"a{HOSTILE}\nb")
    show(Progress(stream), run, OK)
    show(Progress(bars, bars=True), run, OK)
    for written in (stream, bars):
        shown = written.getvalue().replace("\x1b[A", "")  # tqdm's own
        assert not set(shown) & {*ACTIVE} - {"\r"}
        assert "\\x1b]0;title" in shown
    assert stream.getvalue().count("\n") == 1


# Bars


@contextlib.contextmanager
def terminal(columns: int = 100) -> Iterator[tuple[TextIO, Callable[[], str]]]:
    """A terminal to write to, and what it was sent."""
    screen, writing = pty.openpty()
    ioctl(writing, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    parts: list[bytes] = []

    def read() -> None:
        with contextlib.suppress(OSError):  # Linux: the other side is closed
            while part := os.read(screen, 65_536):
                parts.append(part)

    reader = threading.Thread(target=read)
    reader.start()
    stream = os.fdopen(writing, "w", encoding="utf-8")

    def shown() -> str:
        stream.close()
        reader.join(PATIENCE)
        return b"".join(parts).decode()

    try:
        yield stream, shown
    finally:
        shown()
        os.close(screen)


@pytest.fixture(autouse=True)
def _term(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")


def test_on_a_terminal_each_run_has_a_bar() -> None:
    with terminal() as (stream, shown):
        show(Progress(stream), a_run(), OK, ERR, OK)
        screen = shown()
    assert re.search(r"embed +100%\|█{20}\| 3/3 · [\d.]+ jobs/s · ", screen)
    assert "1 failed" in screen


def screen(sent: str) -> list[str]:
    """What stands on the screen after that was sent, without empty lines."""
    rows: list[str] = [""]
    row = column = 0
    for part in re.findall(r"\x1b\[A|.", sent, re.DOTALL):
        if part == "\x1b[A":
            row -= 1
        elif part == "\r":
            column = 0
        elif part == "\n":
            row += 1
            rows += [""] * (row == len(rows))
        else:
            rows[row] = (
                rows[row][:column].ljust(column) + part + rows[row][column + 1 :]
            )
            column += 1
    return [line for line in rows if line.strip()]


def test_bars_of_runs_at_the_same_time_stand_below_each_other() -> None:
    with terminal() as (stream, shown):
        progress = Progress(stream)
        runs = [a_run("split"), a_run("embed", None), a_run("store")]
        for run in runs:
            progress.run_opened(run)
        for run in reversed(runs):
            end(progress, run, OK)
        for run in runs:
            progress.run_closed(run)
        lines = screen(shown())
    assert [line.split()[0] for line in lines] == ["split", "embed", "store"]


@pytest.mark.parametrize("columns", [20, 40, 80, 200])
def test_a_bar_fits_into_the_terminal(columns: int) -> None:
    with terminal(columns) as (stream, shown):
        show(Progress(stream), a_run("a-runner-with-a-long-name"), OK, ERR, OK)
        parts = re.split(r"[\r\n]+|\x1b\[A", shown())
    assert max(map(len, parts)) <= columns


def test_a_terminal_that_cannot_move_its_cursor_gets_lines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    with terminal() as (stream, shown):
        show(Progress(stream), a_run(), OK)
        assert shown().startswith("embed: 1/3 · ")


def test_bars_can_be_asked_for() -> None:
    stream = io.StringIO()
    show(Progress(stream, bars=True), a_run(), OK)
    assert "33%|" in stream.getvalue()


def test_bars_leave_no_thread() -> None:
    with no_leaks():
        show(Progress(io.StringIO(), bars=True), a_run(), OK)


# Where nothing can be written


class Broken(io.StringIO):
    """Fails from the n-th write on."""

    def __init__(self, error: Exception, after: int = 0) -> None:
        super().__init__()
        self.left = after
        self.error = error
        self.asked = 0

    def write(self, text: str) -> int:
        self.asked += 1
        if self.left <= 0:
            raise self.error
        self.left -= 1
        return super().write(text)


@pytest.mark.parametrize("bars", [True, False])
@pytest.mark.parametrize("after", range(4))
@pytest.mark.parametrize(
    "error",
    [
        BrokenPipeError(errno.EPIPE, "Broken pipe"),
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EIO, "Input/output error"),
        ValueError("I/O operation on closed file"),
    ],
)
def test_it_falls_silent_and_changes_nothing(
    error: Exception, after: int, *, bars: bool
) -> None:
    stream = Broken(error, after)
    progress = Progress(stream, bars=bars)
    for runner in ("one", "two", "three"):
        show(progress, a_run(runner), OK, ERR, OK)
    asked = stream.asked
    if asked > after and not bars:  # it has failed: nobody tries it again
        show(progress, a_run("four"), OK)
        assert stream.asked == asked


@pytest.mark.parametrize("bars", [None, True])
def test_a_closed_stream(*, bars: bool | None) -> None:
    stream = io.StringIO()
    stream.close()
    show(Progress(stream, bars=bars), a_run(), OK)


def test_no_stream_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)  # it was closed before we began
    show(Progress(), a_run(), OK)


async def test_a_run_does_not_notice_that_nobody_can_see_it() -> None:
    async def double(number: int) -> int:
        return 2 * number

    progress = Progress(Broken(OSError(errno.ENOSPC, "full")))
    async with sr.Runner("double", observers=[progress]) as runner:
        assert await runner.map(double, [1, 2]) == [2, 4]
        assert await runner.map(double, [3]) == [6]


# Asked for by a run


async def double(number: int) -> int:
    return 2 * number


async def doubled(numbers: list[int]) -> list[int]:
    if 3 in numbers:
        raise ValueError("3")
    return [2 * number for number in numbers]


async def test_a_run_that_asks_for_it_is_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with sr.Runner("double") as runner:
        assert await runner.map(double, [1, 2]) == [2, 4]
        assert capsys.readouterr().err == ""
        assert await runner.map(double, [1, 2], progress=True) == [2, 4]
        assert capsys.readouterr().err.startswith("double: 2/2 · ")
        async with runner.stream(double, iter([1, 2]), progress=True) as outcomes:
            assert [each.index async for each in outcomes] == [0, 1]
    assert capsys.readouterr().err.startswith("double: 2 · ")


async def test_in_batches_items_are_counted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with sr.Runner("double") as runner:
        await runner.map_batches(doubled, [1, 2, 5, 6, 7], size=2, progress=True)
        shown = capsys.readouterr().err
        assert re.match(r"double: 5/5 · [\d.]+ items/s · 0 failed\n", shown)
        await runner.map_batches(
            doubled, range(8), size=4, errors="collect", progress=True
        )
        assert " · 1 failed\n" in (shown := capsys.readouterr().err)
        assert shown.startswith("double: 8/8 · ")
        async with runner.stream_batches(
            doubled, iter([1, 2, 4]), size=2, progress=True
        ) as outcomes:
            assert len([each async for each in outcomes]) == 3
    assert capsys.readouterr().err.startswith("double: 3 · ")


async def test_observers_see_the_items_that_are_done() -> None:
    seen: list[tuple[int, int]] = []

    class Watch:
        def run_opened(self, run: RunInfo) -> None:
            assert (run.total, run.total_items, run.batched) == (2, 5, True)

        def job_ended(self, run: RunInfo, outcome: sr.Outcome[Any]) -> None:
            seen.append((run.items["ok"], run.items["failed"]))

        def run_closed(self, run: RunInfo) -> None:
            seen.append((run.items["ok"], run.items["failed"]))

    async with sr.Runner("double", limit=1, observers=[Watch()]) as runner:
        await runner.map_batches(doubled, [1, 2, 4, 3, 5], size=3, errors="collect")
    assert seen[0] == (3, 0)
    assert seen[-1] == (4, 1)


async def test_who_shows_it_anyway_shows_it_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with sr.Runner("double", observers=[Progress()]) as runner:
        await runner.map(double, [1, 2], progress=True)
    assert capsys.readouterr().err.count("double: 2/2") == 1


@pytest.mark.parametrize("bars", [True, False])
async def test_what_is_done_is_shown_while_the_next_job_takes_long(
    *, bars: bool
) -> None:
    stream = io.StringIO()
    release = asyncio.Event()

    async def job(number: int) -> None:
        if number == 3:
            await release.wait()

    async with sr.Runner("embed", observers=[Progress(stream, bars=bars)]) as runner:
        mapped = asyncio.create_task(runner.map(job, range(4)))
        await becomes(lambda: "3/4" in stream.getvalue())
        release.set()
        await mapped
    assert "4/4" in stream.getvalue()
