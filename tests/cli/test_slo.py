"""``spanrun slo``: files in, rules out; and a verdict with an exit code."""

import contextlib
import gzip
import json
import os
import shutil
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import yaml
from tests.cli.conftest import Cli
from tests.slo.files import AVAILABILITY, LATENCY, changed
from tests.waiting import PATIENCE

import spanrun as sr
from spanrun.slo import groups, load, panels
from spanrun.telemetry.recordings.schema import VERSION
from spanrun.view.feed import Limits

FORMAT_1 = Path(__file__).parents[1] / "data" / "store" / "format-1.db"


async def job(number: int) -> None:
    if number % 100 == 7:
        raise LookupError(number)


def run_jobs(count: int) -> None:
    """Jobs in the local store of the working folder, 1 in 100 of which fails."""

    async def main() -> None:
        async with sr.Runner("demo", limit=10) as runner:
            await runner.map(job, range(count), errors="collect")

    sr.configure(store=".spanrun")
    try:
        sr.run(main())
    finally:
        sr.shutdown()


@pytest.fixture
def file(cli: Cli) -> Path:
    path = cli.folder / "jobs.yaml"
    path.write_text(AVAILABILITY, encoding="utf-8")
    return path


def test_compile_writes_rules_and_panels(cli: Cli, file: Path) -> None:
    result = cli("slo", "compile", "jobs.yaml", "--out", "a/rules")
    assert result.code == 0
    assert result.out == "wrote a/rules/jobs.yaml\nwrote a/rules/jobs.panels.json\n"
    slos = load([file])
    written = yaml.safe_load(Path("a/rules/jobs.yaml").read_text())
    assert written == groups(slos)
    shown = json.loads(Path("a/rules/jobs.panels.json").read_text())
    assert shown == {"demo": [panel._asdict() for panel in panels(slos[0])]}


def test_compile_json_says_what_was_written(cli: Cli, file: Path) -> None:
    result = cli("slo", "compile", "jobs.yaml", "--out", "r", "--health", "--json")
    assert result.json == {
        "written": ["r/jobs.yaml", "r/jobs.panels.json", "r/health.yaml"]
    }
    health = yaml.safe_load(Path("r/health.yaml").read_text())
    assert [rule["alert"] for rule in health["groups"][0]["rules"]] == [
        "SpanrunLoopBlocked",
        "SpanrunJobsStuck",
        "SpanrunJobsHang",
        "SpanrunNoJobs",
        "SpanrunSaturated",
        "SpanrunTelemetrySpooling",
        "SpanrunTelemetryDropped",
    ]


def test_compile_links_to_the_run_books_that_are_named(cli: Cli, file: Path) -> None:
    cli("slo", "compile", "jobs.yaml", "--out", "r", "--runbooks", "https://wiki/b/")
    assert "https://wiki/b/errors-burn-the-budget.md" in Path("r/jobs.yaml").read_text()


def test_compile_tells_which_conditions_cannot_be_met(cli: Cli, file: Path) -> None:
    file.write_text(changed(AVAILABILITY, "0.99", "0.9"), encoding="utf-8")
    result = cli("slo", "compile", "jobs.yaml", "--out", "r")
    assert result.code == 0
    assert result.err == (
        "demo: no page by 1h: even if every event is bad, "
        "it burns only 10 times too fast\n"
    )


def test_compile_refuses_a_name_twice(cli: Cli, file: Path) -> None:
    again = cli.folder / "again.yaml"
    again.write_text(LATENCY, encoding="utf-8")
    result = cli("slo", "compile", "jobs.yaml", "again.yaml", "--out", "r")
    assert result.code == 78
    assert "again.yaml: demo is there already\n  Give it another" in result.err
    assert not Path("r").exists()


def test_compile_refuses_two_files_of_one_name(cli: Cli, file: Path) -> None:
    again = cli.folder / "b" / "jobs.yaml"
    again.parent.mkdir()
    again.write_text(changed(LATENCY, "name: demo", "name: other"), encoding="utf-8")
    result = cli("slo", "compile", "jobs.yaml", "b/jobs.yaml", "--out", "r")
    assert result.code == 2


@pytest.mark.parametrize("out", ["jobs.yaml", "jobs.yaml/rules", "/dev/null/rules"])
def test_compile_into_what_is_no_folder(out: str, cli: Cli, file: Path) -> None:
    result = cli("slo", "compile", "jobs.yaml", "--out", out)
    assert (result.code, result.out) == (74, "")
    assert result.err.endswith("Name another folder with --out.\n")


def test_a_refused_part_is_told_by_line(cli: Cli, file: Path) -> None:
    file.write_text(changed(AVAILABILITY, "30d", "7d"), encoding="utf-8")
    result = cli("slo", "compile", "jobs.yaml", "--out", "r")
    assert (result.code, result.out) == (78, "")
    assert result.err == (
        "spanrun: jobs.yaml:30: spec.timeWindow[0].duration is '7d'\n"
        "  It must be 28d or 4w or 30d\n"
    )


def test_a_file_that_is_not_there(cli: Cli) -> None:
    assert cli("slo", "check", "none.yaml").code == 2


def test_check_judges_the_last_run(cli: Cli, file: Path) -> None:
    run_jobs(300)
    result = cli("slo", "check", "jobs.yaml")
    assert (result.code, result.err) == (0, "")
    assert result.out == (
        "demo  ok      3 of 300 events bad, 1.000%, where 1% may be: "
        "0% of the budget left\n"
    )
    run_jobs(90)
    result = cli("slo", "check", "jobs.yaml", "--run", "last", "--json")
    assert result.code == 99
    (told,) = result.json["slos"]
    assert told == {
        "slo": "demo",
        "group": {},
        "target": 0.99,
        "total": 90,
        "bad": 1,
        "bad_ratio": 1 / 90,
        "budget_remaining": pytest.approx(-1 / 9),
        "met": False,
    }
    with cli.telemetry as recording:
        first = recording.sessions()[-1].id
    assert cli("slo", "check", "jobs.yaml", "--run", first).code == 0


def test_check_of_a_broken_objective_says_so(cli: Cli, file: Path) -> None:
    run_jobs(50)
    result = cli("slo", "check", "jobs.yaml")
    assert result.code == 99
    assert result.out.startswith("demo  BROKEN  1 of 50 events bad, 2.000%")
    assert result.out.endswith("-100% of the budget left\n")


def test_check_without_any_run(cli: Cli, file: Path) -> None:
    result = cli("slo", "check", "jobs.yaml")
    assert (result.code, result.out) == (65, "")
    assert result.err == (
        "spanrun: .spanrun/telemetry.db isn't there\n"
        "  Run something first, or name --store.\n"
    )
    assert not Path(".spanrun").exists()


def test_check_of_a_run_without_an_event_is_no_success(cli: Cli, file: Path) -> None:
    run_jobs(10)
    ended = "spanrun.job.outcome: [ok, failed, timed_out]"
    text = changed(AVAILABILITY, ended, "spanrun.runner.name: other")
    ended = "spanrun.job.outcome: [failed, timed_out]"
    text = changed(text, ended, "spanrun.runner.name: other")
    file.write_text(text, encoding="utf-8")
    result = cli("slo", "check", "jobs.yaml")
    assert (result.code, result.out) == (65, "demo  no events\n")


def test_check_of_an_unknown_run(cli: Cli, file: Path) -> None:
    run_jobs(10)
    result = cli("slo", "check", "jobs.yaml", "--run", "nope")
    assert result.code == 65
    assert "there is no such session or run\n  Give an id, or last." in result.err


def no_database(path: Path) -> None:
    path.write_text("no database, but long enough to be one")


def of_a_later_release(path: Path) -> None:
    shutil.copy(FORMAT_1, path)
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {VERSION + 1}")


def of_an_earlier_release(path: Path) -> None:
    shutil.copy(FORMAT_1, path)


def of_another_program(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE bookmarks (url)")


@pytest.mark.parametrize(
    ("stand", "what"),
    [
        (no_database, "file is not a database"),
        (
            of_a_later_release,
            f"has format {VERSION + 1}, and this spanrun reads format {VERSION}",
        ),
        (
            of_an_earlier_release,
            f"has format 1, and this spanrun reads format {VERSION}",
        ),
        (of_another_program, "belongs to another program (it has 'bookmarks' in it)"),
        (Path.mkdir, "is no file"),
        (os.mkfifo, "is no file"),
    ],
)
def test_check_of_what_is_no_store_of_ours(
    cli: Cli, file: Path, stand: Callable[[Path], None], what: str
) -> None:
    Path(".spanrun").mkdir()
    stand(Path(".spanrun/telemetry.db"))
    result = cli("slo", "check", "jobs.yaml")
    assert (result.code, result.out) == (74, "")
    assert result.err.startswith("spanrun: .spanrun/telemetry.db ")
    assert what in result.err
    assert result.err.endswith("ame another folder with --store\n")


def test_check_in_a_folder_that_is_a_file(cli: Cli, file: Path) -> None:
    Path(".spanrun").touch()
    result = cli("slo", "check", "jobs.yaml")
    assert (result.code, result.out) == (74, "")
    assert "telemetry.db can't be read, [Errno 20] Not a directory" in result.err


def test_check_of_a_run_and_a_server_at_once(cli: Cli, file: Path) -> None:
    result = cli(
        "slo", "check", "jobs.yaml", "--run", "last", "--prometheus", "http://localhost"
    )
    assert result.code == 2


@contextmanager
def answering(
    status: int, body: str | bytes, coding: str = "identity"
) -> Iterator[str]:
    """A server that is no Prometheus."""
    sent = body.encode() if isinstance(body, str) else body

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.send_header("Content-Encoding", coding)
            self.send_header("Content-Length", str(len(sent)))
            self.end_headers()
            with suppress(ConnectionError):  # it may have seen enough
                self.wfile.write(sent)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://user:secret@127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (200, "<html>", "answers 200, and not as Prometheus does"),
        (200, "[1]", "answers 200, and not as Prometheus does"),
        (200, '{"status": "success"}', "answers 200, and not as Prometheus does"),
        (404, "", "answers 404, and not as Prometheus does"),
        (422, '{"status": "error", "error": "too many samples"}', "too many samples"),
    ],
)
def test_check_of_a_server_that_is_no_prometheus(
    status: int, body: str, said: str, cli: Cli, file: Path
) -> None:
    with answering(status, body) as url:
        result = cli("slo", "check", "jobs.yaml", "--prometheus", url)
    assert (result.code, result.out) == (69, "")
    assert said in result.err
    assert "secret" not in result.err


@pytest.mark.parametrize(
    ("body", "coding", "said"),
    [
        (gzip.compress(b" " * 2**24), "gzip", "more than 1048576 bytes"),
        (b" " * 2**24, "identity", "more than 1048576 bytes"),
        (gzip.compress(b"[]")[:-1], "gzip", "it breaks off in the middle"),
        (b"[]", "br", "it is packed as 'br'"),
    ],
    ids=["bomb", "large", "truncated", "unknown"],
)
def test_check_reads_and_unpacks_no_more_than_it_needs(
    body: bytes, coding: str, said: str, cli: Cli, file: Path
) -> None:
    with answering(200, body, coding) as url:
        result = cli("slo", "check", "jobs.yaml", "--prometheus", url)
    assert result.code == 69
    assert said in result.err


def test_check_of_a_dead_server(cli: Cli, file: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    result = cli("slo", "check", "jobs.yaml", "--prometheus", url)
    assert result.code == 69
    assert "can't be reached" in result.err


@pytest.mark.parametrize("url", ["nonsense", "ftp://x", "http://a:b", ""])
def test_check_of_what_is_no_url(url: str, cli: Cli, file: Path) -> None:
    assert cli("slo", "check", "jobs.yaml", "--prometheus", url).code == 2


def test_check_into_a_closed_pipe(start: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "jobs.yaml").write_text(AVAILABILITY, encoding="utf-8")
    process = start("slo", "compile", "jobs.yaml", "--out", "r")
    process.stdout.close()
    assert process.wait(timeout=PATIENCE) == 0
    assert "Traceback" not in process.stderr.read()


def test_check_writes_the_verdicts_for_a_ci_server(cli: Cli, file: Path) -> None:
    run_jobs(300)
    broken = changed(AVAILABILITY, "name: demo", "name: strict")
    other = changed(AVAILABILITY, "name: demo", "name: of-others")
    of_others = "where:\n                spanrun.runner.name: no\n"
    texts = (
        AVAILABILITY,
        changed(changed(broken, "0.99", "0.999"), "What it is for.", "a < b & c"),
        changed(other, "where:\n", of_others),
    )
    file.write_text("---\n".join(texts), encoding="utf-8")
    result = cli("slo", "check", "jobs.yaml", "--junit", "out.xml")
    assert result.code == 99
    suite = ET.parse(cli.folder / "out.xml").getroot()  # noqa: S314 -- our own
    assert suite.attrib == {
        "name": "spanrun slo",
        "tests": "3",
        "failures": "1",
        "errors": "0",
        "skipped": "1",
    }
    met, failed, without = suite
    assert (met.attrib, list(met)) == ({"classname": "demo", "name": "demo"}, [])
    (failure,) = failed
    assert failure.attrib["message"] == (
        "3 of 300 events bad, 1.000%, where 0.1% may be: -900% of the budget left"
    )
    assert failure.text == "a < b & c"
    assert [each.tag for each in without] == ["skipped"]
    result = cli("slo", "check", "jobs.yaml", "--junit", "no/such/out.xml")
    assert (result.code, "can't be written" in result.err) == (74, True)


def test_budget_tells_what_is_left(cli: Cli, file: Path) -> None:
    run_jobs(300)
    text = changed(AVAILABILITY, "0.99", "0.98")
    strict = changed(AVAILABILITY, "name: demo", "name: strict")
    strict = changed(strict, "0.99", "0.999")
    file.write_text(f"{text}---\n{strict}", encoding="utf-8")
    result = cli("slo", "budget", "jobs.yaml")
    assert result.code == 0
    assert result.out.splitlines() == [
        f"{told} left of 30 days' budget: 3 of 300 events bad, {more}"
        for told, more in (
            ("demo      50%", "3 more may be bad"),
            ("strict  -900%", "3 too many are bad"),
        )
    ]
    demo, _ = cli("slo", "budget", "jobs.yaml", "--json").json["slos"]
    assert {key: demo[key] for key in ("total", "bad", "allowed", "left")} == {
        "total": 300,
        "bad": 3,
        "allowed": pytest.approx(6),
        "left": pytest.approx(3),
    }


def test_check_of_a_file_of_otlp(cli: Cli, file: Path) -> None:
    run_jobs(300)
    assert cli("export", "-o", "traces.json", "--format", "otlp-json").code == 0
    shutil.rmtree(cli.folder / ".spanrun")
    result = cli("slo", "check", "jobs.yaml", "--store", "traces.json")
    assert result.code == 0, result.err
    assert "3 of 300 events bad" in result.out


def test_check_of_a_report(cli: Cli, file: Path) -> None:
    """The page alone is looked at, with all that the others have."""
    run_jobs(50)
    assert cli("report").code == 0
    shutil.rmtree(".spanrun")
    broken = cli("slo", "check", "jobs.yaml", "--report", "run.html")
    assert broken.code == 99
    assert broken.out.startswith("demo  BROKEN  1 of 50 events bad, 2.000%")
    told = cli(
        *("slo", "check", "jobs.yaml", "--report", "run.html"),
        *("--json", "--junit", "verdicts.xml"),
    ).json
    assert (told["report"], told["slos"][0]["bad"]) == ("run.html", 1)
    assert ET.parse("verdicts.xml").getroot().get("failures") == "1"  # noqa: S314 -- ours
    left = cli("slo", "budget", "jobs.yaml", "--report", "run.html", "--json")
    assert (left.code, left.json["slos"][0]["allowed"]) == (0, 0.5)


def test_check_of_a_report_that_has_not_all(
    cli: Cli, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_jobs(50)
    monkeypatch.setattr(Limits, "__new__", lambda cls: tuple.__new__(cls, (20, 30)))
    assert cli("report").code == 0
    result = cli("slo", "check", "jobs.yaml", "--report", "run.html")
    assert (result.code, result.out) == (65, "")
    assert "run.html has only 20 of 50 jobs, " in result.err


def test_check_of_what_is_no_report(cli: Cli, file: Path) -> None:
    result = cli("slo", "check", "jobs.yaml", "--report", "jobs.yaml")
    assert (result.code, result.out) == (78, "")
    assert "jobs.yaml is no report\n" in result.err
    both = cli("slo", "check", "jobs.yaml", "--report", "jobs.yaml", "--run", "last")
    assert both.code == 2
    assert "--run and --report are given" in both.err
