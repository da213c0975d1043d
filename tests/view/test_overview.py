"""Why it is slow: the same causes as in the terminal, limits, objectives, and more."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.slo.files import AVAILABILITY, changed
from tests.view import ingest
from tests.view.conftest import Browser, packed

from spanrun import recordings
from spanrun.runner.summary import Report
from spanrun.slo import parse
from spanrun.telemetry.recordings.summary import summary_of
from spanrun.view.data import data_of
from spanrun.view.page import write

PageOf = Callable[..., Path]
TEXT = ("eval", "document.body.innerText")
CAUSES = (
    "eval",
    "[...document.querySelectorAll('.cause')].map((each) => each.innerText)",
)


def plain(text: str) -> str:
    return re.sub(r"\s+", " ", text.replace("\N{NO-BREAK SPACE}", " "))


@pytest.mark.parametrize("jobs", [9, 100])
def test_causes_are_those_of_the_terminal(
    browse: Browser, tmp_path: Path, page_of: PageOf, jobs: int
) -> None:
    name = ingest.session(tmp_path, jobs)
    with recordings.open(tmp_path) as recording:
        summary = summary_of(recording, name)
    terminal = plain(str(Report(summary)))
    sentence, causes = browse(
        page_of(tmp_path), ("eval", "document.querySelector('h1').innerText"), CAUSES
    )
    assert plain(sentence) == summary.explanation.sentence
    assert plain(sentence) in terminal
    assert len(causes) == len(summary.explanation.causes)
    for text, cause in zip(causes, summary.explanation.causes, strict=True):
        assert cause.fact in plain(text)
        assert cause.advice in plain(text)
        assert ("at best" in text) == cause.improves
    assert terminal.count("at best without it") == sum("at best" in t for t in causes)


def test_a_cause_leads_to_the_jobs_of_which_it_is_most(
    browse: Browser, tmp_path: Path, page_of: PageOf
) -> None:
    ingest.session(tmp_path, 100)
    link = "document.querySelector('.cause a[href*=loop_lag]')"
    told, _, url, text, rows = browse(
        page_of(tmp_path),
        ("eval", f"{link}.innerText"),
        ("eval", f"{link}.click()"),
        ("eval", "location.hash"),
        TEXT,
        ("eval", "document.querySelector('[role=status]').innerText"),
    )
    number = re.match(r"(\d+)\N{NO-BREAK SPACE}jobs mostly", told)
    assert number
    assert "phase=loop_lag" in url
    assert "sort=loop_lag" in url
    assert f"{number[1]}\N{NO-BREAK SPACE}jobs, most of whose time is held up" in text
    assert rows.startswith(f"{number[1]} of 400")


def test_the_limit_follows_its_changes(
    browse: Browser, tmp_path: Path, page_of: PageOf
) -> None:
    ingest.session(tmp_path, 100)
    rows = (
        "eval",
        (
            "[...document.querySelectorAll('#limit-numbers tbody tr')]"
            ".map((row) => [...row.children].map((each) => each.innerText))"
        ),
    )
    limit = ("eval", "document.querySelector('#limit')?.innerText ?? ''")
    _, adaptive, table, _, part, fixed, _, none = browse(
        page_of(tmp_path),
        ("go", "#/s/x/overview?runner=embed"),
        limit,
        rows,
        ("go", "#/s/x/overview?runner=embed&t=300000-600000"),
        rows,
        ("eval", "location.hash = '#/s/x/overview?runner=fetch'"),
        ("wait", "document.querySelector('#limit').innerText.includes('8')"),
        ("eval", "document.querySelectorAll('#limit-numbers').length"),
    )
    changes = [["0", "16"]]
    changes += [
        [f"{at * 1000:.0f}\N{NO-BREAK SPACE}ms", str(to)] for at, to in ingest.LIMITS
    ]
    assert adaptive.split() == ["limit", "6", "to", "16"]
    assert table == changes
    assert part == [["300\N{NO-BREAK SPACE}ms", "12"], changes[2]]
    assert fixed
    assert none == 0


def test_the_slowest_are_told_apart_by_runner_attempts_and_error(
    browse: Browser, tmp_path: Path, page_of: PageOf
) -> None:
    ingest.session(tmp_path, 100)
    found = packed(tmp_path)
    (text,) = browse(
        page_of(tmp_path),
        ("eval", "document.querySelector('[aria-labelledby=versus-title]').innerText"),
    )
    text = plain(text)
    jobs = found["jobs"]
    durations = sorted(jobs["duration"])
    limit = durations[-(-95 * len(durations) // 100) - 1]
    slow = [row for row, each in enumerate(jobs["duration"]) if each >= limit]
    runner = [found["runs"][jobs["run"][row]]["runner"] for row in slow]
    errors = [found["texts"][jobs["error_type"][row]] for row in slow]
    for name, value, count in (
        ("embed", "Runner", runner.count("embed")),
        ("2 or more", "Attempts", sum(jobs["attempts"][row] > 1 for row in slow)),
        ("TimeoutError", "Error", errors.count("TimeoutError")),
    ):
        assert re.search(
            rf"{value} .*{name} {round(100 * count / len(slow))} %", text
        ), (name, text)


def test_a_drag_over_the_latency_chooses_jobs(
    browse: Browser, tmp_path: Path, page_of: PageOf
) -> None:
    ingest.session(tmp_path, 100)
    drag = """
        const canvas = document.querySelector('[aria-labelledby=latency-title] canvas');
        const { left, top, width } = canvas.getBoundingClientRect();
        for (const [kind, part] of [['down', 0], ['move', 0.3], ['up', 0.3]]) {
          canvas.dispatchEvent(new PointerEvent(`pointer${kind}`, { bubbles: true,
            pointerId: 1, button: 0, clientX: left + 60 + part * width,
            clientY: top + 40 }));
          await new Promise((done) => setTimeout(done));
        }"""
    _, title, text = browse(
        page_of(tmp_path),
        (
            "eval",
            (
                "(async () => { HTMLElement.prototype.setPointerCapture = () => {};"
                f"{drag} }})()"
            ),
        ),
        ("eval", "document.querySelector('#versus-title').innerText"),
        ("eval", "document.querySelector('[aria-labelledby=versus-title]').innerText"),
    )
    assert title.startswith("These ")
    assert "Runner" in text


def test_objectives_have_their_verdicts(browse: Browser, tmp_path: Path) -> None:
    name = ingest.session(tmp_path, 100)
    strict = changed(AVAILABILITY, "name: demo", "name: strict")
    loose = changed(changed(AVAILABILITY, "name: demo", "name: loose"), "0.99", "0.5")
    other = changed(AVAILABILITY, "name: demo", "name: other")
    other = other.replace(
        "spanrun.job.outcome",
        "spanrun.runner.name: x\n                spanrun.job.outcome",
    )
    slos = [each for text in (strict, loose, other) for each in parse(text)]
    with recordings.open(tmp_path) as recording:
        data = data_of(recording, name, slos=slos)
        stats = summary_of(recording, name).runners
    write(data, tmp_path / "run.html")
    bad = sum(each.jobs - each.ok for each in stats)
    rows, axe = browse(
        tmp_path / "run.html",
        (
            "eval",
            (
                "[...document.querySelectorAll('#objectives tbody tr')]"
                ".map((each) => each.innerText)"
            ),
        ),
        ("axe", None),
    )
    assert [plain(each) for each in rows] == [
        (
            f"strict ✕ broken {bad} 400 {100 * bad / 400:.3g} % 1 % "
            f"−{round(100 * (bad / 400 / 0.01 - 1))} %"
        ),
        (
            f"loose ✓ ok {bad} 400 {100 * bad / 400:.3g} % 50 % "
            f"{round(100 * (1 - bad / 400 / 0.5))} %"
        ),
        "other no events",
    ]
    assert axe == []
