"""What an on-call engineer asks of the workload, and what the real backends answer."""

from collections.abc import Iterator

import pytest
from instrumentation.workload import ask
from instrumentation.workload.answers import empty_panels
from instrumentation.workload.found import Found
from instrumentation.workload.questions import QUESTIONS, Question, shown
from tests.backends.conftest import needs

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def found() -> Iterator[Found]:
    for name in ask.NEEDED:
        needs(name)
    with ask.asked(jobs=400) as found:
        yield found


@pytest.mark.parametrize("question", QUESTIONS, ids=[each.text for each in QUESTIONS])
def test_the_backends_answer_with_the_truth(question: Question, found: Found):
    value, truth = question.value(found), question.truth(found)
    assert question.holds(value, truth), f"{shown(value)}, and it is {shown(truth)}"


def test_every_panel_of_every_board_has_data(found: Found):
    assert empty_panels(found) == set()


def test_all_questions_are_in_the_documentation():
    page = ask.PAGE.read_text("utf-8")
    missing = [each.text for each in QUESTIONS if f"| {each.text} |" not in page]
    assert not missing, 'run: make questions ARGS="--write"'
