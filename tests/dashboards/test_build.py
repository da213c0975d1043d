"""The dashboards' JSON: up to date, whole, and of registered names alone."""

import itertools
import json
from string import ascii_uppercase
from typing import Any

import pytest
from dashboards import build, panels, places
from dashboards.board import TAG
from dashboards.clients import OLDER
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard
from tests.dashboards import reading
from tests.dashboards.reading import EXAMPLE, Asked

from spanrun import semconv
from spanrun.slo import records
from spanrun.slo.burn import MINUTES
from spanrun.slo.promql import label, series

METRICS = (*semconv.METRICS, OLDER)
BOARDS = reading.boards()
QUERIES = reading.queries()

by_board = pytest.mark.parametrize("board", BOARDS.values(), ids=[*BOARDS])
by_query = pytest.mark.parametrize("asked", QUERIES, ids=map(str, QUERIES))


def known_series() -> set[str]:
    """What Prometheus has: the registry's metrics, and what the rules record."""
    names = {"ALERTS", records.ERROR_BUDGET, records.BUDGET_REMAINING}
    names |= {records.OBJECTIVE, records.PERIOD_DAYS}
    for window in (*MINUTES, records.PERIOD):
        names |= {records.bad(window), records.total(window), records.ratio(window)}
    for metric in METRICS:
        name = series(metric)
        names.add(name)
        if metric.instrument == "histogram":
            names |= {f"{name}_{part}" for part in ("bucket", "count", "sum")}
    return names


KNOWN_LABELS = {
    *map(label, (*semconv.ATTRIBUTES, *OLDER.attributes)),
    *("le", "slo", "alertname", "alertstate"),
}


def unknown(expression: str) -> set[str]:
    """What an expression asks for that doesn't exist."""
    names = {selector.name for selector in reading.selectors(expression)}
    return (names - known_series()) | (reading.labels(expression) - KNOWN_LABELS)


def test_the_files_are_up_to_date() -> None:
    assert build.main(["--check"]) == 0


def test_a_file_that_is_out_of_date_is_named(
    tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build.main(["--out", str(tmp_path)]) == 0
    assert build.main(["--out", str(tmp_path), "--check"]) == 0
    runs = tmp_path / "runs.json"
    runs.write_text(runs.read_text("utf-8").replace("Jobs ended", "Jobs"), "utf-8")
    capsys.readouterr()
    assert build.main(["--out", str(tmp_path), "--check"]) == 1
    assert capsys.readouterr().err == "runs.json is out of date: run `make generate`\n"


def test_there_are_five_with_different_uids() -> None:
    assert len({board["uid"] for board in BOARDS.values()}) == len(BOARDS) == 5


@by_board
def test_the_sdk_reads_what_it_wrote(board: Any) -> None:
    plugins.register_default_plugins()
    again = JSONEncoder().encode(Dashboard.from_json(board))
    known = json.loads(json.dumps(board))
    for marks in known["annotations"]["list"]:  # the SDK has no fields for these
        assert {marks.pop("titleFormat"), marks.pop("textFormat")} != {""}
    assert json.loads(again) == known


@by_board
def test_ids_are_unique(board: Any) -> None:
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    assert min(ids) > 0


@by_board
def test_no_panels_overlap(board: Any) -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in board["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        columns = range(place["x"], place["x"] + place["w"])
        rows = range(place["y"], place["y"] + place["h"])
        for cell in itertools.product(columns, rows):
            assert taken.setdefault(cell, panel["title"]) is panel["title"]


@by_board
def test_each_panel_says_what_is_bad_and_what_to_do(board: Any) -> None:
    titles = [panel["title"] for panel in reading.panels(board)]
    assert len(set(titles)) == len(titles)
    for panel in reading.panels(board):
        text = panel["description"]
        if board["uid"] == places.SLO.uid and "**Bad:**" not in text:
            assert len(text) > 60, panel["title"]  # the objectives' own words
            continue
        shows, _, rest = text.partition("\n\n**Bad:** ")
        bad, _, then = rest.partition("\n\n**Then:** ")
        assert all(len(part) > 3 for part in (shows, bad, then)), panel["title"]


@by_board
def test_queries_have_letters_and_the_chosen_data_source(board: Any) -> None:
    for panel in reading.panels(board):
        letters = [target["refId"] for target in panel["targets"]]
        assert letters == list(ascii_uppercase[: len(letters)]) != []
        for part in (panel, *panel["targets"]):
            assert part["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


@by_board
def test_variables_are_there_and_those_without_use_are_hidden(board: Any) -> None:
    variables = {each["name"]: each for each in board["templating"]["list"]}
    assert {"datasource", "service", "runner"} <= variables.keys()
    used = json.dumps(
        [[panel["targets"], panel["fieldConfig"]] for panel in reading.panels(board)]
    )
    assert variables.pop(panels.RUNBOOKS)["hide"] == HIDDEN
    for name, variable in variables.items():
        shown = f"${name}" in used or f"${{{name}}}" in used
        assert (variable.get("hide", 0) == 0) is shown, name
    for name in variables.keys() - {"datasource", panels.JAEGER}:
        query = variables[name]["query"]
        assert query.startswith("label_values(")
        expression, _, wanted = query[len("label_values(") : -1].rpartition(", ")
        expression = expression.replace("$service", "ingest")
        assert unknown(expression) == set()
        assert wanted in KNOWN_LABELS


@by_board
def test_links_lead_to_dashboards_and_keep_what_was_chosen(board: Any) -> None:
    (dropdown,) = board["links"]
    assert dropdown["tags"] == board["tags"] == [TAG]
    assert dropdown["includeVars"]
    assert dropdown["keepTime"]
    known = {other["uid"] for other in BOARDS.values()} - {board["uid"]}
    links = [link for panel in reading.panels(board) for link in panel.get("links", ())]
    assert links
    for link in links:
        if link["url"].startswith(f"${{{panels.RUNBOOKS}}}"):
            continue
        path, _, kept = link["url"].partition("?")
        assert path.removeprefix("/d/") in known
        for name in ("__url_time_range", "datasource", "service", "runner"):
            assert f"${{{name}" in kept


@by_board
def test_what_happened_is_drawn_over_the_curves(board: Any) -> None:
    marked = {marks["name"]: marks for marks in board["annotations"]["list"]}
    assert marked.keys() == {"Alerts", "Releases", "Blocked loops"}
    for marks in marked.values():
        assert marks["enable"]
        assert marks["datasource"]["uid"] == "${datasource}"
        asked = marks["expr"].replace("$service", "x").replace("$__rate_interval", "1m")
        assert unknown(asked) == set()
        assert "{{" in marks["titleFormat"] + marks["textFormat"]


@by_query
def test_expressions_parse_and_ask_for_registered_names(asked: Asked) -> None:
    assert unknown(asked.expression(**EXAMPLE)) == set()


def test_a_metric_that_is_renamed_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    renamed = semconv.METRIC_SPANRUN_JOBS._replace(name="spanrun.tasks")
    metrics = tuple(
        renamed if metric is semconv.METRIC_SPANRUN_JOBS else metric
        for metric in semconv.METRICS
    )
    monkeypatch.setattr(f"{__name__}.METRICS", metrics)
    missing = [asked for asked in QUERIES if unknown(asked.expression(**EXAMPLE))]
    assert {asked.board for asked in missing} >= {"runs", "where-the-time-goes"}


@by_query
def test_totals_are_exact(asked: Asked) -> None:
    assert "increase(" not in asked.expr
    assert ("$__range]" in asked.expr) <= asked.instant


HIDDEN = 2  # as Grafana has it
SHARED_UNITS = {value for name, value in vars(units).items() if name[0].isupper()} | {
    "none"
}


@by_query
def test_units_fit(asked: Asked) -> None:
    assert asked.unit in SHARED_UNITS or asked.unit.startswith("suffix: ")
    expr = asked.expr
    if expr.startswith("histogram_quantile"):
        (metric,) = {metric for metric in METRICS if f"{series(metric)}{{" in expr}
        units_of = {
            "s": panels.SECONDS,
            "ms": panels.MILLISECONDS,
            "By": panels.BYTES,
        }
        assert asked.unit == units_of[metric.unit]
    if series(semconv.METRIC_SPANRUN_TELEMETRY_SPOOL_SIZE) in expr:
        assert asked.unit == panels.BYTES
    if asked.unit == panels.SHARE:
        assert " / " in expr or ":ratio" in expr


def test_each_quantile_and_heat_map_asks_for_both_kinds_of_histogram() -> None:
    for asked in QUERIES:
        names = [one.name for one in reading.selectors(asked.expression(**EXAMPLE))]
        classic = {name.removesuffix("_bucket") for name in names if "_bucket" in name}
        assert classic <= set(names), asked


def test_every_metric_is_on_some_panel() -> None:
    shown = {
        selector.name
        for asked in QUERIES
        for selector in reading.selectors(asked.expression(**EXAMPLE))
    }
    assert {
        metric.name
        for metric in semconv.METRICS
        if series(metric) not in shown
        # Those are for the dashboards of others: ours show spanrun's own names.
        and not metric.name.startswith("otel.sdk.")
    } == set()


def test_exemplars_are_where_a_job_can_be_opened() -> None:
    shown = {asked.board for asked in QUERIES if asked.exemplars}
    assert shown == {"runs", "where-the-time-goes", "clients"}
    assert not any(asked.exemplars and asked.instant for asked in QUERIES)
