"""`spanrun ingest`: what goes in, what is left alone, and what is told of it."""

import json
from pathlib import Path

import pytest
from tests.cli.conftest import FILES, Cli, documents, write

from spanrun.testing import EmbeddingServer


def test_each_format_is_ingested_and_others_are_skipped_with_a_reason(
    cli: Cli, docs: Path
) -> None:
    write(docs, {"logo.svg": "<svg/>", "empty.txt": ""})
    result = cli("ingest", "docs")
    assert result.code == 0
    assert documents(cli.folder) == dict.fromkeys(FILES, 1)
    assert result.out.startswith("4 documents stored (4 chunks) · 0 unchanged")
    assert "skipped docs/logo.svg: not a text format: .svg" in result.err
    assert "skipped docs/empty.txt: it is empty" in result.err


def test_a_link_out_of_the_folder_is_stored_only_when_asked_for(
    cli: Cli, docs: Path
) -> None:
    write(cli.folder / "elsewhere", {"secret.txt": "The key is under the mat."})
    (docs / "passwd.txt").symlink_to(cli.folder / "elsewhere" / "secret.txt")
    result = cli("ingest", "docs")
    assert result.code == 0
    assert "skipped docs/passwd.txt: a symbolic link out of the folder" in result.err
    assert documents(cli.folder) == dict.fromkeys(FILES, 1)
    assert cli("ingest", "docs", "--follow-links").code == 0
    assert len(documents(cli.folder)) == len(FILES) + 1


def test_title_and_summary_are_stored(cli: Cli, docs: Path) -> None:
    cli("ingest", "docs")
    rows = cli.store.execute("select source, title, summary from documents").fetchall()
    titles = {Path(source).name: title for source, title, _ in rows}
    assert titles == {
        "fox.txt": "The quick brown fox jumps over the lazy dog",
        "sailing.md": "Sailing",
        "bread.rst": "Baking bread",
        "alps.html": "Mountains",
    }
    assert all(summary for _, _, summary in rows)


def test_a_second_run_embeds_nothing(
    cli: Cli, docs: Path, endpoint: EmbeddingServer, at: tuple[str, ...]
) -> None:
    assert cli("ingest", "docs", *at).code == 0
    before = endpoint.stats.requests
    result = cli("ingest", "docs", *at, "--json")
    assert result.code == 0
    assert endpoint.stats.requests == before
    assert result.json["documents"]["unchanged"] == len(FILES)
    assert result.json["runners"] == []


def test_a_second_run_embeds_nothing_in_this_process_either(
    cli: Cli, docs: Path
) -> None:
    cli("ingest", "docs")
    result = cli("ingest", "docs")
    assert result.code == 0
    assert "0 documents stored (0 chunks) · 4 unchanged" in result.out
    assert "embed" not in result.out
    assert result.err == ""


def test_a_changed_file_is_replaced_and_the_others_are_not_touched(
    cli: Cli, docs: Path, endpoint: EmbeddingServer, at: tuple[str, ...]
) -> None:
    cli("ingest", "docs", *at)
    before = endpoint.stats.texts
    write(docs, {"fox.txt": "An owl sleeps by day.\n"})
    result = cli("ingest", "docs", *at, "--json")
    assert result.json["documents"]["stored"] == 1
    assert result.json["documents"]["unchanged"] == len(FILES) - 1
    assert endpoint.stats.texts == before + 1
    texts = [text for (text,) in cli.store.execute("select text from chunks")]
    assert "An owl sleeps by day." in texts
    assert not any("quick brown fox" in text for text in texts)
    assert documents(cli.folder) == dict.fromkeys(FILES, 1)


def test_a_file_that_is_gone_stays_in_the_store_until_it_is_pruned(
    cli: Cli, docs: Path
) -> None:
    (docs / "inner").mkdir()
    write(docs / "inner", {"deep.txt": "Far down.\n"})
    write(cli.folder / "other", {"else.txt": "Elsewhere.\n"})
    assert cli("ingest", "docs", "other").code == 0
    (docs / "fox.txt").unlink()
    (docs / "inner/deep.txt").unlink()
    (cli.folder / "other/else.txt").unlink()
    assert cli("ingest", "docs").code == 0
    assert documents(cli.folder).keys() == {*FILES, "deep.txt", "else.txt"}
    result = cli("ingest", "docs", "--prune", "--no-progress")
    assert result.code == 0
    assert " · 2 pruned · " in result.out
    assert documents(cli.folder).keys() == {*FILES, "else.txt"} - {"fox.txt"}
    assert "fox" not in cli("search", "fox", "--json").out.split('"hits"')[1]
    assert cli("ingest", "docs", "--prune", "--json").json["documents"]["pruned"] == 0


def test_what_can_not_be_read_now_is_not_pruned(cli: Cli, docs: Path) -> None:
    cli("ingest", "docs")
    (docs / "fox.txt").write_bytes(b"\0\0")
    assert cli("ingest", "docs", "--prune").code == 1
    assert documents(cli.folder).keys() == FILES.keys()


def test_a_folder_that_is_gone_prunes_nothing(cli: Cli, docs: Path) -> None:
    write(cli.folder / "other", {"else.txt": "Elsewhere.\n"})
    cli("ingest", "docs", "other")
    docs.rename(cli.folder / "moved")
    assert cli("ingest", "docs", "other", "--prune").code == 1
    assert documents(cli.folder).keys() == {*FILES, "else.txt"}


def test_json_is_one_object_and_nothing_else(cli: Cli, docs: Path) -> None:
    write(docs, {"logo.svg": "<svg/>"})
    result = cli("ingest", "docs", "--json")
    told = json.loads(result.out)
    assert result.out == json.dumps(told) + "\n"
    assert told["documents"]["stored"] == len(FILES)
    assert [skipped["kind"] for skipped in told["documents"]["skipped"]] == ["format"]
    assert {stats["name"] for stats in told["runners"]} == {
        "split",
        "extract",
        "embed",
        "store",
    }


def test_progress_goes_to_standard_error_as_lines(cli: Cli, docs: Path) -> None:
    result = cli("ingest", "docs")
    assert "store: 4/4 · " in result.err
    assert cli("ingest", "docs", "--store", "other", "--no-progress").err == ""


def test_the_summary_tells_counts_times_and_the_slowest_job(
    cli: Cli, docs: Path
) -> None:
    told = cli("ingest", "docs", "--json").json
    for stats in told["runners"]:
        p50, p95, p99 = stats["percentiles"]
        assert 0 < p50 <= p95 <= p99
        assert stats["ok"] == stats["jobs"]
        with cli.telemetry as recording:
            runs = {run.id for run in recording.runs() if run.runner == stats["name"]}
            total = sum(job.duration for job in recording.jobs() if job.run in runs)
        assert sum(stats["phases"].values()) == pytest.approx(total, rel=0.01)
    trace_id = told["slowest"]["trace_id"]
    with cli.telemetry as recording:
        names = [span.name for span in recording.trace(trace_id)]
    assert "job " + told["slowest"]["name"].split()[0] in names
    assert told["telemetry"]["dropped"] == 0


def test_the_trace_of_the_run_holds_every_job(cli: Cli, docs: Path) -> None:
    told = cli("ingest", "docs", "--json").json
    with cli.telemetry as recording:
        names = [span.name for span in recording.trace(told["trace_id"])]
    assert names.count("run ingest") == 1
    for runner in ("split", "extract", "store"):
        assert names.count(f"job {runner}") == len(FILES)
    assert names.count("title") == names.count("summary") == len(FILES)


def test_without_telemetry_the_result_is_the_same(cli: Cli, docs: Path) -> None:
    cli.environ = {"OTEL_SDK_DISABLED": "true"}
    result = cli("ingest", "docs")
    assert result.code == 0
    assert documents(cli.folder) == dict.fromkeys(FILES, 1)
    assert "telemetry     off (OTEL_SDK_DISABLED)" in result.out
    assert "nothing" not in result.out


def test_a_local_store_that_cannot_be_used_costs_the_telemetry_alone(
    cli: Cli, docs: Path
) -> None:
    (cli.folder / ".spanrun").mkdir()
    (cli.folder / ".spanrun/telemetry.db").write_text("no database" * 100)
    result = cli("ingest", "docs")
    assert result.code == 0
    assert documents(cli.folder) == dict.fromkeys(FILES, 1)
    assert (
        "telemetry: spanrun's local store .spanrun/telemetry.db can't be used: "
        "file is not a database"
    ) in result.err
    assert result.out.count("not kept") == 1


def test_two_folders_are_two_stores(cli: Cli, docs: Path) -> None:
    cli("ingest", "docs/fox.txt", "--store", "a")
    cli.environ = {"SPANRUN_STORE": "b"}
    cli("ingest", "docs/bread.rst")
    assert "fox" in cli("search", "fox", "--store", "a").out
    assert "bread" in cli("search", "fox").out


def test_a_file_name_cannot_give_orders_to_the_terminal(
    cli: Cli, tmp_path: Path
) -> None:
    write(tmp_path / "docs", {"a\x1b[2Jb\n.txt": "Harmless words.", "\x1b]0;.svg": "x"})
    result = cli("ingest", "docs", "--no-progress")
    found = cli("search", "words")
    assert result.code == found.code == 0
    assert "\x1b" not in result.out + result.err + found.out
