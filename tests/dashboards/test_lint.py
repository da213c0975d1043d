"""Rules of ours for the dashboards' JSON; each rule is seen to find a mutant."""

import copy
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.dashboards import reading

BOARDS = reading.boards()
HOW_TO = Path(__file__).parents[2] / "docs" / "how-to"
Rule = Callable[[Any], Iterator[str]]


def a_number_says_which_values_are_bad(board: Any) -> Iterator[str]:
    """Grafana draws a number without thresholds in red from 80 on."""
    for panel in reading.panels(board):
        steps = panel["fieldConfig"]["defaults"].get("thresholds", {}).get("steps")
        if panel["type"] in ("stat", "table") and not steps:
            yield panel["title"]


def a_unit_is_told(board: Any) -> Iterator[str]:
    for panel in reading.panels(board):
        for target in panel["targets"]:
            if reading.unit(panel, target["refId"]) in ("", "none"):
                yield panel["title"]


def a_search_in_jaeger_names_its_service(board: Any) -> Iterator[str]:
    """Jaeger finds nothing without a service, and takes one alone."""
    for panel in reading.panels(board):
        heads = {
            head
            for change in panel.get("transformations", ())
            for head in change["options"].get("renameByName", {}).values()
        }
        for link in links(panel):
            if "${jaeger}/search?" not in link["url"]:
                continue
            of = re.search(r"service=\$\{__data\.fields\[(.*?)\]", link["url"])
            if of is None or of[1] not in heads or "tags=%7B%22" not in link["url"]:
                yield panel["title"]


def a_link_keeps_the_time(board: Any) -> Iterator[str]:
    for panel in reading.panels(board):
        for link in [*panel.get("links", ()), *links(panel)]:
            if (
                link["url"].startswith("/d/")
                and "${__url_time_range}" not in link["url"]
            ):
                yield panel["title"]


def a_panel_leads_to_its_run_book(board: Any) -> Iterator[str]:
    """By one address, which is set once."""
    for panel in reading.panels(board):
        urls = [link["url"] for link in panel.get("links", ())]
        books = [url for url in urls if not url.startswith("/d/")]
        pages = [url.removeprefix("${runbooks}/") for url in books]
        if len(books) != 1 or not (HOW_TO / pages[0]).is_file():
            yield panel["title"]


def the_address_of_run_books_is_absolute(board: Any) -> Iterator[str]:
    found = {each["name"]: each["query"] for each in board["templating"]["list"]}
    if not re.match(r"https?://\w", found.get("runbooks", "")):
        yield board["title"]


def durations_are_of_one_outcome(board: Any) -> Iterator[str]:
    """Refused jobs are quick: with them, a p50 falls while all goes wrong."""
    for panel in reading.panels(board):
        for target in panel["targets"]:
            expr = target["expr"]
            if (
                "histogram_quantile" in expr
                and "spanrun_job_duration" in expr
                and "spanrun_job_outcome=~" not in expr
            ):
                yield panel["title"]


def links(panel: Any) -> Iterator[Any]:
    """The links of a panel's values."""
    for override in panel["fieldConfig"].get("overrides", ()):
        for each in override["properties"]:
            if each["id"] == "links":
                yield from each["value"]


def _of(board: Any, title: str) -> Any:
    return next(each for each in reading.panels(board) if each["title"] == title)


def _no_thresholds(board: Any) -> None:
    del _of(board, "Jobs ended")["fieldConfig"]["defaults"]["thresholds"]


def _no_unit(board: Any) -> None:
    _of(board, "Duration")["fieldConfig"]["defaults"]["unit"] = "none"


def _all_services(board: Any) -> None:
    for link in links(_of(board, "Failures")):
        link["url"] = re.sub(r"service=\$\{[^}]*\}", "service=${service}", link["url"])


def _no_time(board: Any) -> None:
    for link in _of(board, "Duration")["links"]:
        link["url"] = link["url"].replace("${__url_time_range}", "")


def _all_outcomes(board: Any) -> None:
    for target in _of(board, "Duration")["targets"]:
        target["expr"] = target["expr"].replace(',spanrun_job_outcome=~"ok"', "")


def _no_run_book(board: Any) -> None:
    _of(board, "Duration")["links"].pop()


def _run_books_beside_the_dashboards(board: Any) -> None:
    for each in board["templating"]["list"]:
        if each["name"] == "runbooks":
            each["query"] = "docs/how-to"


RULES: dict[Rule, Callable[[Any], None]] = {
    a_number_says_which_values_are_bad: _no_thresholds,
    a_unit_is_told: _no_unit,
    a_search_in_jaeger_names_its_service: _all_services,
    a_link_keeps_the_time: _no_time,
    durations_are_of_one_outcome: _all_outcomes,
    a_panel_leads_to_its_run_book: _no_run_book,
    the_address_of_run_books_is_absolute: _run_books_beside_the_dashboards,
}
by_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)


@by_rule
@pytest.mark.parametrize("board", BOARDS.values(), ids=[*BOARDS])
def test_the_boards_keep_it(board: Any, rule: Rule) -> None:
    assert list(rule(board)) == []


@by_rule
def test_a_mutant_is_found(rule: Rule) -> None:
    mutant = copy.deepcopy(BOARDS["runs"])
    RULES[rule](mutant)
    assert list(rule(mutant))
