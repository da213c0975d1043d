"""`spanrun demo`: real text, a real and imperfect service, and what is told of it."""

import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.cli.conftest import Cli

from spanrun.cli.demo import QUERIES
from spanrun.ingest.documents import topics

LINES = (
    r"(\d+) documents stored \((\d+) chunks\) · 0 unchanged · 0 failed · 0 skipped · ",
    r"runner +jobs +ok +failed +retries +p50 +p95 +p99",
    r"(split|extract|embed|store|search) +\d+ +\d+ +0 +\d+( +[\d.]+ (s|ms|µs)){3}",
    r"where the time went",
    r"embed +[\d.]+ s  [·░▒▓█!─]{28}  \w+ [<>]?\d+ %",
    r"slowest job   embed #\d+: [\d.]+ m?s, of which [\d.]+ m?s \w+ · trace \w{32}$",
    r"telemetry     kept in \.spanrun/telemetry\.db",
    r"(Services take|What|embed|store|A).*\d %",
    r" +\d+ %  ",
    r"hint          spanrun trace \w{6} ",
)


@pytest.mark.slow
def test_the_whole_demo(cli: Cli) -> None:
    temporary = Path(tempfile.gettempdir())
    before = set(temporary.glob("spanrun-demo-*"))
    result = cli("demo")
    assert result.code == 0, result.err
    for query in QUERIES:
        assert f"\n? {query}\n  1. " in result.out
    for line in LINES:
        assert re.search(f"^{line}", result.out, re.MULTILINE), line
    assert f"{len(topics())} documents stored" in result.out
    assert f"store: {len(topics())}/{len(topics())}" in result.err
    assert set(temporary.glob("spanrun-demo-*")) == before


def test_as_json_it_is_one_object(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spanrun.cli.demo.topics", lambda: topics()[:6])
    result = cli("demo", "--json", "--no-progress")
    assert result.code == 0
    assert result.err == ""
    told = result.json
    assert told["documents"]["stored"] == 6
    assert set(told["hits"]) == set(QUERIES)
    assert all(len(hits) == 2 for hits in told["hits"].values())
    jobs = {stats["name"]: stats["jobs"] for stats in told["runners"]}
    assert jobs["split"] == jobs["extract"] == jobs["store"] == 6
    assert jobs["search"] == len(QUERIES)


def test_a_proxy_for_others_is_not_asked(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spanrun.cli.demo.topics", lambda: topics()[:2])
    cli.environ = {
        "HTTP_PROXY": "http://127.0.0.1:9",
        "ALL_PROXY": "http://127.0.0.1:9",
    }
    assert cli("demo", "--json").code == 0


@pytest.mark.parametrize("stand", [Path.touch, Path.mkdir], ids=["file", "folder"])
def test_a_local_store_that_cannot_be_used_costs_the_telemetry_alone(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, stand: Callable[[Path], None]
) -> None:
    monkeypatch.setattr("spanrun.cli.demo.topics", lambda: topics()[:2])
    where = cli.folder / ".spanrun"
    if stand is Path.mkdir:
        where.mkdir()
        where /= "telemetry.db"
    stand(where)
    result = cli("demo", "--no-progress")
    assert result.code == 0
    assert re.search(r"^telemetry     .*not kept$", result.out, re.MULTILINE)
    assert result.err.startswith("telemetry: spanrun's local store .spanrun/telemetry")
    assert len(result.err.splitlines()) == 1
