"""Commands over files of OTLP: what they say is what they say of the store."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import Cli
from tests.view.conftest import record

from spanrun import recordings
from spanrun.errors import StoreError
from spanrun.telemetry import otlp_file
from spanrun.telemetry.recordings import otlp_files


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recording of four runners, and its traces as OTLP."""
    folder = tmp_path_factory.mktemp("pipeline")
    store = record(folder, "pipeline.py", "60")
    with recordings.open(store) as recording:
        requests = list(recording.requests())
    lines = [otlp_file.line_of(request) for request in requests]
    (folder / "lines.json").write_text("".join(lines))
    whole = b"".join(request.SerializeToString() for request in requests)
    (folder / "whole.bin").write_bytes(whole)
    resources = [each for line in lines for each in json.loads(line)["resourceSpans"]]
    (folder / "document.json").write_text(
        json.dumps({"resourceSpans": resources}, indent=1)
    )
    (folder / "framed.bin").write_bytes(b"".join(map(otlp_file.framed, requests)))
    for name in ("lines.json", "whole.bin"):
        packed = gzip.compress((folder / name).read_bytes())
        (folder / f"{name}.gz").write_bytes(packed)
    return folder


FILES = (
    "lines.json",
    "document.json",
    "whole.bin",
    "framed.bin",
    "lines.json.gz",
    "whole.bin.gz",
)


@pytest.mark.parametrize("name", FILES)
def test_show_tells_the_same_of_a_file(cli: Cli, pipeline: Path, name: str) -> None:
    """But for the session: its id, its command, and jobs whose traces weren't kept."""
    store = told(cli, "show", "--store", str(pipeline / ".spanrun"))
    file = told(cli, "show", str(pipeline / name))
    assert [each["name"] for each in file["runners"]] == [
        each["name"] for each in store["runners"]
    ]
    for ours, theirs in zip(file["runners"], store["runners"], strict=True):
        assert ours["jobs"] == theirs["jobs"] == 60
        assert ours["ok"] == theirs["ok"]
        assert ours["retries"] == theirs["retries"]
        assert ours["phases"] == pytest.approx(theirs["phases"], abs=1e-9)
        assert ours["percentiles"] == pytest.approx(theirs["percentiles"], abs=1e-8)
    assert file["failures"] == store["failures"]
    assert file["slowest"]["trace_id"] == store["slowest"]["trace_id"]
    assert file["seconds"] == pytest.approx(store["seconds"], abs=1e-2)
    causes = [
        [
            (each["runner"], each["phase"], each["jobs"])
            for each in found["explanation"]["causes"]
        ]
        for found in (file, store)
    ]
    assert causes[0] == causes[1]


def test_what_happened_is_in_the_file_too(pipeline: Path) -> None:
    """But for new limits, signals, and tasks that are left: no span has them."""
    found: list[list[Any]] = []
    for path in (pipeline / ".spanrun", pipeline / FILES[0]):
        with recordings.open(path) as recording:
            events = [
                each._replace(time_ns=0, stack=None) for each in recording.events()
            ]
        found.append(events)
    kinds = {event.kind for event in found[0]}
    assert kinds == {"retry", "blocked"}
    told = [
        sorted((*each[1:4], sorted(each.value.items())) for each in some)
        for some in found
    ]
    assert told[0] == told[1]


def told(cli: Cli, *argv: str) -> Any:
    result = cli(*argv, "--json")
    assert result.code == 0, result.err
    return json.loads(result.out)


def test_a_trace_is_the_same(cli: Cli, pipeline: Path) -> None:
    with recordings.open(pipeline / ".spanrun") as recording:
        ids = sorted({trace.id for trace in recording.traces()})[:5]
    for trace in ids:
        store = told(cli, "trace", trace, "--store", str(pipeline / ".spanrun"))
        assert told(cli, "trace", trace, "--store", str(pipeline / FILES[0])) == store


def test_of_a_file_the_slowest_trace_is_shown(cli: Cli, pipeline: Path) -> None:
    with recordings.open(pipeline / FILES[0]) as recording:
        slowest = max(recording.traces(), key=lambda each: each.duration)
    shown = told(cli, "trace", str(pipeline / FILES[0]))
    assert {each["trace_id"] for each in shown["spans"]} == {slowest.id}


def test_each_command_takes_a_file(cli: Cli, pipeline: Path, tmp_path: Path) -> None:
    file = str(pipeline / FILES[0])
    (session,) = told(cli, "runs", file)["sessions"]
    assert [run["runner"] for run in session["runs"]].count("embed") == 1
    page = tmp_path / "run.html"
    assert cli("report", file, "-o", str(page)).code == 0
    assert page.stat().st_size > 50_000
    for argv in ((file,), ("--store", file)):
        jobs = cli("export", *argv, "--format", "csv")
        assert len(jobs.out.splitlines()) == 241


def test_what_is_exported_of_a_file_is_what_is_in_it(cli: Cli, pipeline: Path) -> None:
    out = cli("export", str(pipeline / FILES[2]), "--format", "otlp-json").out
    spans = [0, 0]
    for number, text in enumerate((out, (pipeline / FILES[0]).read_text())):
        for line in text.splitlines():
            for resource in json.loads(line)["resourceSpans"]:
                spans[number] += sum(len(s["spans"]) for s in resource["scopeSpans"])
    assert spans[0] == spans[1] > 240


def test_two_files_are_compared(cli: Cli, pipeline: Path, tmp_path: Path) -> None:
    a, other = pipeline / FILES[0], record(tmp_path, "pipeline.py", "40")
    b = tmp_path / "b.json"
    assert cli("export", "--store", str(other), "--format", "otlp-json", "-o", str(b))
    found = told(cli, "diff", str(a), str(b))
    jobs = [(each["a"]["jobs"], each["b"]["jobs"]) for each in found["runners"]]
    assert jobs == [(60, 40)] * 4
    same = told(cli, "diff", str(a), str(a))
    for each in same["runners"]:
        assert each["a"] == each["b"]
    mixed = cli("diff", str(a), "last", "--store", str(other))
    assert mixed.code == 65
    assert "two files, or two ids" in mixed.err


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "text": (lambda path: path.write_text("hello\n"), "no OTLP"),
    "empty": (lambda path: path.write_bytes(b""), ""),
    "another JSON": (lambda path: path.write_text('{"a": 1}\n'), "no OTLP"),
    "a page": (lambda path: path.write_text("<html></html>"), "no OTLP"),
    "half a gzip": (
        lambda path: path.write_bytes(gzip.compress(b"{}" * 99)[:-9]),
        "can't be read",
    ),
    "random": (lambda path: path.write_bytes(bytes(range(255, 100, -1))), "no OTLP"),
    "a bad line": (
        lambda path: path.write_text('{"resourceSpans": []}\n{"resourceSpans": 7}\n'),
        "line 2",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_another_file_is_named(cli: Cli, tmp_path: Path, name: str) -> None:
    write, why = BAD[name]
    path = tmp_path / "some.file"
    write(path)
    for command in ("show", "runs", "report", "trace"):
        result = cli(command, str(path))
        assert result.code in (65, 74), result
        assert str(path) in result.err
        assert why in result.err
    with pytest.raises((StoreError, LookupError)):
        recordings.open(path)


def test_a_file_that_is_not_there_is_said(cli: Cli) -> None:
    result = cli("runs", "nowhere.json")
    assert result.code == 65
    assert "nowhere.json isn't there" in result.err


def test_what_is_imported_is_deleted(
    pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(otlp_files.tempfile, "tempdir", str(tmp_path))
    with recordings.open(pipeline / FILES[0]) as recording:
        assert list(tmp_path.iterdir()) == [recording.path.parent]
        assert len(list(recording.jobs())) == 240
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(StoreError):
        recordings.open(tmp_path / "bad.json")
    assert [path.name for path in tmp_path.iterdir()] == ["bad.json"]


def test_a_compressed_file_beyond_the_bound_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(otlp_files, "MAX_BYTES", 1_000)
    path = tmp_path / "large.gz"
    path.write_bytes(gzip.compress(b" " * 2_000_000))
    with pytest.raises(StoreError, match="split it"):
        recordings.open(path)
