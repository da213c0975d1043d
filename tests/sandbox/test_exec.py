"""`safe_exec` and `asafe_exec`: what the code binds lands in the mapping."""

from typing import Any

import pytest

from spanrun.errors import SandboxLimit
from spanrun.sandbox import asafe_exec, safe_exec


def test_assignments_land_in_locals() -> None:
    given: dict[str, Any] = {"a": 2}
    found: dict[str, Any] = {}
    assert safe_exec("b = a + 1\nc = [b] * 2", given, found) is None
    assert found == {"b": 3, "c": [3, 3]}
    assert given == {"a": 2}


async def test_without_locals_they_land_in_globals() -> None:
    names: dict[str, Any] = {"a": 1}
    await asafe_exec("a += 1\nb = a", names)
    assert names == {"a": 2, "b": 2}


async def test_with_neither_they_are_dropped() -> None:
    await asafe_exec("a = 1")


async def test_a_change_in_place_comes_back_as_a_new_value() -> None:
    before = {"k": [1]}
    names: dict[str, Any] = {"d": before, "other": object()}
    await asafe_exec("d['k'].append(2)", names)
    assert names["d"] == {"k": [1, 2]}
    assert before == {"k": [1]}


async def test_functions_classes_and_modules_stay_inside() -> None:
    names: dict[str, Any] = {}
    await asafe_exec(
        "import math\n"
        "class Point:\n  def __init__(self, x): self.x = x\n"
        "def double(point): return point.x * 2\n"
        "point = Point(math.floor(2.5))\n"
        "result = double(point)\n",
        names,
    )
    assert names == {"result": 4}


async def test_other_collections_come_back_as_the_plain_ones() -> None:
    names: dict[str, Any] = {}
    code = "from collections import deque, Counter\na = deque([1])\nb = Counter('xx')"
    await asafe_exec(code, names)
    assert names == {"a": [1], "b": {"x": 2}}


async def test_a_global_set_in_a_function_lands_too() -> None:
    names: dict[str, Any] = {}
    await asafe_exec("def f():\n  global g\n  g = local = 1\nf()", names)
    assert names == {"g": 1}


async def test_when_it_fails_nothing_is_set() -> None:
    names: dict[str, Any] = {}
    with pytest.raises(ValueError, match="no") as caught:
        await asafe_exec("a = 1\nraise ValueError('no')", names)
    assert names == {}
    assert caught.value.__notes__ == ["sandbox: line 2"]


async def test_too_much_in_all_names_together_is_a_limit() -> None:
    names: dict[str, Any] = {}
    with pytest.raises(SandboxLimit, match="output=100"):
        await asafe_exec("a = 'a' * 60\nb = 'b' * 60", names, output=100)
    assert names == {}


async def test_what_is_printed_goes_to_standard_output(
    capsys: pytest.CaptureFixture[str],
) -> None:
    await asafe_exec("print('a', 1)\nprint('b', end='')")
    assert capsys.readouterr().out == "a 1\nb"


async def test_or_where_one_likes_also_when_it_fails() -> None:
    printed: list[str] = []
    with pytest.raises(ZeroDivisionError):
        await asafe_exec("print('so far')\n1/0", on_print=printed.append)
    assert printed == ["so far\n"]


async def test_nothing_is_printed_of_what_a_limit_ended() -> None:
    printed: list[str] = []
    with pytest.raises(SandboxLimit):
        await asafe_exec("while True: print('x')", on_print=printed.append)
    assert printed == []


async def test_it_sleeps_within_its_limit() -> None:
    await asafe_exec("import time\ntime.sleep(0.001)", sleep=0.002)
    with pytest.raises(SandboxLimit, match="slept") as caught:
        await asafe_exec("import time\nfor _ in 'abc': time.sleep(0.001)", sleep=0.002)
    assert caught.value.limit == "sleep"


async def test_only_allowed_modules_are_there() -> None:
    names: dict[str, Any] = {}
    await asafe_exec("import math\nx = math.tau", names, imports={"math"})
    assert names["x"] > 6
    with pytest.raises(RuntimeError, match="import of 'json': only math"):
        await asafe_exec("import json", imports={"math"})
    with pytest.raises(ModuleNotFoundError, match="numpy"):
        await asafe_exec("import numpy", imports={"numpy"})


async def test_what_the_language_lacks_is_told() -> None:
    with pytest.raises(NotImplementedError, match="yield"):
        await asafe_exec("def f():\n  yield 1")
