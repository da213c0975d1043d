"""The spans of a trace: searched, filtered, folded, and linked."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.view import ingest
from tests.view.conftest import Browser, packed

from spanrun import recordings
from spanrun.view.page import write

SPANS = (
    "eval",
    (
        "[...document.querySelectorAll('.span')].map((each) => "
        "each.firstElementChild.innerText.trim())"
    ),
)
SELECTED = (
    "eval",
    "document.querySelector('.span[aria-selected=true] bdi').innerText",
)
TEXT = ("eval", "document.body.innerText")
HASH = ("eval", "location.hash")
ATTEMPTS = ["attempt 1 of 3", "attempt 2 of 3", "attempt 3 of 3"]
CALL = "POST /v1/embeddings"


@pytest.fixture
def trace(tmp_path: Path) -> tuple[Path, str]:
    """The page, and the address of a job of fetch that failed three times."""
    ingest.session(tmp_path, 60)
    data = packed(tmp_path)
    write(data, tmp_path / "run.html")
    with recordings.open(tmp_path) as recording:
        (run,) = (each for each in recording.runs() if each.runner == "fetch")
    return tmp_path / "run.html", f"#/s/x/trace/{run.id}:5"


def seen(told: list[object]) -> list[object]:
    return [each for each in told if each is not None]


def test_a_search_keeps_what_its_spans_are_below(
    browse: Browser, trace: tuple[Path, str]
) -> None:
    page, url = trace
    told = seen(
        browse(
            page,
            ("go", url),
            SPANS,
            ("press", "/"),
            ("type", '"spanrun.attempt.number": 2'),
            SPANS,
            TEXT,
            ("press", "Escape"),  # out of the field
            ("press", "Escape"),  # clears it
            SPANS,
            HASH,
        )
    )
    whole, found, text, again, link = told
    job = "✕ job fetch"
    assert whole == again
    assert found == [job, f"✕ {ATTEMPTS[1]}"]
    assert "2 of 7" in str(text)
    assert "find=" not in str(link)


def test_a_search_for_nothing_says_so_and_is_cleared(
    browse: Browser, trace: tuple[Path, str]
) -> None:
    page, url = trace
    _, text, _, after = browse(
        page,
        ("go", f"{url}?find=nowhere"),
        TEXT,
        ("click", ".keyline .chip"),
        SPANS,
    )
    assert "No span has all of this." in text
    assert len(after) == 7


def test_short_spans_are_left_out(browse: Browser, trace: tuple[Path, str]) -> None:
    page, url = trace
    _, found, pressed = browse(
        page,
        ("go", f"{url}?least=100000"),
        SPANS,
        ("eval", "document.querySelector('.filters [aria-pressed=true]').innerText"),
    )
    assert found == ["✕ job fetch", *(f"✕ {each}" for each in ATTEMPTS)]
    assert pressed == "≥ 100\N{NO-BREAK SPACE}ms"


def test_the_next_error_is_found_also_where_it_is_folded(
    browse: Browser, trace: tuple[Path, str]
) -> None:
    page, url = trace
    told = seen(
        browse(
            page,
            ("go", url),
            ("press", "h"),
            SPANS,
            ("press", "e"),
            SELECTED,
            SPANS,
            ("press", "e"),
            SELECTED,
            ("press", "E"),
            ("press", "E"),
            SELECTED,
            ("press", "E"),
            SELECTED,
        )
    )
    folded, first, opened, second, back, last = told
    assert folded == ["▸ ✕ job fetch"]
    assert (first, second, back, last) == (
        ATTEMPTS[0],
        ATTEMPTS[1],
        "job fetch",
        ATTEMPTS[2],
    )
    assert len(list(opened)) == 7  # type: ignore[call-overload]


def test_a_link_leads_to_its_span_where_that_is_in_the_page(
    browse: Browser, trace: tuple[Path, str], tmp_path: Path
) -> None:
    page, url = trace
    link = "document.querySelector('.drawer a')"
    told = seen(
        browse(
            page,
            ("go", f"{url}?find=attempt.number%22%3A%202"),
            ("press", "j"),
            SELECTED,
            ("eval", f"{link}.innerText"),
            ("eval", f"{link}.click()"),
            SELECTED,
            HASH,
        )
    )
    assert told[0] == ATTEMPTS[1]
    assert str(told[1]).startswith("attempt fetch")
    assert str(told[2]) == "attempt 1 of 3"
    assert "/trace/" in str(told[3])
    data = packed(tmp_path)
    for row, place in enumerate(data["spans"]["links"]):
        if place:
            links = json.loads(data["texts"][place])
            spans = data["spans"]
            assert [spans["parent"][each[3]] for each in links] == [
                spans["parent"][row]
            ]
            gone = json.dumps([[*each[:3], -1] for each in links])
            data["texts"][place] = gone
    write(data, page)
    _, _, text, links_left = browse(
        page,
        ("go", f"{url}?find=attempt.number%22%3A%202"),
        ("press", "j"),
        TEXT,
        ("eval", "document.querySelectorAll('.drawer a').length"),
    )
    assert "not in this page" in text
    assert links_left == 0


def test_a_blocked_loop_shades_the_spans(
    browse: Browser, trace: tuple[Path, str]
) -> None:
    page, url = trace
    shades = ("eval", "document.querySelectorAll('.span .lane em').length")
    _, during, _, after = browse(
        page, ("go", url), shades, ("go", url.replace(":5", ":59")), shades
    )
    assert during == 7
    assert after == 0


PLACES = (
    "eval",
    (
        "[...document.querySelectorAll('.span .lane i')].map((each) => "
        "[parseFloat(each.style.left), parseFloat(each.style.width)])"
    ),
)


def test_a_long_stretch_without_spans_is_folded(
    browse: Browser, tmp_path: Path, page_of: Callable[..., Path]
) -> None:
    ingest.session(tmp_path, 40, runners=("embed",), longer={"backoff": 1.0})
    data = packed(tmp_path)
    row = data["jobs"]["attempts"].index(2)
    # Between its attempts the job now waits for an hour.
    hour = 3_600_000_000
    first, *_ = (n for n, job in enumerate(data["spans"]["job"]) if job == row)
    below = [n for n, up in enumerate(data["spans"]["parent"]) if up == first]
    second = below[1]
    calls = [n for n, up in enumerate(data["spans"]["parent"]) if up == second]
    for each in (second, *calls):
        data["spans"]["start"][each] += hour
    data["spans"]["duration"][first] += hour
    for name in ("duration", "backoff"):
        data["jobs"][name][row] += hour
    write(data, tmp_path / "run.html")
    run, index = data["runs"][0]["id"], data["jobs"]["index"][row]
    _, folded, _, _, unfolded, ledger = browse(
        tmp_path / "run.html",
        ("go", f"#/s/x/trace/{run}:{index}"),
        PLACES,
        ("axe", None),
        ("click", ".filters .chip[aria-pressed=true]"),
        PLACES,
        (
            "eval",
            (
                "[...document.querySelectorAll('.lead .ledger i')]"
                ".reduce((sum, each) => sum + +each.dataset.amount, 0)"
            ),
        ),
    )
    assert all(width > 10 for _, width in folded)
    assert folded[0] == [0, 100]
    assert all(width < 1 for _, width in unfolded[1:])
    assert ledger == pytest.approx(data["jobs"]["duration"][row], abs=1)


def test_attempts_are_counted_by_job_in_a_trace_of_many(
    browse: Browser, pipeline: Path, page_of: Callable[[Path], Path]
) -> None:
    with recordings.open(pipeline) as recording:
        (trace,) = (
            each.trace_id for each in recording.runs() if each.runner == "fetch"
        )
    _, labels = browse(page_of(pipeline), ("go", f"#/s/x/trace/{trace}"), SPANS)
    attempts = {each.strip("✕ ") for each in labels if "attempt" in each}
    assert {"attempt 1 of 1", "attempt 1 of 3"} <= attempts
    assert attempts <= {"attempt 1 of 1", *ATTEMPTS}
