"""`Progress`: how far the runs are, on a terminal as bars, elsewhere as lines."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import Any, Final, TextIO

from tqdm import tqdm

from spanrun.outcome import Ok, Outcome
from spanrun.telemetry.observe import RunInfo

_EVERY: Final = 2.0
_BAR: Final = (
    "{desc:<10} {percentage:3.0f}%|{bar:20}| {n_fmt}/{total_fmt}"
    " · {rate_fmt} · {elapsed}<{remaining}{postfix}"
)
_OPEN_BAR: Final = "{desc:<10} {n_fmt} · {rate_fmt} · {elapsed}{postfix}"


class Progress:
    """An observer that shows each run's rate, errors and time left.

    Where the text goes to a terminal each run has a bar; elsewhere a line is
    written at most every two seconds, and one at the end. When writing fails
    (the terminal was closed, the disk is full) it falls silent: no result
    depends on it.

    Args:
        stream: Where to write; standard error by default.
        bars: Whether to draw bars; by default, if ``stream`` is a terminal.
    """

    def __init__(
        self, stream: TextIO | None = None, *, bars: bool | None = None
    ) -> None:
        self._stream: Final = stream or sys.stderr
        self._bars: Final = self._stream.isatty() if bars is None else bars
        self._shown: dict[str, _Bar | _Lines] = {}
        self._ended: list[_Bar | _Lines] = []
        self._opened = 0
        self._broken = False

    def run_opened(self, run: RunInfo) -> None:
        """A run has begun."""
        if not run.calls:
            with self._guard():
                kind = _Bar if self._bars else _Lines
                self._opened += 1
                self._shown[run.id] = kind(run, self._stream, self._opened)

    def job_ended(self, run: RunInfo, outcome: Outcome[Any]) -> None:
        """A job has its outcome."""
        shown = self._shown.get(run.id)
        if shown is not None:
            with self._guard():
                shown.step(ok=isinstance(outcome, Ok))

    def run_closed(self, run: RunInfo) -> None:
        """A run is over."""
        shown = self._shown.pop(run.id, None)
        if shown is not None:
            self._ended.append(shown)
            with self._guard():
                shown.end()
                if not self._shown:
                    # All at once and from the top: one that closes moves those below.
                    ended, self._ended = self._ended, []
                    for each in sorted(ended, key=lambda one: one.number):
                        each.close()

    @contextlib.contextmanager
    def _guard(self) -> Any:
        if self._broken:
            return
        try:
            yield
        except (OSError, ValueError):  # closed, full or gone: ValueError when closed
            self._broken = True
            self._shown.clear()


class _Bar:
    def __init__(self, run: RunInfo, stream: TextIO, number: int) -> None:
        self.number: Final = number
        self._errors = 0
        self._bar: Final[Any] = tqdm(
            total=run.total,
            desc=run.runner,
            file=stream,
            unit=" jobs",
            dynamic_ncols=True,
            bar_format=_BAR if run.total else _OPEN_BAR,
        )

    def step(self, *, ok: bool) -> None:
        if not ok:
            self._errors += 1
            self._bar.set_postfix_str(f"{self._errors} failed", refresh=False)
        self._bar.update()

    def end(self) -> None:
        self._bar.refresh()

    def close(self) -> None:
        self._bar.close()


class _Lines:
    def __init__(self, run: RunInfo, stream: TextIO, number: int) -> None:
        self.number: Final = number
        self._run: Final = run
        self._stream: Final = stream
        self._done = 0
        self._errors = 0
        self._began: Final = time.monotonic()
        self._said = self._began

    def step(self, *, ok: bool) -> None:
        self._done += 1
        self._errors += not ok
        now = time.monotonic()
        if now - self._said >= _EVERY:
            self._said = now
            self._say(now)

    def end(self) -> None:
        self._say(time.monotonic())

    def close(self) -> None:
        pass

    def _say(self, now: float) -> None:
        total = self._run.total
        rate = self._done / max(now - self._began, 1e-9)
        parts = [
            f"{self._run.runner}: {self._done}" + (f"/{total}" if total else ""),
            f"{rate:.1f} jobs/s",
            f"{self._errors} failed",
        ]
        if total and 0 < self._done < total:
            parts.append(f"{(total - self._done) / rate:.0f} s left")
        self._stream.write(" · ".join(parts) + "\n")
        self._stream.flush()
