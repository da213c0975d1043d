"""What is refused before it runs, and where."""

import contextlib
import sys
import time

import pytest

from spanrun.errors import UnsafeCode
from spanrun.sandbox._check import Checked, check
from spanrun.sandbox._limits import IMPORTS


def look(source: object, mode: str = "exec", given: tuple[str, ...] = ()) -> Checked:
    return check(source, mode, IMPORTS, given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("source", "line", "column", "what"),
    [
        ("import os", 1, 1, "import of 'os'"),
        ("x = 1\nif x:\n    from os import path", 3, 5, "import of 'os'"),
        ("from . import x", 1, 1, "import of '.'"),
        ("x = __name__", 1, 5, "'__name__' is private"),
        ("é = a.b.__dict__", 1, 9, "'__dict__' is private"),
        ("a.\\\n  _b", 2, 3, "'_b' is private"),
        ("def f(_x): pass", 1, 7, "'_x' is private"),
        ("f(_x=1)", 1, 3, "'_x' is private"),
        ("def __f(): pass", 1, 1, "'__f' is private"),
        ("class __A: pass", 1, 1, "'__A' is private"),
        ("class A:\n  def _hidden(self): pass", 2, 3, "'_hidden' is private"),
        ("import math as _m", 1, 8, "'_m' is private"),
        ("def f():\n  global __x", 2, 3, "'__x' is private"),
        ("match 1:\n  case _x: pass", 2, 8, "'_x' is private"),
        ("match 1:\n  case A(_x=1): pass", 2, 8, "'_x' is private"),
        ("match {}:\n  case {**_x}: pass", 2, 8, "'_x' is private"),
        ("try: 1\nexcept E as _e: 2", 2, 1, "'_e' is private"),
        ("x = eval", 1, 5, "'eval' isn't to be had"),
        ("open = 1", 1, 1, "'open' isn't to be had"),
        ("\uff45val('1')", 1, 1, "'eval' isn't to be had"),
    ],
)
def test_what_is_refused_is_told_with_its_place(
    source: str, line: int, column: int, what: str
) -> None:
    with pytest.raises(UnsafeCode) as caught:
        look(source)
    assert (caught.value.line, caught.value.column) == (line, column)
    assert str(caught.value).startswith(f"line {line}, column {column}: {what}")
    assert isinstance(caught.value, RuntimeError)


@pytest.mark.parametrize(
    "source",
    [
        "import math, json",
        "from datetime import date as today",
        "for _ in range(3): pass",
        "class A:\n  def __init__(self): self.x = 1\n  def __add__(self, o): return 1",
        "x = '__class__'",
        "# import os",
        "def f(a, *b, c=1, **d): return a.b",
    ],
)
def test_harmless_code_passes(source: str) -> None:
    assert look(source).source == source


def test_a_name_that_was_given_may_be_used_whatever_it_means_elsewhere() -> None:
    assert "open" in look("open * 2", "eval", ("open",)).used


def test_names_used_and_bound_are_told() -> None:
    checked = look(
        "import math as m\n"
        "def f(n):\n  global g\n  g = inner = n\n"
        "[k for k in ks if (w := k)]\n"
        "class A:\n  field = 1\n"
        "for i in m: x[i] = y\n"
    )
    assert checked.bound == {"m", "f", "g", "w", "A", "i"}
    assert {"ks", "x", "y"} <= checked.used


@pytest.mark.parametrize("source", ["1 +", "x = 1", "", "return", "1)+(2"])
def test_no_expression_is_a_syntax_error(source: str) -> None:
    with pytest.raises(SyntaxError):
        look(source, "eval")


@pytest.mark.parametrize("source", ["a\0b", b"\xff", "\ud800", "def", "nonlocal x"])
def test_no_python_is_a_syntax_error(source: object) -> None:
    with pytest.raises(SyntaxError):
        look(source)


def test_bytes_are_utf_8_and_spaces_before_an_expression_are_left_out() -> None:
    assert look("  'é'".encode(), "eval").source == "'é'"


@pytest.mark.parametrize(
    ("source", "why"),
    [
        (compile("1", "", "eval"), "a code object"),
        ("x" * 16_385, "16,385 characters: 16,384 at most"),
        ("-" * 9_999 + "1", "nests too deep"),
        ("a" + ".b" * 8_000, "nests too deep"),
        ("import a" + ".a" * 200, "more than 100 dots"),
        ("if 1:\n  import a" + "\\\n.a" * 200, "more than 100 dots"),
        ("import a" + "\\\r\n.a" * 200, "more than 100 dots"),
    ],
)
def test_what_would_cost_too_much_to_look_at_is_refused(
    source: object, why: str
) -> None:
    with pytest.raises(UnsafeCode, match=why):
        look(source)


@pytest.mark.parametrize(
    "part",
    ["a,", "a\n", "f(", "1:1,", "{", "[a for a in a ", "lambda:", "'", "x=", "@a\n"],
)
def test_looking_takes_time_as_the_code_is_long(part: str) -> None:
    def cost(length: int) -> float:
        """CPU seconds, the least of some tries: nothing else counts."""
        tries: list[float] = []
        for _ in range(5):
            began = time.thread_time()
            with contextlib.suppress(SyntaxError, UnsafeCode):
                look((part * length)[:length])
            tries.append(time.thread_time() - began)
        return min(tries)

    # Four times as long: four times the time, and sixteen where it grew by the square.
    assert cost(16_384) < 12 * cost(4_096)


def test_looking_changes_no_limit_of_this_program() -> None:
    before = sys.getrecursionlimit()
    with pytest.raises(UnsafeCode):
        look("-" * 9_999 + "1")
    assert sys.getrecursionlimit() == before
