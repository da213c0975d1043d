"""``spanrun export``: what was recorded, for other programs."""

import csv
import io
import json
import logging
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest
from tests.cli.conftest import Cli

import spanrun as sr
from spanrun import recordings
from spanrun.telemetry.otlp_file import read


async def job(number: int) -> None:
    if number == 7:
        logging.getLogger("app").warning("no %d", number)
        raise LookupError("no\x1b[31m 7")


def run_jobs() -> None:
    async def main() -> None:
        retry = sr.Retry(on=LookupError, attempts=2, base=0.0)
        async with sr.Runner("demo", limit=10, retry=retry) as runner:
            await runner.map(job, range(10), key=lambda n: f"k{n}", errors="collect")

    sr.configure(store=".spanrun", logs="WARNING")
    try:
        sr.run(main())
    finally:
        sr.shutdown()


@pytest.fixture
def kept(cli: Cli) -> recordings.Recording:
    run_jobs()
    return cli.telemetry


def test_otlp_is_as_collectors_write_it(cli: Cli, kept: recordings.Recording) -> None:
    result = cli("export", "--format", "otlp-json", "-o", "spans.jsonl")
    assert (result.code, result.out) == (0, "")
    assert result.err == "wrote spans.jsonl\n"
    with kept:
        wanted = list(kept.requests())
    assert [placed.request for placed in read(Path("spans.jsonl"))] == wanted
    for line in Path("spans.jsonl").read_text().splitlines():
        (resource,) = json.loads(line)["resourceSpans"]
        for span in resource["scopeSpans"][0]["spans"]:
            assert len(span["traceId"]) == 32
            assert span["kind"] in range(1, 6)
    assert cli("registry", "check", "spans.jsonl").code == 0


def test_csv_is_a_table_of_all_jobs(cli: Cli, kept: recordings.Recording) -> None:
    result = cli("export", "--format", "csv")
    assert result.code == 0
    rows = list(csv.DictReader(io.StringIO(result.out)))
    with kept:
        jobs = list(kept.jobs())
    assert [int(row["index"]) for row in rows] == [job.index for job in jobs]
    assert [float(row["duration"]) for row in rows] == [job.duration for job in jobs]
    (failed,) = [row for row in rows if row["outcome"] == "failed"]
    assert (failed["runner"], failed["key"]) == ("demo", "k7")
    assert failed["error"] == "no\x1b[31m 7"


@pytest.mark.parametrize("table", ["sessions", "runs", "jobs", "spans", "logs"])
def test_csv_of_each_table(cli: Cli, kept: recordings.Recording, table: str) -> None:
    run_jobs()  # another session
    with kept:
        session = kept.session()
        wanted = {
            "sessions": lambda: [session],
            "runs": lambda: list(kept.runs(session.id)),
            "jobs": lambda: list(kept.jobs(session.id)),
            "spans": lambda: list(kept.spans(session.id)),
            "logs": lambda: list(kept.logs(session.id)),
        }[table]()
    last = ("--session", session.id[:8], "--table", table)
    rows = list(csv.reader(io.StringIO(cli("export", "--format", "csv", *last).out)))
    assert len(rows) == 1 + len(wanted)
    assert {len(row) for row in rows} == {len(rows[0])}


def test_csv_of_events(cli: Cli, kept: recordings.Recording) -> None:
    with kept:
        (event,) = kept.events()
        (run,) = kept.runs()
    told = cli("export", "--format", "csv", "--table", "events").out
    (row,) = csv.DictReader(io.StringIO(told))
    assert row["time_ns"] == str(event.time_ns)
    assert (row["kind"], row["runner"], row["run"]) == ("retry", "demo", run.id)
    assert (row["index"], row["stack"]) == ("7", "")
    assert json.loads(row["value"]) == event.value
    assert event.value["error"] == "LookupError"


def test_sqlite_has_events_too(cli: Cli, kept: recordings.Recording) -> None:
    kept.close()
    assert cli("export", "--format", "sqlite", "-o", "all.db").code == 0
    with closing(sqlite3.connect("all.db")) as db:
        told = db.execute('SELECT kind, runner, "index" FROM events').fetchall()
    assert told == [("retry", "demo", 7)]


def test_nothing_that_a_terminal_obeys_is_shown_on_one(
    cli: Cli, kept: recordings.Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept.close()
    monkeypatch.setattr("typer.testing._NamedTextIOWrapper.isatty", lambda _: True)
    result = cli("export", "--format", "csv")
    assert r"no\x1b[31m 7" in result.out


def test_sqlite_has_all_tables(cli: Cli, kept: recordings.Recording) -> None:
    assert cli("export", "--format", "sqlite", "-o", "all.db").code == 0
    with closing(sqlite3.connect("all.db")) as db:
        ((runner, jobs),) = db.execute(
            'SELECT runner, count("index") FROM jobs GROUP BY runner'
        ).fetchall()
        (spans,) = db.execute("SELECT count(*) FROM spans").fetchone()
        (name,) = db.execute(
            "SELECT attributes ->> '$.\"spanrun.runner.name\"' FROM spans"
        ).fetchone()
        assert db.execute("SELECT count(*) FROM sessions, runs").fetchone() == (1,)
    assert (runner, jobs, name) == ("demo", 10, "demo")
    with kept:
        assert spans == sum(1 for _ in kept.spans())


def test_parquet_without_pyarrow_says_what_to_install(
    cli: Cli, kept: recordings.Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept.close()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    result = cli("export", "--format", "parquet", "-o", "jobs.parquet")
    assert result.code == 78
    assert "needs pyarrow\n  pip install pyarrow" in result.err
    assert not list(Path().glob("jobs.parquet*"))


@pytest.mark.parametrize("table", ["sessions", "runs", "jobs", "spans"])
def test_parquet_is_a_table(cli: Cli, kept: recordings.Recording, table: str) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    kept.close()
    given = ("export", "--format", "parquet", "--table", table, "-o", "one.parquet")
    assert cli(*given).code == 0
    told = cli("export", "--format", "csv", "--table", table).out
    rows = list(csv.DictReader(io.StringIO(told)))
    read_back = parquet.read_table("one.parquet")
    assert read_back.column_names == list(rows[0])
    assert read_back.num_rows == len(rows)


@pytest.mark.parametrize("form", ["sqlite", "parquet"])
def test_a_file_wants_a_name(cli: Cli, kept: recordings.Recording, form: str) -> None:
    kept.close()
    result = cli("export", "--format", form)
    assert result.code == 2
    assert result.err.endswith("Name it with -o.\n")


def test_no_file_is_written_over(cli: Cli, kept: recordings.Recording) -> None:
    kept.close()
    Path("mine.csv").write_text("mine")
    result = cli("export", "--format", "csv", "-o", "mine.csv")
    assert result.code == 2
    assert "mine.csv is there already\n  Name another file" in result.err
    assert Path("mine.csv").read_text() == "mine"


def test_what_can_not_be_written_leaves_nothing(
    cli: Cli, kept: recordings.Recording
) -> None:
    kept.close()
    result = cli("export", "--format", "csv", "-o", "no/such/folder.csv")
    assert result.code == 74
    assert not Path("no").exists()


@pytest.mark.parametrize("session", ["nope", ""])
def test_a_session_that_is_not_there(
    cli: Cli, kept: recordings.Recording, session: str
) -> None:
    kept.close()
    result = cli("export", "--format", "csv", "--session", session)
    if session:
        assert result.code == 65
        assert "there is no such session or run\n  Give an id" in result.err
    else:
        assert result.code == 0


def test_without_any_store(cli: Cli) -> None:
    result = cli("export", "--format", "csv")
    assert result.code == 65
    assert "telemetry.db isn't there\n  Run something first" in result.err
