"""An error's traceback is the text that `traceback` makes, and is soon made again."""

import traceback
from collections.abc import Callable
from functools import partial

import pytest

from spanrun.telemetry.units import errors
from spanrun.telemetry.units.errors import MAX_FRAMES, stack_of


class OddError(Exception):
    """One with an empty text."""


def deep(more: int) -> None:
    if more:
        deep(more - 1)
    raise ValueError("too\ndeep")


def chained() -> None:
    try:
        try:
            {}["key"]
        except KeyError:
            int("x")
    except ValueError as error:
        raise RuntimeError("caused") from error


def suppressed() -> None:
    try:
        {}["key"]
    except KeyError:
        raise OddError from None


def grouped() -> None:
    try:
        chained()
    except RuntimeError as error:
        raise ExceptionGroup("several", [error, ValueError("x")]) from None


def misspelt() -> None:
    [].appendix  # type: ignore[attr-defined] # noqa: B018


def wrong_code() -> None:
    compile("a b", "f.py", "exec")


def circle() -> None:
    error = ValueError("x")
    error.__cause__ = RuntimeError("y")
    error.__cause__.__cause__ = error
    raise error


def one_line() -> None:
    repeat = lambda more: repeat(more - 1) if more else [].pop()
    repeat(9)


RAISING: dict[str, Callable[[], None]] = {
    f"{more} deep": partial(deep, more) for more in (0, 1, 4, 5, MAX_FRAMES, 90)
}
for each in (chained, suppressed, grouped, misspelt, wrong_code, circle, one_line):
    RAISING[each.__name__] = each


def raised(function: Callable[[], None], *notes: str) -> Exception:
    with pytest.raises(Exception) as caught:
        function()
    for note in notes:
        caught.value.add_note(note)
    return caught.value


@pytest.mark.parametrize("function", RAISING.values(), ids=RAISING)
@pytest.mark.parametrize("notes", [(), ("job 7", "two\nlines")])
def test_the_text_is_that_of_traceback(function, notes) -> None:
    error = raised(function, *notes)
    wanted = "".join(traceback.format_exception(error, limit=-MAX_FRAMES))
    assert stack_of(error) == wanted
    assert stack_of(error) == wanted, "from memory"


def test_an_error_that_was_never_raised() -> None:
    assert stack_of(ValueError("x")) == "ValueError: x\n"


def test_of_a_long_chain_the_nearest_are_told() -> None:
    error: Exception | None = None
    for number in range(100):
        error, before = ValueError(f"number {number}"), error
        error.__cause__ = before
    assert error is not None
    text = stack_of(error)
    assert "number 92" in text
    assert "number 91" not in text


def test_each_frame_is_formatted_once(monkeypatch) -> None:
    error = raised(lambda: deep(2))
    stack_of(error)
    monkeypatch.setattr(traceback, "extract_tb", None)
    assert stack_of(error)


def test_what_is_remembered_is_bounded(monkeypatch) -> None:
    monkeypatch.setattr(errors, "_MAX_KNOWN", 10)
    monkeypatch.setattr(errors, "_known", known := {})
    for number in range(50):
        scope: dict[str, Callable[[], None]] = {}
        exec(f"def f():\n{chr(10) * number} raise ValueError", scope)  # noqa: S102
        stack_of(raised(scope["f"]))
    assert len(known) <= 10 + 2
