"""Two recordings compared: in a report, and in the page of a server."""

import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.view import ingest
from tests.view.conftest import Browser

from spanrun import recordings
from spanrun.view.comparison import comparison_of
from spanrun.view.data import data_of
from spanrun.view.page import write
from spanrun.view.server import Viewer

SENTENCE = ("eval", "document.querySelector('h1').innerText")
CHANGES = (
    "eval",
    (
        "Object.fromEntries([...document.querySelectorAll('#phases tbody tr')]"
        ".map((row) => "
        "[row.dataset.name, [row.querySelector('.change').innerText, "
        "row.querySelector('.change b')?.className ?? '', row.dataset.interval]]))"
    ),
)
PERCENTILES = (
    "eval",
    "[...document.querySelectorAll('#compared .change')].map((each) => each.innerText)",
)


def compared(folder: Path, a: str, b: str) -> Path:
    with recordings.open(folder) as recording:
        data = data_of(recording, b)
        data["compare"] = comparison_of(recording, a, b)
    write(data, folder / "compared.html")
    return folder / "compared.html"


def test_a_recording_and_itself_are_the_same(browse: Browser, tmp_path: Path) -> None:
    name = ingest.session(tmp_path, 60)
    page = compared(tmp_path, name, name)
    for runner in ingest.SERVICE:
        _, told, found, percentiles = browse(
            page,
            ("go", f"#/compare/a/b?runner={runner}"),
            SENTENCE,
            CHANGES,
            PERCENTILES,
        )
        assert re.match(rf"{runner} took .* as in A", told)
        assert {each[0] for each in found.values()} == {"≈"}
        assert set(percentiles) == {"≈"}


@pytest.mark.parametrize(("factor", "kind"), [(1.5, "bad"), (0.5, "good")])
def test_the_phase_that_changed_has_a_number_and_no_other(
    browse: Browser, tmp_path: Path, factor: float, kind: str
) -> None:
    a = ingest.session(tmp_path, 100)
    b = ingest.session(tmp_path, 100, longer={"rate_limit": factor})
    told, found = browse(compared(tmp_path, a, b), SENTENCE, CHANGES)
    assert told.startswith("embed took ")
    certain = {name for name, each in found.items() if each[0] != "≈"} - {"mean"}
    assert certain == {"rate_limit"}
    text, its_kind, interval = found["rate_limit"]
    assert its_kind == kind
    low, high = map(float, interval.split())
    truth = (factor - 1) * 0.03 * 1e6  # it is drawn from 20 to 40 ms
    assert low < truth < high
    assert text[0] == ("+" if factor > 1 else "−")
    assert low < float(text[1:].split()[0]) * 1e3 * (1 if factor > 1 else -1) < high


def test_with_few_jobs_there_are_no_intervals_and_it_is_said_why(
    browse: Browser, tmp_path: Path
) -> None:
    a = ingest.session(tmp_path, 12)
    b = ingest.session(tmp_path, 30, longer={"service": 2})
    page = compared(tmp_path, a, b)
    _, text, found = browse(
        page,
        ("go", "#/compare/a/b?runner=embed"),
        ("eval", "document.body.innerText"),
        CHANGES,
    )
    assert "No intervals: fewer than 20 jobs (12 in A); it may be chance." in text
    assert found["service"][0].startswith("+")
    assert [each[1:] for each in found.values()] == [["", ""]] * len(found)


def test_a_runner_in_one_of_them_has_its_own_row(
    browse: Browser, tmp_path: Path
) -> None:
    a = ingest.session(tmp_path, 40, runners=("fetch", "parse"))
    b = ingest.session(tmp_path, 40, runners=("fetch", "store"))
    row = "document.querySelector('#compared tr[data-name={}]').innerText"
    parse, store, _, told = browse(
        compared(tmp_path, a, b),
        ("eval", row.format("parse")),
        ("eval", row.format("store")),
        ("go", "#/compare/a/b?runner=store"),
        SENTENCE,
    )
    assert "parse is in A alone: 40\N{NO-BREAK SPACE}jobs" in parse
    assert "store is in B alone" in store
    assert told.startswith("store is in B alone: 40\N{NO-BREAK SPACE}jobs")


def test_a_setting_that_differs_is_shown(
    browse: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = ingest.session(tmp_path, 40)
    wider = {**ingest.POLICIES, "fetch": {"limit": {"type": "Limit", "concurrency": 9}}}
    monkeypatch.setattr(ingest, "POLICIES", wider)
    b = ingest.session(tmp_path, 40)
    (text,) = browse(compared(tmp_path, a, b), ("eval", "document.body.innerText"))
    assert "1\N{NO-BREAK SPACE}setting differs" in text
    assert re.search(r"fetch\s+limit\.concurrency\s+8\s+9", text)


def test_sessions_without_jobs_are_compared_without_numbers(
    browse: Browser, tmp_path: Path
) -> None:
    a, b = (ingest.session(tmp_path, 0) for _ in range(2))
    told, text = browse(
        compared(tmp_path, a, b), SENTENCE, ("eval", "document.body.innerText")
    )
    assert told == "There are no jobs in either."
    assert "NaN" not in text


def test_a_report_that_compares_nothing_offers_nothing(
    browse: Browser, tmp_path: Path
) -> None:
    ingest.session(tmp_path, 5)
    name = ingest.session(tmp_path, 5)
    with recordings.open(tmp_path) as recording:
        write(data_of(recording, name), tmp_path / "run.html")
    _, links, *_, before, after = browse(
        tmp_path / "run.html",
        ("go", "#/s/x/overview"),
        ("eval", "document.querySelector('nav').innerText"),
        ("press", "4"),
        ("press", "g"),
        ("eval", "location.hash"),
        ("eval", "document.querySelectorAll('a[href^=\"#/compare\"]').length"),
    )
    assert "Compare" not in links
    assert before == "#/s/x/overview"
    assert after == 0


@pytest.fixture
def viewer(tmp_path: Path) -> Iterator[tuple[Viewer, list[str]]]:
    names = [
        ingest.session(tmp_path, 60, longer={"rate_limit": factor})
        for factor in (1.0, 2.0, 2.0)
    ]
    viewer = Viewer(tmp_path)
    thread = threading.Thread(target=viewer.serve)
    thread.start()
    yield viewer, names
    viewer.close()
    thread.join()


def test_any_two_sessions_are_compared_by_keys(
    browse: Browser, viewer: tuple[Viewer, list[str]]
) -> None:
    served, (first, second, third) = viewer
    done = ("wait", "document.querySelector('#phases') !== null")
    place: Any = ("eval", "location.hash")
    told = browse(
        served.url,
        ("wait", "document.querySelector('nav') !== null"),
        ("press", "4"),
        done,
        place,
        CHANGES,
        ("press", "g"),
        ("wait", "document.querySelectorAll('tbody tr').length === 3"),
        ("axe", None),
        *[("press", key) for key in ("x", "j", "j", "x", "4")],
        ("wait", "document.querySelector('#phases b') !== null"),
        place,
        CHANGES,
        ("axe", None),
        ("press", "Escape"),
        ("wait", "document.querySelector('.causes') !== null"),
        place,
    )
    before, same, listed, chosen, changed, clean, back = (
        each for each in told if each is not None
    )
    assert before == f"#/compare/{second}/{third}"
    assert {each[0] for each in same.values()} == {"≈"}
    assert listed == clean == []
    assert chosen == f"#/compare/{first}/{third}"
    assert changed["rate_limit"][0].startswith("+")
    assert back == f"#/s/{third}/overview"


def test_what_cant_be_compared_is_said(
    browse: Browser, viewer: tuple[Viewer, list[str]]
) -> None:
    served, names = viewer
    told = browse.look(
        served.url,
        ("go", f"#/compare/none/{names[0]}"),
        ("wait", "document.querySelector('h1')?.innerText.includes('none')"),
        SENTENCE,
    )
    assert "none" in told["results"][-1]
    assert json.dumps(told["faults"]).count("404") == 1
