"""`report`, and the summary that the end of a program prints."""

import contextlib
import io
import os
import pty
import subprocess
import sys
import textwrap
from xml.etree import ElementTree as ET

import pytest
from opentelemetry import trace
from opentelemetry.metrics import _internal as metrics
from opentelemetry.util._once import Once
from tests.programs import is_setting, plain_environ
from tests.waiting import PATIENCE

import spanrun as sr
from spanrun.errors import ConfigurationError


@pytest.fixture
def fresh_otel(monkeypatch):
    """Nobody has set a provider."""
    for name in os.environ:
        if is_setting(name):
            monkeypatch.delenv(name)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER_SET_ONCE", Once())
    monkeypatch.setattr(metrics, "_METER_PROVIDER", None)
    monkeypatch.setattr(metrics, "_METER_PROVIDER_SET_ONCE", Once())


@pytest.fixture
def configured(tmp_path, fresh_otel):
    sr.configure(store=tmp_path)
    yield tmp_path
    sr.shutdown()


async def double(number):
    if number == 3:
        raise ValueError("three <b>")
    return number * 2


async def doubled():
    async with sr.Runner("double", limit=2) as runner:
        await runner.map(double, range(5), errors="collect")


def test_a_report_tells_what_was_recorded_so_far(configured):
    sr.run(doubled())
    report = sr.report()
    text = str(report)
    assert text.startswith("5 jobs · 1 failed · ")
    assert "1 × double: ValueError: three <b>" in text
    assert report.as_dict()["runners"][0]["jobs"] == 5
    assert repr(report).startswith("<Report: 5 jobs · 1 failed")


def test_a_notebook_shows_a_report_as_tables(configured):
    sr.run(doubled())
    report = sr.report()
    page = ET.fromstring(report._repr_html_())  # noqa: S314 -- ours
    runners, times, failures = page.findall("table")
    cells = [cell.text for cell in runners.findall("tbody/tr/td")]
    assert cells[:5] == ["double", "5", "4", "1", "0"]
    assert times.findall(".//div/span")
    assert "ValueError: three <b>" in "".join(failures.itertext())
    told = "".join(page.itertext()).replace("\N{NO-BREAK SPACE}", " ")
    causes = [each["fact"] for each in report.as_dict()["explanation"]["causes"]]
    assert causes
    for text in (report.as_dict()["explanation"]["sentence"], *causes):
        assert text in told
    assert not page.findall(".//style")
    assert not page.findall(".//script")


def test_a_report_of_nothing_is_a_line(configured):
    assert str(sr.report()).startswith("0 jobs · 0 failed")
    assert "0 jobs · 0 failed" in sr.report()._repr_html_()


def test_a_report_without_recordings_says_what_to_do(fresh_otel, tmp_path):
    with pytest.raises(ConfigurationError, match=r"call configure\(\) first"):
        sr.report()
    sr.configure(store="none")
    with pytest.raises(ConfigurationError, match=r"store='\.spanrun'"):
        sr.report()
    sr.shutdown()


PROGRAM = """
    import spanrun as sr
    async def job(i):
        return i
    async def main():
        async with sr.Runner("count") as runner:
            await runner.map(job, range(7))
    {before}
    sr.configure(service_name="own"{summary})
    sr.run(main())
    sr.run(main())
"""


def program(folder, summary="", before="", variables=()):
    path = folder / "own.py"
    source = textwrap.dedent(PROGRAM)
    path.write_text(source.format(summary=summary, before=before), "utf-8")
    return [sys.executable, str(path)], {**plain_environ(), **dict(variables)}


def piped(folder, **given):
    command, environ = program(folder, **given)
    done = subprocess.run(
        command, cwd=folder, env=environ, capture_output=True, text=True, check=True
    )
    assert done.stdout == ""
    return done.stderr


def on_terminal(folder, **given):
    """What stands on a terminal that is the program's standard error."""
    command, environ = program(folder, **given)
    ours, theirs = pty.openpty()
    with contextlib.closing(os.fdopen(ours, "rb", 0)) as terminal:
        process = subprocess.Popen(command, cwd=folder, env=environ, stderr=theirs)
        os.close(theirs)
        shown = io.BytesIO()
        with contextlib.suppress(OSError):  # how a terminal ends
            while part := terminal.read(4096):
                shown.write(part)
        assert process.wait(PATIENCE) == 0
    return shown.getvalue().decode()


def test_it_is_printed_once_on_a_terminal(tmp_path):
    shown = on_terminal(tmp_path)
    assert shown.count("7 jobs · 0 failed") == 1
    assert "count" in shown
    assert "where the time went" in shown


def test_it_is_not_printed_elsewhere_unless_that_is_wanted(tmp_path):
    assert piped(tmp_path) == ""
    assert piped(tmp_path, summary=", summary=True").count("\n7 jobs · ") == 1
    assert piped(tmp_path, variables={"SPANRUN_SUMMARY": "true"}.items()) != ""


def test_it_is_not_printed_where_that_is_not_wanted(tmp_path):
    assert on_terminal(tmp_path, summary=", summary=False") == ""


def test_a_module_of_a_program_prints_nothing_by_itself(tmp_path):
    assert on_terminal(tmp_path, before="__name__ = 'imported'") == ""


def test_it_is_not_printed_where_nothing_is_recorded(tmp_path):
    assert on_terminal(tmp_path, summary=", store='none'") == ""


def test_a_closed_terminal_costs_nothing(tmp_path):
    command, environ = program(tmp_path, summary=", summary=True")
    reads, writes = os.pipe()
    os.close(reads)
    done = subprocess.run(
        command, cwd=tmp_path, env=environ, stderr=writes, check=False
    )
    os.close(writes)
    assert done.returncode == 0


def test_what_ends_by_an_error_is_told_as_well(tmp_path):
    before = "async def job(i):\n    raise LookupError('gone')"
    command, environ = program(tmp_path, summary=", summary=True", before=before)
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "failures" in done.stderr
    assert "count: LookupError: gone" in done.stderr


def test_a_summary_that_fails_takes_no_error_s_place(tmp_path):
    before = (
        "async def job(i):\n    raise LookupError('gone')\n"
        "from spanrun.runner import summary\nsummary.summary_of = None"
    )
    command, environ = program(tmp_path, summary=", summary=True", before=before)
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=environ,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "there is no summary: " in done.stderr
    assert "\nLookupError: gone\n" in done.stderr
