"""How large the file of a long recording is."""

from pathlib import Path

from tests.view import ingest
from tests.view.conftest import packed

from spanrun.view.page import write

MOST = 2_000_000


def test_a_report_of_10_000_jobs_can_be_mailed(tmp_path: Path) -> None:
    ingest.session(tmp_path, 2_500, longer={"service": 2})
    data = packed(tmp_path)
    assert data["counts"]["jobs_shown"] == data["counts"]["jobs"] == 10_000
    assert data["counts"]["spans_shown"] == data["counts"]["spans"] > 30_000
    assert write(data, tmp_path / "run.html") <= MOST
