"""What the tests of the checkpoint's and of the local store's file have in common."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.faults import sqlite_calls
from tests.faults.disk import Faults


@pytest.fixture
def sqlite_faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Faults]:
    """Faults of the system calls that SQLite makes, too."""
    if why_not := sqlite_calls.why_not():
        pytest.skip(why_not)
    with monkeypatch.context() as patched:
        faults = Faults(tmp_path / "none", patched, sqlite=True)
        yield faults
        faults.remove()
