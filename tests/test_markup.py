"""What a notebook shows of an outcome."""

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from spanrun import markup
from spanrun.outcome import Err, Ok, Timings
from spanrun.semconv import SPANRUN_JOB_PHASE_VALUES

STYLE = Path(__file__).parents[1] / "viewer/src/style.css"


def parsed(html):
    """As XML: so every tag is closed, and what comes from outside is escaped."""
    return ET.fromstring(f"<div>{html}</div>")  # noqa: S314 -- ours


def timings():
    made = Timings()
    made.queue, made.limit, made.busy, made.duration = 0.001, 0.25, 0.5, 1.0
    return made


@pytest.mark.parametrize(
    "outcome",
    [
        Ok(3, "<script>alert(1)</script> & more", timings()),
        Err(3, ValueError("<script>alert(1)</script>"), timings(), key="<b>"),
    ],
)
def test_an_outcome_shows_its_repr_escaped_and_its_ledger(outcome):
    page = parsed(outcome._repr_html_())
    text = "".join(page.itertext())
    assert repr(outcome) in text
    assert not page.findall(".//script")
    assert "busy 500 ms (50 %) · " in text.replace("\N{NO-BREAK SPACE}", " ")
    assert "queue 1.00 ms (<1 %)" in text
    widths = [part.attrib["title"] for part in page.findall(".//div/span[@title]")]
    assert widths == ["limit 25 %", "busy 50 %", "service 25 %"], "in a job's order"


def test_timings_show_their_ledger_and_nothing_is_divided_by_zero():
    assert "limit 250 ms" in "".join(parsed(timings()._repr_html_()).itertext())
    assert "".join(parsed(Timings()._repr_html_()).itertext()).strip() == "0"


def test_a_secret_in_a_value_is_not_shown():
    outcome = Ok(0, "Authorization: Bearer abcdef0123456789abcdef", timings())
    assert "abcdef0123456789abcdef" not in outcome._repr_html_()


def test_each_phase_has_the_colour_of_the_page():
    style = STYLE.read_text("utf-8")
    themes = r'^:root(?:\[data-theme="dark"\])? {(.*?)}'
    blocks = re.findall(themes, style, re.MULTILINE | re.DOTALL)
    light, dark = (dict(re.findall(r"--(\w+): (#\w+)", each)) for each in blocks)
    wanted = {phase: (light[phase], dark[phase]) for phase in SPANRUN_JOB_PHASE_VALUES}
    assert wanted == markup._COLOURS


def test_a_number_and_its_unit_stay_together():
    gap = "\N{NO-BREAK SPACE}"
    assert markup.together("in 1.31 s, 15 % of it") == f"in 1.31{gap}s, 15{gap}% of it"
    assert markup.together("3 states, 4 mshots") == "3 states, 4 mshots"
