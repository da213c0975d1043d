"""The pages that say what a phase means have each of them."""

import re

import pytest
from tests.docs.pages import DOCS

from spanrun import Timings

PAGES = (
    "explanation/time-ledger.md",
    "how-to/find-out-why-slow.md",
    "how-to/p95-went-up.md",
)
PHASES = [name for name, _ in Timings().phases()]


def rows(text: str) -> dict[str, str]:
    """The rows of the page's tables, by the phases that they begin with."""
    found = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|(.*)$", text, re.MULTILINE)
    return {name: row for names, row in found for name in re.findall(r"\w+", names)}


@pytest.mark.parametrize("page", PAGES)
def test_each_phase_is_explained_as_one_that_is_measured(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    explained = rows(text)
    assert set(PHASES) <= explained.keys()
    for phase in PHASES:
        assert "not measured" not in explained[phase], phase
