"""`Progress`: how far the runs are, as bars or, where there can't be any, as lines."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import importlib.util
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Final, Protocol, TextIO

from tqdm import tqdm
from tqdm.utils import disp_len

from spanrun.checks import flag, offers, optional
from spanrun.outcome import Outcome
from spanrun.telemetry.observe import RunInfo
from spanrun.text import one_line

_EVERY: Final = 2.0
_BAR: Final = "{desc:<10} {percentage:3.0f}%|{bar:20}| {n_fmt}/{total_fmt}"
_BARS: Final = (
    f"{_BAR} · {{rate_noinv_fmt}} · {{elapsed}}<{{remaining}}{{postfix}}",
    f"{_BAR} · {{rate_noinv_fmt}}{{postfix}}",
    "{desc:<10} {percentage:3.0f}%|{bar:10}| {n_fmt}/{total_fmt}{postfix}",
    "{desc} {n_fmt}/{total_fmt} · {rate_noinv_fmt}{postfix}",
    "{desc} {n_fmt}/{total_fmt}{postfix}",
    "{desc} {n_fmt}/{total_fmt}",
    "{n_fmt}/{total_fmt}",
)
_OPEN_BARS: Final = (
    "{desc:<10} {n_fmt} · {rate_noinv_fmt} · {elapsed}{postfix}",
    "{desc} {n_fmt} · {rate_noinv_fmt}{postfix}",
    "{desc} {n_fmt}{postfix}",
    "{desc} {n_fmt}",
    "{n_fmt}",
)
"""The first one for which there is room is shown."""
_WIDGET: Final = (
    " {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}"
    " · {rate_noinv_fmt} · {elapsed}<{remaining}{postfix}"
)
_OPEN_WIDGET: Final = "|{bar}| {n_fmt} · {rate_noinv_fmt} · {elapsed}{postfix}"


class Progress:
    """An observer that shows each run's rate, errors and time left.

    Where the text goes to a terminal each run has a bar; in a notebook that has
    `ipywidgets`, too. Elsewhere a line is written at most every two seconds, and one
    at the end. In batches, items are counted. When writing fails (the terminal was
    closed, the disk is full) it falls silent: no result depends on it.

    The same is had for a single run by ``map(…, progress=True)``.

    Args:
        stream: Where to write; standard error by default.
        bars: Whether to draw bars; by default, if ``stream`` is a terminal that
            can move its cursor, or is left out in a notebook.
    """

    def __init__(
        self, stream: TextIO | None = None, *, bars: bool | None = None
    ) -> None:
        # None where the program was started with a closed standard error.
        given: TextIO | None = sys.stderr if stream is None else stream
        example = "a text stream, such as sys.stderr"
        optional(offers)("Progress", "stream", given, "write flush isatty", example)
        self._stream: Final = given
        self._is_default: Final = stream is None
        self._bars: bool | None = optional(flag)("Progress", "bars", bars)
        self._shown: dict[str, _Shown] = {}
        self._ended: list[_Shown] = []
        self._broken = given is None
        self._timer: asyncio.TimerHandle | None = None

    def run_opened(self, run: RunInfo) -> None:
        """A run has begun."""
        if not run.calls and run.total_items != 0:
            self._attempt(lambda: self._show(run))

    def job_ended(self, run: RunInfo, outcome: Outcome[Any]) -> None:  # noqa: ARG002 -- it counts
        """A job has its outcome."""
        shown = self._shown.get(run.id)
        if shown is not None:
            self._attempt(shown.step)
            if shown.behind and self._timer is None:
                self._see_to_it(shown.every)

    def run_closed(self, run: RunInfo) -> None:
        """A run is over."""
        shown = self._shown.pop(run.id, None)
        if shown is not None:
            self._ended.append(shown)
            self._attempt(shown.end)
            if not self._shown:
                self._attempt(self._close)
                if self._timer is not None:
                    self._timer.cancel()
                    self._timer = None

    def _show(self, run: RunInfo) -> None:
        stream = self._stream
        assert stream is not None  # noqa: S101 -- it isn't broken
        if self._is_default and self._bars is not False and _has_widgets():
            self._shown[run.id] = _Widget(run)
            return
        if self._bars is None:
            self._bars = stream.isatty() and os.environ.get("TERM") != "dumb"
        kind = _Bar if self._bars else _Lines
        self._shown[run.id] = kind(run, stream)

    def _see_to_it(self, seconds: float) -> None:
        """Show later what it is too early for, as the next job may take long to end."""
        with contextlib.suppress(RuntimeError):  # there is no loop
            call_later = asyncio.get_running_loop().call_later
            # It is no part of whichever job has ended.
            context = contextvars.Context()
            self._timer = call_later(seconds, self._catch_up, context=context)

    def _catch_up(self) -> None:
        self._timer = None
        for shown in tuple(self._shown.values()):
            if shown.behind:
                self._attempt(shown.end)

    def _close(self) -> None:
        # All at once and from the top: one that closes moves those below.
        ended, self._ended = self._ended, []
        for shown in sorted(ended, key=lambda each: each.began):
            shown.close()

    def _attempt(self, act: Callable[[], None]) -> None:
        if self._broken:
            return
        try:
            act()
        except (OSError, ValueError):  # full, gone or closed: ValueError when closed
            self._broken = True
            self._shown.clear()


class _Shown(Protocol):
    """One run on the screen.

    Attributes:
        began: When.
        every: Seconds from one change to the next.
    """

    began: float
    every: float

    @property
    def behind(self) -> bool:
        """Whether more is done than it shows."""
        ...

    def step(self) -> None: ...

    def end(self) -> None: ...

    def close(self) -> None: ...


class _Tqdm(tqdm):  # type: ignore[type-arg] # pyright: ignore[reportMissingTypeArgument]
    """Without tqdm's watching thread, and without its lock between processes."""

    monitor_interval = 0

    def __str__(self) -> str:
        told: dict[str, Any] = dict(self.format_dict)
        columns, told["ncols"] = told["ncols"], None
        shown = ""
        for form in _BARS if self.total else _OPEN_BARS:
            told["bar_format"] = form
            shown = self.format_meter(**told)
            if columns is None or disp_len(shown) <= columns:
                break
        return shown


_Tqdm.set_lock(threading.RLock())  # pyright: ignore[reportUnknownMemberType]


class _Bar:
    every = 0.1

    def __init__(self, run: RunInfo, stream: TextIO) -> None:
        self.began = time.monotonic()
        self._run: Final = run
        self._failed = 0
        self._bar: Final[Any] = self._make(run, stream)

    def _make(self, run: RunInfo, stream: TextIO) -> Any:
        return _Tqdm(
            total=run.total_items,
            desc=one_line(run.runner),
            file=stream,
            unit=f" {_noun(run)}",
            dynamic_ncols=True,
        )

    @property
    def behind(self) -> bool:
        return bool(self._bar.n != self._bar.last_print_n)

    def step(self) -> None:
        done = _done(self._run)
        ended = done - self._run.restored
        failed = ended - self._run.items.get("ok", 0)
        if new := self._run.restored - self._bar.initial:  # they are no part of a rate
            self._bar.initial += new
            self._bar.last_print_n += new
            self._bar.n += new
        if failed != self._failed:
            self._failed = failed
            self._bar.set_postfix_str(f"{failed} failed", refresh=False)
        self._bar.update(done - self._bar.n)

    def end(self) -> None:
        self.step()
        self._bar.refresh()
        self._bar.last_print_n = self._bar.n

    def close(self) -> None:
        self._bar.close()


class _Widget(_Bar):
    """The same in a notebook."""

    def __init__(self, run: RunInfo) -> None:
        super().__init__(run, sys.stdout)

    def _make(self, run: RunInfo, stream: TextIO) -> Any:
        from tqdm.notebook import tqdm_notebook  # noqa: PLC0415 -- ipywidgets: 200 ms

        class Widget(tqdm_notebook):  # type: ignore[type-arg] # pyright: ignore[reportMissingTypeArgument]
            monitor_interval = 0

        Widget.set_lock(threading.RLock())  # pyright: ignore[reportUnknownMemberType]
        # Not as `desc`, which goes into the page as it is; the rest is escaped.
        name = one_line(run.runner).replace("{", "{{").replace("}", "}}")
        return Widget(
            total=run.total_items,
            file=stream,
            unit=f" {_noun(run)}",
            bar_format=name + (_WIDGET if run.total_items else _OPEN_WIDGET),
        )


def _has_widgets() -> bool:
    """Whether this is a notebook's kernel, and it can show bars."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    is_notebook = type(shell).__name__ == "ZMQInteractiveShell"
    return is_notebook and importlib.util.find_spec("ipywidgets") is not None


def _done(run: RunInfo) -> int:
    """How many items have their outcome, from this run or an earlier one."""
    return sum(run.items.values()) + run.restored


def _noun(run: RunInfo) -> str:
    return "items" if run.batched else "jobs"


class _Lines:
    every = _EVERY

    def __init__(self, run: RunInfo, stream: TextIO) -> None:
        self.began = time.monotonic()
        self._run: Final = run
        self._stream: Final = stream
        self._said = self.began
        self._told = 0

    @property
    def behind(self) -> bool:
        return self._told != _done(self._run)

    def step(self) -> None:
        now = time.monotonic()
        if now - self._said >= _EVERY:
            self._say(now)

    def end(self) -> None:
        if _done(self._run):
            self._say(time.monotonic())

    def close(self) -> None:
        pass

    def _say(self, now: float) -> None:
        total = self._run.total_items
        self._said = now
        self._told = done = _done(self._run)
        ended = done - self._run.restored
        failed = ended - self._run.items.get("ok", 0)
        rate = ended / max(now - self.began, 1e-9)
        parts = [
            f"{one_line(self._run.runner)}: {done}" + (f"/{total}" if total else ""),
            f"{rate:.1f} {_noun(self._run)}/s",
            f"{failed} failed",
        ]
        if total and ended and done < total:
            parts.append(f"{(total - done) / rate:.0f} s left")
        self._stream.write(" · ".join(parts) + "\n")
        self._stream.flush()
