"""`spanrun registry`: exit codes, text and JSON."""

import os

import pytest
from tests.cli.conftest import Cli
from tests.registry.test_check import SPAN_ID, TRACE_ID, lines, metric, span

from spanrun import semconv
from spanrun.cli.exits import Exit

WRONG = span(**{"spanrun.job.idx": 1, semconv.SPANRUN_JOB_OUTCOME: "fi\x1bne"})


@pytest.fixture
def write(cli: Cli):
    def written(content: bytes, name: str = "spans.jsonl") -> str:
        (cli.folder / name).write_bytes(content)
        return name

    return written


def test_a_file_without_faults_is_0(cli, write):
    result = cli("registry", "check", write(lines(span(), metric())))
    assert (result.code, result.err) == (0, "")
    assert (
        result.out == "spans.jsonl: 1 spans, 1 metric points: all as in the registry\n"
    )


def test_faults_are_told_with_their_place_and_are_1(cli, write):
    result = cli("registry", "check", write(lines(span(), WRONG, WRONG)))
    assert (result.code, result.err) == (1, "")
    where = "  span 'job embed' of spanrun"
    allowed = ", ".join(semconv.SPANRUN_JOB_OUTCOME_VALUES)
    unknown = "there is no such attribute; did you mean spanrun.job.index?"
    place = f"line 2, service ingest, trace {TRACE_ID}, span {SPAN_ID}"
    assert result.out.splitlines() == [
        "spans.jsonl: 3 spans, 0 metric points: 2 findings",
        f"{where}: spanrun.job.outcome: is 'fi\\x1bne'; must be one of {allowed}",
        f"    wrong-value, 2 times, first in {place}",
        f"{where}: spanrun.job.idx: {unknown}",
        f"    unknown-name, 2 times, first in {place}",
    ]


def test_json_is_one_object(cli, write):
    names = write(lines(span()), "good"), write(lines(WRONG), "bad")
    result = cli("registry", "check", "--json", *names)
    assert (result.code, result.err) == (1, "")
    good, bad = result.json["files"]
    assert good == {
        "file": "good",
        "spans": 1,
        "points": 0,
        "findings": [],
        "left_out": 0,
    }
    assert bad["findings"][1] == {
        "rule": "unknown-name",
        "name": "spanrun.job.idx",
        "what": "there is no such attribute; did you mean spanrun.job.index?",
        "count": 1,
        "first": {
            "place": "line 1",
            "service": "ingest",
            "scope": "spanrun",
            "item": "span 'job embed'",
            "ids": f"trace {TRACE_ID}, span {SPAN_ID}",
        },
    }


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "spans.jsonl: it is empty"),
        (b"hello", "spans.jsonl: it is neither JSON nor a request of traces or"),
        (lines(span()) + b"{", "spans.jsonl: line 2 is no JSON: "),
        (lines({"resourceLogs": []}), "spans.jsonl: there are no spans or metrics in"),
        (b"{}", "spans.jsonl: there are no spans or metrics in it"),
    ],
)
def test_what_is_no_otlp_is_65(cli, write, content, told):
    result = cli("registry", "check", write(content))
    assert (result.code, result.out) == (Exit.INPUT, "")
    what, to_do = result.err.splitlines()
    assert what.startswith(f"spanrun: {told}")
    assert to_do.startswith("  Name a file of OTLP: ")


def test_a_file_that_is_not_there_is_2(cli):
    assert cli("registry", "check", "nowhere").code == Exit.USAGE
    assert cli("registry", "check", ".").code == Exit.USAGE
    assert cli("registry", "check").code == Exit.USAGE


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_cannot_be_read_is_refused(cli, write):
    name = write(lines(span()))
    (cli.folder / name).chmod(0)
    assert cli("registry", "check", name).code in (Exit.USAGE, Exit.DISK)


def test_the_reference_has_every_name(cli):
    result = cli("registry", "docs")
    assert (result.code, result.err) == (0, "")
    names = [*semconv.ATTRIBUTES, *(metric.name for metric in semconv.METRICS)]
    assert [name for name in names if f"`{name}`" not in result.out] == []


def test_a_reader_that_closes_early_is_no_fault(start):
    process = start("registry", "docs")
    process.stdout.close()
    assert process.wait() == 0
