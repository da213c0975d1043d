"""What `logging` said is in the recording, beside the spans that it belongs to."""

import asyncio
import csv
import io
import json
import logging
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
)
from tests.telemetry.export.receiver import receiving
from tests.telemetry.logs.arrived import records

import spanrun as sr
from spanrun import recordings
from spanrun.errors import StoreError
from spanrun.telemetry.account import Account
from spanrun.telemetry.recordings.export import csv_lines
from spanrun.telemetry.recordings.signals import FILE, VERSION, SignalStore
from spanrun.view.data import data_of

STORED = Path(__file__).parents[2] / "data" / "store"
SECRET = "hunter2" * 2
log = logging.getLogger("app")


@pytest.fixture(autouse=True)
def level() -> Iterator[None]:
    log.setLevel(logging.INFO)
    yield
    log.setLevel(logging.NOTSET)


async def job(number: int) -> None:
    log.info("begin %d, password=%s", number, SECRET)
    with sr.unit("parse"):
        log.error("inside %d", number, extra={"size": number})


def run(folder: Path, **settings: Any) -> None:
    async def main() -> None:
        async with sr.Runner("work", limit=1) as runner:
            await runner.map(job, range(3))

    sr.configure(store=str(folder), **settings)
    try:
        log.info("outside")
        asyncio.run(main())
    finally:
        assert sr.shutdown(timeout=120)


def test_each_record_is_kept_with_its_job_and_span(tmp_path: Path):
    run(tmp_path, logs="INFO")
    with recordings.open(tmp_path) as recording:
        found = list(recording.logs(recording.session().id))
        spans = {span.span_id: span for span in recording.spans()}
        (of_run,) = recording.runs()
        assert list(recording.logs()) == found
    assert sorted((each.level, each.body) for each in found) == [
        *(("ERROR", f"inside {n}") for n in range(3)),
        *(("INFO", f"begin {n}, password=[redacted]") for n in range(3)),
        ("INFO", "outside"),
    ]
    for each in found:
        assert each.logger == "app"
        assert each.attributes["code.file.path"] == __file__
        if each.body == "outside":
            assert (each.trace_id, each.span_id) == (None, None)
            continue
        index = each.attributes["spanrun.job.index"]
        assert each.attributes["spanrun.run.id"] == of_run.id
        assert str(index) in each.body
        span = spans[each.span_id]
        assert span.trace_id == each.trace_id
        wanted = "parse" if each.level == "ERROR" else "job work"
        assert span.name == wanted
    assert SECRET not in repr(found)


def test_of_one_trace_there_are_its_own(tmp_path: Path):
    run(tmp_path, logs="INFO")
    with recordings.open(tmp_path) as recording:
        (trace,) = {each.trace_id for each in recording.logs() if each.trace_id}
        assert len(list(recording.logs(trace_id=trace))) == 6
        assert list(recording.logs(trace_id="0" * 32)) == []
        assert list(recording.logs("another")) == []


def test_nothing_is_kept_that_was_not_asked_for(tmp_path: Path):
    run(tmp_path)
    assert not (tmp_path / FILE).exists()
    with recordings.open(tmp_path) as recording:
        assert list(recording.logs()) == []


def test_what_is_kept_is_also_sent(tmp_path: Path):
    with receiving() as sink:
        run(tmp_path, logs="ERROR", endpoint=sink.url)
    with recordings.open(tmp_path) as recording:
        kept = sorted(each.body for each in recording.logs())
    sent = sorted(each.body.string_value for each in records(sink.requests))
    assert kept == sent == [f"inside {number}" for number in range(3)]


def test_a_page_has_them_with_their_spans(tmp_path: Path):
    run(tmp_path, logs="INFO")
    with recordings.open(tmp_path) as recording:
        (of_run,) = recording.runs()
        whole, part = data_of(recording), data_of(recording, of_run.id)
    assert (len(whole["logs"]["span"]), len(part["logs"]["span"])) == (7, 6)
    assert (whole["counts"]["logs"], part["counts"]["logs"]) == (7, 6)
    for page in (whole, part):
        names = {
            page["texts"][page["logs"]["text"][row]][:6]: page["texts"][
                page["spans"]["name"][span]
            ]
            for row, span in enumerate(page["logs"]["span"])
            if span >= 0
        }
        assert names == {"begin ": "job work", "inside": "parse"}


def test_they_are_a_table(tmp_path: Path):
    run(tmp_path, logs="ERROR")
    with recordings.open(tmp_path) as recording:
        text = "".join(csv_lines(recording, "", "logs"))
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["body"] for row in rows] == [f"inside {number}" for number in range(3)]
    assert {row["level"] for row in rows} == {"ERROR"}
    told = [json.loads(row["attributes"]) for row in rows]
    assert [each["size"] for each in told] == [0, 1, 2]


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """A store as releases have written it: logs are in a file of their own."""
    shutil.copy(STORED / "format-3.db", tmp_path / "telemetry.db")
    shutil.copy(STORED / "signals-1.db", tmp_path / FILE)
    return tmp_path


def test_an_old_store_has_no_logs(tmp_path: Path):
    shutil.copy(STORED / "format-3.db", tmp_path / "telemetry.db")
    with recordings.open(tmp_path) as recording:
        assert list(recording.logs()) == []
        assert len(list(recording.jobs())) == 21


def test_logs_that_an_older_release_received_are_read(stored: Path):
    with recordings.open(stored) as recording:
        session = recording.session()
        (each,) = recording.logs(session.id)
        assert (each.body, each.severity) == ("from another program", 13)
        assert recording.trace(each.trace_id)


def test_logs_of_another_format_are_refused(stored: Path):
    with closing(sqlite3.connect(stored / FILE)) as db:
        db.execute(f"PRAGMA user_version = {VERSION + 1}")
    with (
        recordings.open(stored) as recording,
        pytest.raises(StoreError, match=f"has format {VERSION + 1}"),
    ):
        list(recording.logs())


@pytest.mark.parametrize(
    "body",
    [b"no zlib", "x\x9c", b"x\x9cK\xcb\xcf\x07\x00\x02\x82\x01E"],
    ids=["no zlib", "text", "no message"],
)
def test_damaged_logs_are_refused(stored: Path, body: Any):
    with closing(sqlite3.connect(stored / FILE)) as db, db:
        db.execute("UPDATE batches SET body = ?", (body,))
    with recordings.open(stored) as recording, pytest.raises(StoreError):
        list(recording.logs())


def test_records_that_cannot_be_written_are_counted(tmp_path: Path):
    (tmp_path / FILE).mkdir()
    account = Account()
    store = SignalStore(tmp_path, account)
    store.add("session", "logs", 3, ExportLogsServiceRequest().SerializeToString())
    assert not store.close()
    assert sum(account.dropped.values()) == 3
