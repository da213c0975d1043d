"""What a person sees of a page, in a real browser, from the file."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.view.conftest import Browser, packed

from spanrun.view.page import write

TEXT = "document.body.innerText"
VIEWS = ("overview", "jobs", "failures")
SENTENCE = "document.querySelector('h1')?.innerText"
PageOf = Callable[..., Path]


def test_no_view_scrolls_sideways_on_a_phone(
    browse: Browser, pipeline: Path, page_of: PageOf
) -> None:
    wide = ("eval", "document.documentElement.scrollWidth")
    steps = [step for key in "123" for step in (("press", key), wide)]
    steps += [("press", "2"), ("press", "j"), ("press", "Enter"), wide]
    told = browse(page_of(pipeline), *steps, width=400)
    assert [each for each in told if each is not None] == [400] * 4


def test_hostile_names_are_shown_as_text(
    browse: Browser, sizes: Path, page_of: PageOf
) -> None:
    count = "document.querySelectorAll('script, img, iframe, a[onclick]').length"
    steps = [
        ("eval", count),
        ("go", "#/s/x/jobs"),
        ("eval", TEXT),
        ("go", "#/s/x/failures"),
        ("eval", TEXT),
        ("press", "2"),
        ("press", "j"),
        ("press", "Enter"),
        ("eval", TEXT),
        ("eval", count),
    ]
    told = browse(page_of(sizes, "</script>&\u202e"), *steps)
    assert told[0] == told[-1] == 2
    for text in (told[2], told[4]):
        assert "</script><script>alert(1)</script>" in text or "alert(#)" in text
        assert "\\x1b[" in text
        assert "\\u202e" in text
        assert "\u202e" not in text
        assert "\x1b" not in text


def test_each_bar_and_the_stack_add_up(
    browse: Browser, pipeline: Path, page_of: PageOf
) -> None:
    bars = (
        "[...document.querySelectorAll('.row')].map((row) => [+row.dataset.row, "
        "[...row.querySelectorAll('[data-amount]')]"
        ".reduce((sum, each) => sum + +each.dataset.amount, 0)])"
    )
    stack = (
        "[...document.querySelectorAll('#stack-numbers td')]"
        ".reduce((sum, each) => sum + +each.dataset.amount, 0)"
    )
    found = packed(pipeline)
    told = browse(page_of(pipeline), ("eval", stack), ("press", "2"), ("eval", bars))
    durations = found["jobs"]["duration"]
    assert told[0] == pytest.approx(sum(durations), rel=1e-3)
    assert told[0] == pytest.approx(
        sum(sum(runner["phases"]) for runner in found["runners"]), rel=1e-3
    )
    assert 0 < len(told[2]) <= 80
    for row, total in told[2]:
        assert total == pytest.approx(durations[row], abs=1)


def test_a_copied_link_gives_the_same_rows_and_selection(
    browse: Browser, pipeline: Path, page_of: PageOf
) -> None:
    page = page_of(pipeline)
    rows = (
        "JSON.stringify([location.hash, [...document.querySelectorAll('.row')]"
        ".map((row) => [row.dataset.row, row.ariaSelected])])"
    )
    keys = [("press", key) for key in ("2", "a", "j", "j")]
    *_, before, _, after = browse(
        page, *keys, ("eval", rows), ("reload", None), ("eval", rows)
    )
    assert before == after
    link, shown = json.loads(before)
    assert "attempts=2" in link
    assert [selected for _, selected in shown if selected == "true"] == ["true"]


def test_filters_survive_the_way_to_a_trace_and_back(
    browse: Browser, pipeline: Path, page_of: PageOf
) -> None:
    url = ("eval", "location.hash")
    selected = ("eval", "document.querySelector('.span[aria-selected=true]').innerText")
    cause = ("eval", "document.querySelector('.cause a').focus()")
    keys = ("Enter", "a", "o", "j", "Enter")
    told = browse(
        page_of(pipeline),
        ("go", "#/s/x/overview?runner=embed"),
        cause,
        *[("press", key) for key in keys],
        url,
        selected,
        ("press", "e"),
        selected,
        ("press", "Escape"),
        url,
        ("press", "Escape"),
        url,
    )
    trace, first, error, back, cleared = (each for each in told if each)
    assert "/trace/" in trace
    assert first.startswith("job ")
    assert error.startswith("✕")
    for part in ("/jobs?", "runner=embed", "attempts=2", "outcome=ok", "sort=", "job="):
        assert part in back
    assert "outcome=" not in cleared
    assert "runner=embed" in cleared


@pytest.mark.parametrize(
    ("runner", "told"),
    [
        ("size 0", "This run has no jobs yet"),
        ("size 1", "One job: it took "),
        ("size 39", "39\N{NO-BREAK SPACE}jobs took "),
        ("size 40", "of the jobs' time"),
        ("all failed", "of the jobs' time"),
        ("all cancelled", "5\N{NO-BREAK SPACE}jobs took "),
    ],
)
def test_each_size_has_a_sentence_and_no_number_that_is_none(
    browse: Browser, sizes: Path, page_of: PageOf, runner: str, told: str
) -> None:
    steps = [
        step
        for key in "123"
        for step in (("press", key), ("eval", SENTENCE), ("eval", TEXT))
    ]
    results = [each for each in browse(page_of(sizes, runner), *steps) if each]
    sentences, texts = results[::2], results[1::2]
    assert told in sentences[0]
    assert all(sentences)
    for text in texts:
        for wrong in ("NaN", "undefined", "Infinity", "null", "[object"):
            assert wrong not in text
    enough = runner in {"size 40", "all failed"}
    assert ("p95" in sentences[0] + texts[0].partition("By runner")[0]) == enough
    if runner == "size 0":
        assert "nothing failed" in sentences[2]


def test_a_run_without_spans_shows_its_ledger(
    browse: Browser, pipeline: Path, tmp_path: Path
) -> None:
    found = packed(pipeline)
    found["spans"] = {name: [] for name in found["spans"]}
    found["events"] = {name: [] for name in found["events"]}
    write(found, tmp_path / "run.html")
    keys = [("press", key) for key in ("2", "j", "Enter")]
    *_, text = browse(tmp_path / "run.html", *keys, ("eval", TEXT))
    assert "Ledger of the job" in text
    assert "not kept" in text


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [400, 1440])
def test_the_page_is_accessible(
    browse: Browser, pipeline: Path, page_of: PageOf, width: int, *, dark: bool
) -> None:
    steps = [step for key in "123" for step in (("press", key), ("axe", None))]
    keys = [("press", "2"), ("press", "j"), ("press", "Enter")]
    steps += [*keys, ("axe", None)]
    told = browse(page_of(pipeline), *steps, width=width, dark=dark)
    assert [each for each in told if each is not None] == [[]] * 4
