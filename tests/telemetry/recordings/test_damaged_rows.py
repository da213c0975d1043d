"""Rows that somebody else wrote: whoever reads them gets a `StoreError`."""

import json
import math
import shutil
import sqlite3
from array import array
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import spanrun as sr
from spanrun import recordings
from spanrun.errors import StoreError
from spanrun.recordings import Recording
from spanrun.telemetry.recordings.columns import Columns, blob
from spanrun.telemetry.recordings.summary import summary_of
from spanrun.view.data import data_of


async def fail(number: int) -> None:
    raise ValueError(f"item {number}")


async def main() -> None:
    async with sr.Runner("count", limit=2) as runner:
        await runner.map(fail, range(3), errors="collect")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    sr.configure(store=str(folder), endpoint=None)
    sr.run(main())
    assert sr.shutdown()
    return folder / "telemetry.db"


def everything(recording: Recording) -> None:
    session = recording.session().id
    list(recording.spans(session))
    summary_of(recording, session)
    json.dumps(data_of(recording, session), allow_nan=False)


WRONG = [
    ("runs", "policies", "[]"),
    ("runs", "policies", "7"),
    ("runs", "policies", "{"),
    ("runs", "policies", '{"limit":{"type":"Limit","concurrency":"x"}}'),
    ("runs", "policies", '{"limit":{"type":"Limit"}}'),
    ("runs", "policies", b"\xff"),
    ("runs", "runner", None),
    ("runs", "runner", b"\xff"),
    ("runs", "started_ns", "yesterday"),
    ("runs", "ended_ns", "tomorrow"),
    ("runs", "total", b"many"),
    ("runs", "trace_id", b"\xff"),
    ("runs", "source_wait", "long"),
    ("sessions", "command", None),
    ("sessions", "command", b"\xff"),
    ("sessions", "started_ns", "x"),
    ("sessions", "written_ns", None),
    ("sessions", "pid", "x"),
    ("jobs", "jobs", "x"),
    ("jobs", "jobs", None),
    ("jobs", "jobs", -1),
    ("jobs", "rows", b"x"),
    ("jobs", "rows", "text"),
    ("jobs", "texts", blob(b"[1, 2, 3, 4, 5, 6]")),
    ("jobs", "texts", blob(b'{"a": 1}')),
    ("jobs", "traces", "x"),
    ("batches", "heads", b"x"),
    ("batches", "heads", "text"),
    ("batches", "ids", None),
    ("batches", "bodies", "x"),
    ("batches", "traces", b""),
    ("scopes", "about", b"\xff"),
    ("scopes", "about", None),
    ("scopes", "about", b""),
]


@pytest.mark.parametrize(("table", "column", "value"), WRONG)
def test_nonsense_in_a_column_is_told_as_damage(
    recorded: Path, tmp_path: Path, table: str, column: str, value: Any
) -> None:
    path = shutil.copytree(recorded.parent, tmp_path / "copy") / recorded.name
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(f"UPDATE {table} SET {column} = ?", [value])  # noqa: S608 -- ours
    with (
        recordings.open(path) as recording,
        pytest.raises(StoreError, match="is damaged") as caught,
    ):
        everything(recording)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("seconds", [math.nan, math.inf])
def test_times_that_can_not_be_are_told_as_damage(
    recorded: Path, tmp_path: Path, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = shutil.copytree(recorded.parent, tmp_path / "copy") / recorded.name
    with recordings.open(path) as recording:
        monkeypatch.setattr(Columns, "doubles", lambda *_: array("d", [seconds] * 3))
        with pytest.raises(StoreError, match="is damaged"):
            everything(recording)


@pytest.mark.parametrize("policies", ["{}", '{"limit":"mine.Own"}', '{"limit":7}'])
def test_policies_of_another_making_are_no_damage(
    recorded: Path, tmp_path: Path, policies: str
) -> None:
    path = shutil.copytree(recorded.parent, tmp_path / "copy") / recorded.name
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE runs SET policies = ?", [policies])
    with recordings.open(path) as recording:
        everything(recording)
