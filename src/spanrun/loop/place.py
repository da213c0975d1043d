"""`where_is`: where a thread is, as text, and in the user's own code."""

from __future__ import annotations

import linecache
import sysconfig
import traceback
from collections.abc import Iterable
from functools import lru_cache
from types import FrameType
from typing import Final

from spanrun.loop.lag import Place

_FRAMES: Final = 32
_LINE: Final = 200
_LIBRARIES: Final = tuple(
    sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")
)


def where_is(
    top: FrameType | None, outside: FrameType | None
) -> tuple[str, Place | None]:
    """Where a thread is, from just inside ``outside`` on.

    As a traceback shows it, and the innermost place that is in no library.
    """
    frames: list[tuple[FrameType, int]] = []
    frame = top
    while frame is not None and frame is not outside and len(frames) < _FRAMES:
        frames.append((frame, _line_of(frame)))
        frame = frame.f_back
    lines = as_text(reversed(frames)).splitlines()
    own = [each for each in frames if not _is_library(each[0])] or frames
    text = "\n".join(line[:_LINE] for line in lines)
    if not own:
        return text, None
    frame, line = own[0]
    code = frame.f_code
    return text, Place(code.co_qualname, code.co_filename, line)


def as_text(frames: Iterable[tuple[FrameType, int]]) -> str:
    """Frames and their lines as a traceback shows them.

    `traceback` would read each source file whole, and `linecache` keeps it for as long
    as the process lives: a loop that is blocked now here, now there, would load the
    source of the whole program. So few lines are remembered, and no file.
    """
    shown = traceback.StackSummary()
    for frame, number in frames:
        path, name = frame.f_code.co_filename, frame.f_code.co_name
        text = _source(frame, path, number)
        shown.append(traceback.FrameSummary(path, number, name, line=text))
    return "".join(shown.format())


def _source(frame: FrameType, path: str, number: int) -> str:
    """One line of a file; empty where there is none."""
    if len(linecache.cache.get(path, ())) > 1:  # whole, such as a cell of a notebook
        return linecache.getline(path, number)
    linecache.lazycache(path, frame.f_globals)  # for a loader's own, as of a zip file
    try:
        return _read(path, number)
    finally:
        linecache.cache.pop(path, None)


@lru_cache(maxsize=1_024)
def _read(path: str, number: int) -> str:
    return linecache.getline(path, number)


def _line_of(frame: FrameType) -> int:
    """The line that runs; the function's first where the instruction has none."""
    line: int | None = frame.f_lineno
    return frame.f_code.co_firstlineno if line is None else line


def _is_library(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith((*_LIBRARIES, "<frozen "))
