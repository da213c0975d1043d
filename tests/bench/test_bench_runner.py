"""`make bench` itself works: a very small one, and the page that it writes."""

import json
import sys

import pytest
from bench import report, runner

TINY = runner.Plan(rounds=2, sizes=(300, 400), held=500, streamed=(500,))


@pytest.fixture
def page(tmp_path, monkeypatch):
    copy = tmp_path / report.PAGE.name
    copy.write_text(report.PAGE.read_text())
    monkeypatch.setattr(report, "PAGE", copy)
    return copy


@pytest.mark.slow
def test_a_bench_measures_every_contestant_and_writes_the_page(
    page, tmp_path, monkeypatch, capsys
):
    samples = tmp_path / "samples.json"
    monkeypatch.setattr(runner, "FULL", TINY)
    monkeypatch.setattr(
        sys, "argv", ["bench.runner", "--write", "--json", str(samples)]
    )

    runner.main()

    shown = capsys.readouterr().out
    assert all(report.TITLES[name] in shown for name in runner.RIVALS)
    results = json.loads(samples.read_text())
    assert {len(each["300"]) for each in results["cpu"].values()} == {2}
    assert results["ratio"]["gather"]["400"] == [1.0, 1.0]
    warm_up = 200 + 2  # its jobs, and the two runs themselves
    assert results["delivered"]["spanrun-otlp"]["300"] == [300 + warm_up] * 2
    assert results["delivered"]["spanrun-traced"]["300"] == [3 * 500 + 2] * 2
    assert results["delivered"]["spanrun-python-traced"]["300"] == [3 * 500 + 2] * 2
    assert results["delivered"]["stock-traced"]["300"] == [3 * 500] * 2
    assert len(results["traced"]["stock-traced"]["300"]) == 2
    assert shown.strip() in page.read_text()


def test_writing_again_replaces_the_tables_and_nothing_else(page):
    report.write("first")
    first = page.read_text()
    report.write("second")

    assert page.read_text() == first.replace("first\n\n<!--", "second\n\n<!--")


@pytest.mark.parametrize("options", [["--write", "--quick"], ["--rounds", "0"]])
def test_options_that_make_no_sense_are_refused(options, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bench.runner", *options])

    with pytest.raises(SystemExit) as refused:
        runner.main()

    assert refused.value.code == 2
    assert options[0] in capsys.readouterr().err
