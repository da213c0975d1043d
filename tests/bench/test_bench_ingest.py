"""`python -m bench.ingest` itself works: a very small one, and the page it writes."""

import sys

import pytest
from bench import ingest

from spanrun.ingest.documents import topics


@pytest.mark.slow
def test_a_bench_measures_every_contestant_and_writes_the_page(
    tmp_path, monkeypatch, capsys
):
    page = tmp_path / "page.md"
    page.write_text(ingest.PAGE.read_text())
    arguments = ["ingest", "--rounds", "1", "--latency", "0", "--write"]
    monkeypatch.setattr(ingest, "PAGE", page)
    monkeypatch.setattr(ingest, "topics", lambda: topics()[:5])
    monkeypatch.setattr(sys, "argv", arguments)

    ingest.main()

    shown = capsys.readouterr().out
    assert all(each.title in shown for each in ingest.CONTESTANTS)
    assert "5 documents, " in shown
    rows = [line for line in shown.splitlines() if " ms | " in line]
    assert len(rows) == len(ingest.CONTESTANTS)
    assert all(line.endswith("| 0 |") for line in rows)  # embedding requests
    assert shown.strip() in page.read_text()
