"""Pages of few jobs, of none, and of what went wrong: said, accessible, never empty."""

import re
from pathlib import Path
from typing import Any

import pytest
from tests.view import ingest
from tests.view.conftest import Browser

from spanrun import recordings
from spanrun.view.comparison import comparison_of
from spanrun.view.data import data_of
from spanrun.view.page import write

SENTENCE = ("eval", "document.querySelector('h1').innerText")
TEXT = ("eval", "document.body.innerText")
# A card without a text, or with a bar that has no width; or a size that is no number.
EMPTY = (
    "eval",
    (
        "[...document.querySelectorAll('.card')]"
        ".filter((each) => each.innerText.trim().length < 4)"
        ".map((each) => each.outerHTML.slice(0, 200))"
        ".concat([...document.querySelectorAll('[style]')]"
        ".filter((each) => /NaN|undefined/.test(each.getAttribute('style')))"
        ".map((each) => each.outerHTML.slice(0, 200)))"
    ),
)
WRONG = ("NaN", "undefined", "Infinity", "null", "[object")
GAP = "\N{NO-BREAK SPACE}"

STATES: dict[str, tuple[dict[str, Any], str]] = {
    "0 jobs": ({"jobs": 0}, "This run has no jobs yet."),
    "0 jobs, running": (
        {"jobs": 0, "open_": True},
        "This run has no jobs yet: it waits for the first to end.",
    ),
    "1 job": ({"jobs": 1, "runners": ("embed",)}, f"One job: it took 434{GAP}ms, "),
    "39 jobs": ({"jobs": 39, "runners": ("embed",)}, "A blocked event loop takes "),
    "40 jobs": ({"jobs": 40, "runners": ("embed",)}, "at best, instead of "),
    "all failed": ({"jobs": 50, "fails": "failed"}, "of the jobs' time"),
    "all cancelled": ({"jobs": 5, "fails": "cancelled"}, "of the jobs' time"),
    "no trace kept": ({"jobs": 50, "spans": False}, "of the jobs' time"),
    "running": ({"jobs": 50, "open_": True}, "of the jobs' time"),
    "1 h": ({"jobs": 100, "spread": 4000.0}, "of the jobs' time"),
}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A page for each state, compared with one that is as others are."""
    found: dict[str, Path] = {}
    for state, (options, _) in STATES.items():
        folder = tmp_path_factory.mktemp("state")
        before = ingest.session(folder, 40)
        name = ingest.session(folder, **options)
        with recordings.open(folder) as recording:
            data = data_of(recording, name)
            data["compare"] = comparison_of(recording, before, name)
        found[state] = folder / "run.html"
        write(data, found[state])
    return found


def views(*steps: tuple[str, Any], jobs: bool = True) -> list[tuple[str, Any]]:
    """The steps in each of the five views."""
    keys = [[key] for key in "1234"] + ([["2", "j", "Enter"]] if jobs else [])
    return [
        step for each in keys for step in (*[("press", key) for key in each], *steps)
    ]


@pytest.mark.parametrize("state", STATES)
def test_each_view_has_a_sentence_and_nothing_that_is_no_number(
    browse: Browser, pages: dict[str, Path], state: str
) -> None:
    options, told = STATES[state]
    steps = views(SENTENCE, TEXT, EMPTY, jobs=options["jobs"] > 0)
    results = [each for each in browse(pages[state], *steps) if each is not None]
    sentences, texts, empty = results[::3], results[1::3], results[2::3]
    assert told in sentences[0]
    assert all(sentences)
    assert len(sentences) == (5 if options["jobs"] else 4)
    for text in texts:
        for wrong in WRONG:
            assert wrong not in text
        assert (", not ended" in text) == bool(options.get("open_"))
    assert empty == [[]] * len(empty)
    if not options["jobs"]:
        assert sentences[1:3] == [
            "There are no jobs here.",
            "There are no jobs here, so nothing failed.",
        ]
    if state in {"all failed", "all cancelled"}:
        assert f"of {options['jobs'] * 4}{GAP}jobs are not ok" in sentences[2]
    enough = options["jobs"] >= 40
    assert ("p95" in texts[0].partition("By runner")[0]) == enough


def test_without_spans_the_ledger_is_shown_and_why(
    browse: Browser, pages: dict[str, Path]
) -> None:
    keys = [("press", key) for key in ("2", "j", "Enter")]
    *_, text = browse(pages["no trace kept"], *keys, TEXT)
    assert "Ledger of the job" in text
    assert "It had no trace" in text


def test_an_hour_is_told_in_hours(browse: Browser, pages: dict[str, Path]) -> None:
    about = ("eval", "document.querySelector('.about').innerText")
    _, text = browse(pages["1 h"], ("press", "1"), about)
    assert re.search(rf"1{GAP}h{GAP}\d\d{GAP}min", text)


def test_no_link_of_a_report_is_dead(browse: Browser, pages: dict[str, Path]) -> None:
    page = pages["all failed"]
    links = (
        "eval",
        (
            "[...document.querySelectorAll('a[href]')].map((each) => "
            "each.getAttribute('href')).filter((each) => each !== '#')"
        ),
    )
    results = browse(page, *views(links))
    found = sorted({link for each in results if each for link in each})
    assert {link.split("?")[0].split("/")[-1] for link in found} >= {"jobs", "overview"}
    assert all(link.startswith(("#/s/", "#/compare/")) for link in found)
    steps = [step for link in found for step in (("go", link), SENTENCE)]
    for link, told in zip(found, browse(page, *steps)[1::2], strict=True):
        assert "not in the recording" not in told, link
        assert "Nothing is compared" not in told, link


LOOKS = [
    pytest.param({"width": width, "dark": dark}, id=f"{name}-{width}")
    for width in (400, 1440)
    for name, dark in (("light", False), ("dark", True))
]


@pytest.mark.parametrize("look", LOOKS)
def test_every_view_is_accessible(
    browse: Browser, tmp_path: Path, look: dict[str, Any]
) -> None:
    a = ingest.session(tmp_path, 100)
    b = ingest.session(tmp_path, 100, longer={"service": 1.4})
    with recordings.open(tmp_path) as recording:
        data = data_of(recording, b)
        data["compare"] = comparison_of(recording, a, b)
    write(data, tmp_path / "run.html")
    # The job is the longest: one of embed, with a label on each of its long phases.
    wide = ("eval", "document.documentElement.scrollWidth")
    steps = [*views(("axe", None), wide), ("press", "?"), ("axe", None)]
    told = [x for x in browse(tmp_path / "run.html", *steps, **look) if x is not None]
    assert told[::2] == [[]] * 6
    assert told[1::2] == [look["width"]] * 5, "no view scrolls sideways"


@pytest.mark.parametrize("look", [LOOKS[0], LOOKS[-1]])
@pytest.mark.parametrize("state", ["0 jobs", "1 job", "no trace kept"])
def test_empty_states_are_accessible(
    browse: Browser, pages: dict[str, Path], state: str, look: dict[str, Any]
) -> None:
    has_jobs = STATES[state][0]["jobs"] > 0
    told = browse(pages[state], *views(("axe", None), jobs=has_jobs), **look)
    assert [each for each in told if each is not None] == [[]] * (4 + has_jobs)
