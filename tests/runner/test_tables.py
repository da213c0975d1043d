"""The tables of a summary fit the terminal, and break no word."""

import pytest

from spanrun.runner import tables
from spanrun.semconv import SPANRUN_JOB_PHASE_VALUES
from spanrun.telemetry.recordings.causes import explain
from spanrun.telemetry.recordings.summary import RunnerStats


def stats(name, *, jobs=300, **phases):
    spent = dict.fromkeys(SPANRUN_JOB_PHASE_VALUES, 0.0) | phases
    return RunnerStats(
        name, jobs, jobs - 6, 12, (0.0113, 0.0207, 1.5), spent, explain({})
    )


RUNNERS = [
    stats("fetch a page from far away", service=3.4, backoff=0.5, queue=0.1),
    stats("parse", jobs=10_000_000, busy=2.0, loop_lag=0.1, limit=7.0, rate_limit=0.4),
]


@pytest.mark.parametrize("width", range(20, 201, 4))
def test_no_line_is_wider_than_the_terminal(width):
    lines = [*tables.durations(RUNNERS, width), *tables.times(RUNNERS, width)]
    assert [line for line in lines if len(line) > width] == []


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120, 200])
def test_every_number_is_there_whole(width):
    text = "\n".join(tables.durations(RUNNERS, width)).split()
    for wanted in ("300", "6", "12", "10000000", "11.3", "20.7", "1.50"):
        assert wanted in text
    spent = "\n".join(tables.times(RUNNERS, width))
    for wanted in ("service 85 %", "backoff 12 %", "limit 74 %", "busy 21 %"):
        assert wanted in spent


def test_where_there_is_room_it_is_a_line_for_each_runner():
    head, first, second = tables.durations(RUNNERS, 100)
    assert head.split() == [
        "runner",
        "jobs",
        "ok",
        "failed",
        "retries",
        "p50",
        "p95",
        "p99",
    ]
    assert first.startswith("fetch a page from far away ")
    assert second.startswith("parse ")


def test_bars_are_of_one_length_and_their_parts_as_long_as_their_shares():
    _, first, second, legend = tables.times(RUNNERS, 120)
    bars = [
        line[len("fetch a page from far away ") + 10 :][:28] for line in (first, second)
    ]
    assert [len(bar.strip()) for bar in bars] == [28, 28]
    assert bars[0].count("─") == 24
    assert "! loop_lag" not in legend  # less than half a character of it


def test_a_name_that_would_move_the_cursor_is_inert_and_on_one_line():
    odd = [stats("a\x1b[2J\u202eb\n"), stats("plain")]
    head, first, second = tables.durations(odd, 120)
    assert len(head) == len(first) == len(second)
    for line in (first, *tables.times(odd, 120)):
        assert line.isprintable()
