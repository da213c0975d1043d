"""Where one backend is made: its temporary folder, its log, its running step."""

import os
import shlex
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TextIO

from instrumentation.backends.leash import Leash, tail

_TAIL = 25


class StepError(Exception):
    """A step has failed; the message holds the end of its log and the log's path."""


class StoppedError(Exception):
    """The whole run was asked to stop while a step ran."""


class Progress:
    """Lines of progress with the time since the start; used by several threads."""

    def __init__(self, out: TextIO | None = None, *, heartbeat: float = 20.0) -> None:
        self.heartbeat = heartbeat
        self.stopped = threading.Event()
        self._out = out or sys.stderr
        self._start = time.monotonic()
        self._lock = threading.Lock()

    def say(self, name: str, text: str) -> None:
        """Print one line at once."""
        elapsed = time.monotonic() - self._start
        with self._lock:
            print(f"[{elapsed:6.1f} s] {name:<10} {text}", file=self._out, flush=True)


class Bench:
    """The place in which one backend's recipe works.

    `out` is what becomes the backend's folder, `tmp` is thrown away after it.
    """

    def __init__(self, name: str, out: Path, log: Path, progress: Progress) -> None:
        self.out = out
        self.tmp = out.parent / "tmp"
        self.tmp.mkdir(exist_ok=True)
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_bytes(b"")
        self._name, self._log, self._progress = name, log, progress

    def run(
        self,
        what: str,
        argv: Sequence[str],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """Run one step, telling of it at its start and every 20 s.

        Raises:
            StepError: it ended with another exit code than 0.
            StoppedError: the run was asked to stop; the step is ended.
        """
        self._progress.say(self._name, what)
        begin = time.monotonic()
        with self._log.open("a", encoding="utf-8") as log:
            print(f"$ {shlex.join(argv)}", file=log)
        code = self._watch(argv, cwd or self.tmp, {**os.environ, **(env or {})})
        if code:
            raise self.failed(
                f"{what} failed with exit code {code} after "
                f"{time.monotonic() - begin:.0f} s"
            )

    def failed(self, why: str) -> StepError:
        """Return an error which tells why, how the log ends and where it is."""
        return StepError(f"{why}\n{tail(self._log, _TAIL)}\nthe whole log: {self._log}")

    def _watch(self, argv: Sequence[str], cwd: Path, env: Mapping[str, str]) -> int:
        begin = told = time.monotonic()
        with Leash(
            argv, log=self._log, folder=self.out.parent, cwd=cwd, env=env
        ) as leash:
            while (code := leash.wait(0.1)) is None:
                now = time.monotonic()
                if self._progress.stopped.is_set():
                    raise StoppedError
                if now - told >= self._progress.heartbeat:
                    told = now
                    last = tail(self._log, 1).strip()[:60]
                    self._progress.say(self._name, f"… {now - begin:.0f} s: {last}")
        return code
