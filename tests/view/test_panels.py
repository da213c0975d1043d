"""The page's panels of metrics are those of the Grafana boards."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from dashboards import promql
from dashboards.board import dump
from dashboards.build import BOARDS as GRAFANA
from dashboards.clients import OLDER

from spanrun import semconv
from spanrun.semconv import Metric
from spanrun.view.boards import BOARDS, Ask, Line, Panel

METRICS: Mapping[str, Metric] = {
    OLDER.name: OLDER,
    **{
        metric.name: metric
        for name, metric in vars(semconv).items()
        if name.startswith("METRIC_")
    },
}
UNITS = {"percentunit": "share", "s": "s", "ms": "ms", "bytes": "By"}
ONE_SESSION = {"Processes that report"}
"""What asks for several of them."""


def panels_of(which: str) -> dict[str, dict[str, Any]]:
    """A board's panels of lines, by their titles."""
    rows = json.loads(dump(GRAFANA[which]()))["panels"]
    every = [panel for row in rows for panel in (row, *row.get("panels", ()))]
    return {each["title"]: each for each in every if each["type"] == "timeseries"}


SHOWN = {
    "Runs": panels_of("runs"),
    "Where the time goes": panels_of("where-the-time-goes"),
    "Clients": panels_of("clients"),
    "Telemetry health": panels_of("telemetry-health"),
}


def query(ask: Ask) -> str:
    metric = METRICS[ask.metric]
    make = getattr(promql, ask.what)
    if ask.what == "quantile":
        return str(make(ask.share, metric, ask.by, ask.where))
    where = (ask.where,) if ask.where else ()  # not each function takes one
    return str(make(metric, ask.by, *where))


def check(line: Line, queries: list[str]) -> None:
    asked = [query(each) for each in (line.ask, line.of) if each is not None]
    assert any(all(each in given for each in asked) for given in queries), asked


@pytest.mark.parametrize("panel", BOARDS, ids=lambda each: each.title)
def test_a_panel_asks_for_what_its_board_does(panel: Panel) -> None:
    board = SHOWN[panel.board][panel.title]
    unit = board["fieldConfig"]["defaults"]["unit"]
    assert panel.unit == UNITS.get(unit, unit.removeprefix("suffix: "))
    queries = [each["expr"] for each in board["targets"]]
    for line in panel.lines:
        check(line, queries)
    weekly = sum("1w" in each for each in queries)
    assert len(panel.lines) == len(queries) - weekly


def test_no_panel_of_lines_is_missing() -> None:
    ours = {(panel.board, panel.title) for panel in BOARDS}
    theirs = {(board, title) for board, panels in SHOWN.items() for title in panels}
    assert {title for _, title in theirs - ours} == ONE_SESSION
