"""What a person sees of a page, in a real browser, from the file."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.view import ingest
from tests.view.conftest import Browser, packed

TEXT = "document.body.innerText"
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


def test_keys_alone_lead_from_a_cause_to_an_error_and_back_to_the_filters(
    browse: Browser, tmp_path: Path, page_of: PageOf
) -> None:
    ingest.session(tmp_path, 100)
    url = ("eval", "location.hash")
    selected = ("eval", "document.querySelector('.span[aria-selected=true]').innerText")
    told = browse(
        page_of(tmp_path),
        *[("press", key) for key in ("]", "]", "]")],
        ("tab", ".cause a[href*=loop_lag]"),
        ("press", "Enter"),
        ("press", "a"),
        ("press", "j"),
        ("press", "Enter"),
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
    assert first.startswith("job embed")
    assert error.startswith("✕ attempt 1 of 2")
    for part in ("runner=embed", "phase=loop_lag", "sort=loop_lag", "attempts=2"):
        assert part in back
    assert "/jobs?" in back
    assert "job=" in back
    assert "phase=" not in cleared
    assert "attempts=" not in cleared
    assert "runner=embed" in cleared
