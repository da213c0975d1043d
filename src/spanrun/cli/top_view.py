"""What `spanrun top` shows: lines of a width, from what processes say."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, TypeVar

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from spanrun.cli.console import line
from spanrun.cli.keys import END, ESCAPE
from spanrun.quantities import number, seconds
from spanrun.telemetry.live.state import PHASES, JobNow, Phase, ProcessNow, RunnerNow

_GAP: Final = 2
_LEAST: Final = 6  # columns of a text that is cut
_BETWEEN: Final = " · "
_SILENT: Final = 3.0  # seconds without news that are said
_NONE: Final = "–"
_STYLES: Final[Mapping[Phase, str]] = {
    "queue": "dim",
    "limit": "yellow",
    "rate_limit": "yellow",
    "backoff": "magenta",
    "busy": "red",
    "service": "",
}

T = TypeVar("T")
_Row: TypeAlias = tuple[ProcessNow, JobNow]

_SORTS: Final[Mapping[str, Callable[[_Row], tuple[Any, ...]]]] = {
    "age": lambda row: (-row[1].age,),
    "phase": lambda row: (PHASES.index(row[1].phase), -row[1].age),
    "runner": lambda row: (row[1].runner, -row[1].age),
    "attempt": lambda row: (-row[1].attempt, -row[1].age),
}


@dataclass(slots=True)
class View:
    """How the jobs are sorted, and which of them are shown.

    Attributes:
        sort: By what.
        phase: Only those in it; None for all.
        text: Only those whose runner or name has it.
        typing: It is being typed.
        over: The reader has had enough.
    """

    sort: str = "age"
    phase: Phase | None = None
    text: str = ""
    typing: bool = False
    over: bool = False

    def press(self, key: str) -> None:
        """Do what ``key`` is for."""
        if key == END:
            self.over = True
        elif self.typing:
            self._type(key)
        elif key in ("q", "Q"):
            self.over = True
        elif key == "s":
            self.sort = _after(self.sort, tuple(_SORTS))
        elif key == "f":
            self.phase = _after(self.phase, (None, *PHASES))
        elif key == "/":
            self.typing, self.text = True, ""
        elif key == ESCAPE:
            self.phase, self.text = None, ""

    def _type(self, key: str) -> None:
        if key in ("\n", "\r", ESCAPE):
            self.typing = False
            self.text = "" if key == ESCAPE else self.text
        elif key in ("\x7f", "\b"):
            self.text = self.text[:-1]
        elif key.isprintable():
            self.text += key

    def rows(self, processes: Sequence[ProcessNow]) -> list[_Row]:
        """The jobs that are shown, in order."""
        found = [
            (process, job)
            for process in processes
            for job in process.jobs
            if self.phase in (None, job.phase)
            and self.text.lower() in f"{job.runner} {_name(job)}".lower()
        ]
        return sorted(found, key=_SORTS[self.sort])


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of a table.

    Attributes:
        title: At its top.
        cells: What stands in it.
        rank: The greater, the sooner it is left out where there is no room.
        cut: It is shortened before any column is left out.
        left: It begins at the left, as texts do.
    """

    title: str
    cells: Sequence[str]
    rank: int = 0
    cut: bool = False
    left: bool = False

    @property
    def natural(self) -> int:
        """How wide it is."""
        return max(map(cell_len, (self.title, *self.cells)))

    @property
    def least(self) -> int:
        """How wide it must be."""
        return min(self.natural, _LEAST) if self.cut else self.natural


def lines(
    processes: Sequence[ProcessNow], view: View, width: int, height: int = 0
) -> list[Text]:
    """What is shown, in ``width`` columns and, unless it is 0, ``height`` lines."""
    many = len(processes) > 1
    shown = [text for process in processes for text in _head(process, width)]
    shown += _runners(processes, width, many=many)
    if not processes:
        shown.append(_line("no program with an open runner", width))
    jobs = view.rows(processes)
    bottom = _bottom(view, width) if height else []
    room = max(1, height - len(shown) - len(bottom) - 3) if height else len(jobs)
    table = _jobs(jobs[:room], width, many=many)
    if table:
        shown += [Text(), *table]
        left = len(jobs) - len(jobs[:room])
        if not (view.phase or view.text):
            left = sum(process.open for process in processes) - len(jobs[:room])
        if left > 0:
            shown.append(_line(f"and {left:,} more", width, "dim"))
    if height:
        shown = shown[: height - len(bottom)]
        shown += [Text()] * (height - len(bottom) - len(shown))
    return [*shown, *bottom]


def _head(process: ProcessNow, width: int) -> Iterator[Text]:
    silent = time.time() - process.at_ns / 1e9
    name = f"{process.pid} {line(process.command)}"
    worst = max((loop.lag for loop in process.loops), default=0.0)
    parts = [f"{process.open:,} open", f"loop lag {seconds(worst)}"]
    if silent > _SILENT:
        parts = [f"silent for {seconds(silent)}"]
    room = width - cell_len(_BETWEEN.join(("", *parts)))
    yield _line(_joined([_cut(name, max(room, _LEAST)), *parts], width), width, "bold")
    for loop in process.loops:
        if loop.blocked:
            where = f", in {loop.place}" if loop.place else ""
            told = f"loop blocked for {seconds(loop.blocked)} by {loop.by}{where}"
            yield _line(told, width, "red")


def _runners(
    processes: Sequence[ProcessNow], width: int, *, many: bool
) -> Iterator[Text]:
    rows = [(process, each) for process in processes for each in process.runners]
    if not rows:
        return
    runners = [runner for _, runner in rows]

    def durations(of: Callable[[RunnerNow], float | None]) -> list[str]:
        found = map(of, runners)
        return [_NONE if each is None else seconds(each) for each in found]

    waiting = [f"{each.queued + each.backing_off:,}" for each in runners]
    rates = [_NONE if r.rate is None else f"{number(r.rate)}/s" for r in runners]
    names = [line(each.name) for each in runners]
    columns = [
        _Column("runner", names, cut=True, left=True),
        _Column("running", [f"{each.running}/{each.limit}" for each in runners]),
        _Column("rate", rates, 1),
        _Column("p95", durations(lambda each: each.p95), 2),
        _Column("failed", [f"{_failed(each):,}" for each in runners], 3),
        _Column("p50", durations(lambda each: each.p50), 4),
        _Column("p99", durations(lambda each: each.p99), 5),
        _Column("waiting", waiting, 6),
    ]
    if any(each.stuck for each in runners):
        columns.append(_Column("stuck", [f"{each.stuck:,}" for each in runners], 3))
    if many:
        columns.append(_Column("process", [str(each.pid) for each, _ in rows], 7))
    yield from _table(columns, width)
    for runner in runners:
        if runner.errors:
            yield _errors(runner, width)


def _failed(runner: RunnerNow) -> int:
    return sum(count for name, count in runner.ended.items() if name != "ok")


def _errors(runner: RunnerNow, width: int) -> Text:
    most = sorted(runner.errors.items(), key=lambda each: -each[1])
    kinds = [f"{line(kind)} {count:,}" for kind, count in most]
    name = _cut(line(runner.name), max(_LEAST, width - 2 - cell_len(kinds[0])))
    return _line(_joined([f"{name}: {kinds[0]}", *kinds[1:]], width), width, "red")


def _jobs(rows: Sequence[_Row], width: int, *, many: bool) -> Iterator[Text]:
    if not rows:
        return
    jobs = [job for _, job in rows]
    traces = [job.trace_id[:8] for job in jobs]
    columns = [
        _Column("age", [seconds(job.age) for job in jobs]),
        _Column("phase", [_phase(job) for job in jobs], left=True),
        _Column("job", [_name(job) for job in jobs], 1, cut=True, left=True),
        _Column("runner", [line(job.runner) for job in jobs], 2, cut=True, left=True),
        _Column("attempt", [str(job.attempt) for job in jobs], 3),
    ]
    if any(traces):
        columns.append(_Column("trace", traces, 4))
    if many:
        columns.append(_Column("process", [str(each.pid) for each, _ in rows], 5))
    styles = [_STYLES[job.phase] for job in jobs]
    yield from _table(columns, width, styles)


def _phase(job: JobNow) -> str:
    return f"{job.phase}{', cancelled' if job.cancelled else ''}"


def _name(job: JobNow) -> str:
    return line(job.key) if job.key else f"#{job.index}"


def _bottom(view: View, width: int) -> list[Text]:
    if view.typing:
        return [_line(f"filter: {line(view.text)}▏", width)]
    shown = view.phase or "all"
    parts = ["q quit", f"s sort: {view.sort}", f"f phase: {shown}", "/ filter"]
    if view.text:
        parts[-1] = f"/ filter: {line(view.text)}"
    return [_line(_joined(parts, width), width, "dim")]


def _table(
    columns: Sequence[_Column], width: int, styles: Sequence[str] = ()
) -> Iterator[Text]:
    """The columns for which there is room, side by side, as they were given."""
    kept = list(columns)
    while len(kept) > 1 and _width(each.least for each in kept) > width:
        kept.remove(max(kept, key=lambda each: each.rank))
    widths = [each.natural for each in kept]
    while (over := _width(widths) - width) > 0:
        spare = [wide - each.least for wide, each in zip(widths, kept, strict=True)]
        at = max(range(len(kept)), key=lambda place: spare[place])
        if not spare[at]:
            break  # a terminal that is narrower than any
        widths[at] -= min(over, spare[at])
    titles = [each.title for each in kept]
    yield _line(_row(titles, kept, widths), width, "bold")
    for place, cells in enumerate(zip(*(each.cells for each in kept), strict=True)):
        style = styles[place] if styles else ""
        yield _line(_row(cells, kept, widths), width, style)


def _row(
    cells: Sequence[str], columns: Sequence[_Column], widths: Sequence[int]
) -> str:
    padded = (
        _padded(_cut(cell, wide), wide, left=column.left)
        for cell, column, wide in zip(cells, columns, widths, strict=True)
    )
    return (" " * _GAP).join(padded)


def _padded(text: str, width: int, *, left: bool) -> str:
    spaces = " " * (width - cell_len(text))
    return text + spaces if left else spaces + text


def _width(widths: Sequence[int] | Iterator[int]) -> int:
    found = list(widths)
    return sum(found) + _GAP * (len(found) - 1)


def _joined(parts: Sequence[str], width: int) -> str:
    """The first of ``parts``, and those after it that fit as a whole."""
    told = parts[0]
    for part in parts[1:]:
        longer = f"{told}{_BETWEEN}{part}"
        if cell_len(longer) > width:
            break
        told = longer
    return told


def _cut(text: str, width: int) -> str:
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, max(0, width - 1)).rstrip() + "…"


def _line(text: str, width: int, style: str = "") -> Text:
    return Text(_cut(text, width), style, no_wrap=True, overflow="crop")


def _after(now: T, choices: tuple[T, ...]) -> T:
    return choices[(choices.index(now) + 1) % len(choices)]
