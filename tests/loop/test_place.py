"""Where a thread is, as text."""

import importlib
import linecache
import sys
import zipfile
from functools import partial
from types import FrameType

from spanrun.loop.place import where_is


def test_an_instruction_without_a_line_is_in_the_function_s_first() -> None:
    """As some that the compiler adds are: a store with no line in it was unreadable."""
    found: list[FrameType] = []

    def here() -> None:
        found.append(sys._getframe())

    here.__code__ = here.__code__.replace(co_linetable=b"")
    here()
    (frame,) = found
    assert frame.f_lineno is None
    _, place = where_is(frame, frame.f_back)
    assert place == (here.__code__.co_qualname, __file__, frame.f_code.co_firstlineno)


def test_a_stack_leaves_no_source_files_in_memory(tmp_path) -> None:
    """`linecache` has each file that it reads for one line as long as the process."""
    names, frames = [], []
    inner = lambda: frames.append(sys._getframe())
    for number in range(20):
        path = tmp_path / f"module{number}.py"
        path.write_text(f"\n\ndef call{number}(inner):\n    inner()  # of {number}\n")
        names.append(str(path))
        scope: dict = {}
        exec(compile(path.read_text(), names[-1], "exec"), scope)  # noqa: S102
        inner = partial(scope[f"call{number}"], inner)
    inner()
    text, _ = where_is(frames[0], None)
    for number, name in enumerate(names):
        assert f'File "{name}", line 4, in call{number}\n' in text
        assert f"inner()  # of {number}" in text
    assert not linecache.cache.keys() & set(names)


def test_a_stack_has_the_lines_of_what_is_in_no_file() -> None:
    """As the cells of a notebook, which `linecache` is told."""
    source, frames = "\nlook()  # in a cell\n", []
    linecache.cache["<cell 1>"] = (
        len(source),
        None,
        source.splitlines(keepends=True),
        "",
    )
    try:
        code = compile(source, "<cell 1>", "exec")
        exec(code, {"look": lambda: frames.append(sys._getframe())})  # noqa: S102
        text, _ = where_is(frames[0], None)
    finally:
        del linecache.cache["<cell 1>"]
    assert "look()  # in a cell" in text


def test_a_stack_has_the_lines_of_a_module_in_a_zip_file(tmp_path, monkeypatch) -> None:
    path = tmp_path / "modules.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("zipped.py", "def call(inner):\n    inner()  # in a zip\n")
    monkeypatch.syspath_prepend(path)
    frames = []
    importlib.import_module("zipped").call(lambda: frames.append(sys._getframe()))
    monkeypatch.delitem(sys.modules, "zipped")
    text, _ = where_is(frames[0], None)
    assert "inner()  # in a zip" in text
    assert str(path / "zipped.py") not in linecache.cache
