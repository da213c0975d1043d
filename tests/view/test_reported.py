"""A report's page is judged by what is in it, as its recording is."""

import base64
import json
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.slo.files import AVAILABILITY, LATENCY, changed, one

from spanrun import recordings
from spanrun.errors import ConfigurationError
from spanrun.slo.local import Part, check_run
from spanrun.view.data import data_of
from spanrun.view.page import html_of, write
from spanrun.view.reported import read_report

STORE = Path(__file__).parents[1] / "data" / "store" / "format-3.db"
BY_RUNNER = "\n  annotations:\n    spanrun/group-by: spanrun.runner.name\nspec:\n"
UNITS = changed(
    changed(LATENCY, "spanrun.job.duration", "spanrun.unit.duration"),
    "            where:\n              spanrun.job.outcome: ok\n",
    "",
)
SLOS = [
    one(text)
    for text in (
        AVAILABILITY,
        changed(AVAILABILITY, "\nspec:\n", BY_RUNNER),
        changed(LATENCY, "value: 1", "value: 0.005"),
        changed(LATENCY, "\nspec:\n", BY_RUNNER),
        changed(UNITS, "value: 1", "value: 0.005"),
    )
]


@pytest.fixture
def data() -> Any:
    with recordings.open(STORE) as recording:
        return data_of(recording)


@pytest.fixture
def page(data: Any, tmp_path: Path) -> Path:
    path = tmp_path / "run.html"
    write(data, path)
    return path


@pytest.mark.parametrize("slo", SLOS, ids=range(len(SLOS)))
def test_a_page_has_the_verdicts_of_its_recording(slo: Any, page: Path) -> None:
    with recordings.open(STORE) as recording:
        wanted = check_run(recording, Part(recording.session().id), [slo])
    assert check_run(read_report(page), Part(""), [slo]) == wanted


def test_the_recording_has_what_these_count() -> None:
    """Else the test above would compare nothings."""
    with recordings.open(STORE) as recording:
        part = Part(recording.session().id)
        verdicts = [check_run(recording, part, [slo]) for slo in SLOS]
    for judged in verdicts:
        assert all(each.total for each in judged)
    assert any(each.bad for judged in verdicts for each in judged)


def test_a_page_with_some_of_the_jobs_says_so(data: Any, tmp_path: Path) -> None:
    data["counts"]["jobs"] += 5
    path = tmp_path / "run.html"
    write(data, path)
    shown = data["counts"]["jobs_shown"]
    assert read_report(path).left_out == f"{shown} of {shown + 5} jobs"


def of_data(change: Callable[[Any], object]) -> Callable[[Any], str]:
    def made(data: Any) -> str:
        change(data)
        return html_of(data)

    return made


def cut(data: Any) -> str:
    return re.sub('(id="data">.{400})[^<]*', r"\1", html_of(data))


def bomb(data: Any) -> str:
    packed = base64.b64encode(zlib.compress(bytes(1000)) + b"more").decode()
    return re.sub('(id="data">)[^<]*', rf"\g<1>{packed}", html_of(data))


def of_text(text: str) -> Callable[[Any], str]:
    packed = base64.b64encode(zlib.compress(text.encode())).decode()
    return lambda _: (
        f'<script type="application/octet-stream" id="data">{packed}</script>'
    )


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda _: "<html></html>", "is no report"),
        (lambda _: '<script id="data"></script>', "is no report"),
        (cut, "is damaged"),
        (bomb, "is damaged"),
        (of_text("[]"), "is damaged"),
        (of_text("{}"), "is damaged"),
        (of_text("[" * 100_000), "is damaged"),
        (of_data(lambda data: data.update(format=0)), "is of another version"),
        (of_data(lambda data: data["jobs"]["run"].pop()), "is damaged"),
        (of_data(lambda data: data["jobs"].pop("trace")), "is damaged"),
        (of_data(lambda data: data["texts"].clear()), "is damaged"),
        (of_data(lambda data: data.update(runs=[])), "is damaged"),
    ],
    ids=range(12),
)
def test_what_is_no_report_is_refused(
    make: Callable[[Any], str], said: str, data: Any, tmp_path: Path
) -> None:
    path = tmp_path / "run.html"
    path.write_text(make(json.loads(json.dumps(data))), "utf-8")
    with pytest.raises(ConfigurationError, match=said):
        read_report(path)
