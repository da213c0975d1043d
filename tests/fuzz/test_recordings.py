"""Whatever is in the file of a local store: it is read, or refused by `StoreError`."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fuzz.examples import fuzz, memory_below

from spanrun import recordings
from spanrun.errors import StoreError
from spanrun.telemetry.recordings import columns
from spanrun.telemetry.recordings.columns import Content, blob

STORED = Path(__file__).parents[1] / "data" / "store" / "format-3.db"
COLUMNS = [
    ("jobs", "rows"),
    ("jobs", "texts"),
    ("jobs", "traces"),
    ("jobs", "jobs"),
    ("events", "rows"),
    ("batches", "heads"),
    ("batches", "bodies"),
    ("batches", "ids"),
    ("batches", "traces"),
    ("scopes", "about"),
]
BLOBS = ("rows", "texts", "heads", "bodies")
MEMORY = 24  # MiB

numbers = st.integers(0, 2**32 - 1).map(lambda n: n.to_bytes(4, "little"))
parts = st.one_of(st.binary(max_size=8), numbers)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "MAX_BYTES", 1 << 20)


Change = Callable[[bytes], bytes]


@st.composite
def changes(draw: st.DrawFn) -> tuple[Change, Change]:
    """Other bytes at some place, or an end there: in any bytes, and in a blob."""
    place, part = draw(st.floats(0, 1)), draw(parts)
    cut, inside = draw(st.booleans()), draw(st.booleans())

    def change(content: bytes) -> bytes:
        at = int(place * len(content))
        return content[:at] + part + (b"" if cut else content[at + len(part) :])

    def change_blob(content: bytes) -> bytes:
        return blob(change(Content(content).rest())) if inside else change(content)

    return change, change_blob


def reads() -> Iterator[Callable[[recordings.Recording], object]]:
    yield lambda recording: list(recording.jobs())
    yield lambda recording: list(recording.events())
    yield lambda recording: list(recording.traces())
    yield lambda recording: list(recording.spans())
    yield lambda recording: [recording.trace(t.id) for t in recording.traces()]


@fuzz
@given(where=st.sampled_from(COLUMNS), changed=changes())
def test_damage_is_read_or_refused(
    where: tuple[str, str], changed: tuple[Change, Change]
) -> None:
    (table, column), (change, change_blob) = where, changed
    with TemporaryDirectory() as folder:
        path = Path(folder, "telemetry.db")
        path.write_bytes(STORED.read_bytes())
        with closing(sqlite3.connect(path)) as db:
            (held,) = db.execute(f"SELECT {column} FROM {table}").fetchone()  # noqa: S608 -- ours
            if column == "jobs":
                value: object = int.from_bytes(change(bytes(4))[:4], "big")
            elif column in BLOBS and held:
                value = change_blob(held)
            else:
                value = change(held)
            db.execute(f"UPDATE {table} SET {column} = ?", [value])  # noqa: S608 -- ours
            db.commit()
        with recordings.open(path) as recording:
            for read in reads():
                with memory_below(MEMORY), suppress(StoreError):
                    read(recording)
