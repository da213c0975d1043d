"""`spanrun runs`, `show` and `trace`, over what a program has recorded."""

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from tests.cli.conftest import Cli
from tests.programs import plain_environ
from tests.waiting import PATIENCE

from spanrun import recordings
from spanrun.cli import waterfall
from spanrun.cli.exits import Exit

PROGRAM = """
import asyncio
import spanrun as sr

async def fetch(number):
    with sr.unit("read", path="a\\x1b[2Jb"):
        await asyncio.sleep(0)
    if number == 3:
        raise ConnectionError("reset by \\x1b[31mpeer")

async def parse(text):
    return len(text)

async def main():
    retry = sr.Retry(on=ConnectionError, attempts=2)
    async with sr.Runner("fetch", limit=4, retry=retry) as fetcher:
        await fetcher.map(fetch, range(40), errors="collect")
    async with sr.Runner("parse") as parser:
        await parser.map(parse, ["a", "bb"], key=str)

sr.configure(service_name="pages")
sr.run(main())
"""


MORE = "… and 100 spans more, which took less time (--limit)"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the program ran twice."""
    folder = tmp_path_factory.mktemp("recorded")
    (folder / "pages.py").write_text(textwrap.dedent(PROGRAM), "utf-8")
    for _ in range(2):
        subprocess.run(
            [sys.executable, "pages.py"],
            cwd=folder,
            env=plain_environ(),
            check=True,
            timeout=PATIENCE,
        )
    return folder


@pytest.fixture
def here(cli: Cli, recorded: Path) -> Cli:
    cli.environ["SPANRUN_STORE"] = str(recorded / ".spanrun")
    return cli


def failed_trace(here: Cli) -> str:
    trace: str = here("show", "--json").json["failures"][0]["trace_id"]
    return trace


def test_programs_are_listed_the_newest_first(here: Cli, recorded: Path):
    result = here("runs")
    assert (result.code, result.err) == (Exit.OK, "")
    with recordings.open(recorded / ".spanrun") as recording:
        ids = [session.id[:8] for session in recording.sessions()]
    lines = result.out.splitlines()
    assert [line.split()[0] for line in lines] == ids
    assert all(line.endswith("pages.py  (fetch, parse)") for line in lines)
    assert here("runs", "--limit", "1").out == f"{lines[0]}\n"


def test_as_json_they_have_their_runs(here: Cli):
    first, _ = here("runs", "--json").json["sessions"]
    assert [run["runner"] for run in first["runs"]] == ["fetch", "parse"]


def test_a_session_is_summed_up(here: Cli):
    result = here("show")
    assert result.code == Exit.OK
    assert "42 jobs · 1 failed · " in result.out
    assert "where the time went" in result.out
    assert "1 × fetch: ConnectionError: reset by \\x1b[31mpeer" in result.out
    session = here("runs").out.split()[0]
    assert here("show", session).out == result.out


def test_a_run_is_summed_up_alone(here: Cli):
    _, run = here("runs", "--json").json["sessions"][0]["runs"]
    result = here("show", run["id"])
    assert "run parse\n2 jobs · 0 failed" in result.out
    assert here("show", run["id"], "--json").json["runners"][0]["jobs"] == 2


def test_a_trace_is_a_line_for_each_span_below_its_parent(here: Cli):
    result = here("trace", failed_trace(here), "--limit", "7")
    assert (result.code, result.err) == (Exit.OK, "")
    head, _, run, *lines = result.out.splitlines()
    assert " failed · " in head
    assert run.startswith("run fetch")
    names = [re.split(r"\s{2,}", line.strip())[0] for line in lines]
    assert "✕ job fetch #3" in names
    assert names.index("✕ job fetch #3") < names.index("✕ attempt fetch")
    text = "\n".join(lines)
    assert "service " in text
    assert "ConnectionError: reset by \\x1b[31mpeer" in text
    assert "spans more, which took less time (--limit)" in lines[-1]
    assert "\x1b" not in result.out


def test_a_part_of_its_id_is_enough(here: Cli):
    trace = failed_trace(here)
    whole = here("trace", trace)
    assert here("trace", trace[:12]).out == whole.out


def test_a_trace_is_shown_whole_as_json(here: Cli):
    spans = here("trace", failed_trace(here), "--json").json["spans"]
    failed = [span for span in spans if span["status"] == "ERROR"]
    assert {span["name"] for span in failed} == {
        "job fetch",
        "attempt fetch",
        "read",
    } - {"read"}


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_lines_fit_the_terminal(here: Cli, width: int):
    here.environ["COLUMNS"] = str(width)
    for line in here("trace", failed_trace(here)).out.splitlines()[2:]:
        assert len(line) <= max(width, len(MORE))


def test_what_is_not_there_is_said_with_what_to_do(here: Cli, cli: Cli):
    for command in (("show", "nothing"), ("trace", "ffffff"), ("trace", "f" * 32)):
        result = here(*command)
        assert (result.code, result.out) == (Exit.INPUT, "")
        assert result.err.count("\n") == 2
    cli.environ["SPANRUN_STORE"] = str(cli.folder / "empty")
    result = cli("runs")
    assert result.code == Exit.INPUT
    assert "Run something first" in result.err


def span(
    name: str, number: int, parent: int | None, *, took: int, failed: bool = False
) -> recordings.Span:
    status = "ERROR" if failed else "UNSET"
    return recordings.Span(
        *("f" * 32, f"{number:016x}", None if parent is None else f"{parent:016x}"),
        *(name, "INTERNAL", number, number + took, status, "", {}, (), (), ""),
    )


def names(spans: list[recordings.Span], limit: int) -> list[str]:
    lines = list(waterfall.lines(spans, [], 80, limit))[2:]
    marked = [line.strip().removeprefix("✕ ") for line in lines]
    return [re.split(r"\s{2,}", line)[0] for line in marked]


def test_of_a_large_trace_what_failed_and_what_took_longest_is_shown():
    stages = [span(f"stage{n}", n, 0, took=9_000 + n) for n in (1, 2)]
    jobs = [
        span(f"job{n}", n, 1 + n % 2, took=n, failed=n == 500) for n in range(10, 900)
    ]
    spans = [span("root", 0, None, took=9_999), *stages, *jobs]
    shown = [name for name in names(spans, 6) if not name.startswith("…")]
    assert shown == ["root", "stage1", "job500", "job898", "stage2", "job899"]


def test_spans_that_are_above_themselves_are_shown():
    spans = [span("a", 1, 2, took=5), span("b", 2, 1, took=5), span("c", 3, 3, took=5)]
    assert sorted(names(spans, 9)) == ["a", "b", "c"]


def record(span: int, time_ns: int, body: object) -> recordings.LogRecord:
    return recordings.LogRecord(
        time_ns, 13, "WARNING", body, "f" * 32, f"{span:016x}", {}, "app"
    )


def test_what_was_logged_stands_below_its_span():
    spans = [span("root", 0, None, took=5_000_000), span("job", 1, 0, took=4_000_000)]
    logs = [
        record(1, 3_000_000, {"late": True}),
        record(1, 2_000_000, "early, password=hunter2hunter2 \x1b[2J"),
        record(7, 1_000_000, "of a span that isn't shown"),
        *(record(0, n, f"line {n}") for n in range(25)),
    ]
    lines = [line.strip() for line in waterfall.lines(spans, logs, 80, 10)][2:]
    assert lines[0].startswith("root")
    assert lines[1] == "0 · WARNING line 0"
    assert lines[20:22] == ["0.02 µs · WARNING line 19", "… and 5 log records more"]
    assert lines[22].startswith("job")
    assert lines[23].startswith("2.00 ms · WARNING early, password=[redacted]")
    assert "\x1b" not in lines[23]
    assert lines[24:] == ['3.00 ms · WARNING {"late": true}']
