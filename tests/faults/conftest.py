"""What the tests of the files that SQLite writes have in common."""

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.faults import sqlite_calls
from tests.faults.disk import Faults


@pytest.fixture
def sqlite_faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Faults]:
    """Faults of the system calls that Python's SQLite makes, too."""
    with _faults(sqlite_calls.of_sqlite3, tmp_path, monkeypatch) as faults:
        yield faults


@pytest.fixture
def apsw_faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Faults]:
    """The same of apsw's."""
    with _faults(sqlite_calls.of_apsw, tmp_path, monkeypatch) as faults:
        yield faults


@contextmanager
def _faults(
    vfs: Callable[[], sqlite_calls.Vfs], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Generator[Faults]:
    try:
        found = vfs()
    except sqlite_calls.NoCallsError as why:
        pytest.skip(str(why))
    with monkeypatch.context() as patched:
        faults = Faults(folder / "none", patched, found)
        yield faults
        faults.remove()
