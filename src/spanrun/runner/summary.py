"""`Report`: what a session has recorded, as a person is told it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from textwrap import wrap
from typing import Any, Final, TextIO

from spanrun.checks import whole, wrong
from spanrun.errors import ConfigurationError, StoreError
from spanrun.markup import together
from spanrun.quantities import seconds, share
from spanrun.runner import tables
from spanrun.telemetry import setup
from spanrun.telemetry.log import Log
from spanrun.telemetry.recordings.causes import Cause
from spanrun.telemetry.recordings.read import LAST, Recording
from spanrun.telemetry.recordings.summary import (
    Failures,
    SlowJob,
    Summary,
    summary_of,
)
from spanrun.text import one_line, redact
from spanrun.view import page
from spanrun.view.data import data_of

WIDTH: Final = 120
"""Characters in a line, where no terminal says how many it has."""
_log: Final = Log(__name__)
MAX_ERROR: Final = 160
"""Characters of an error that are shown."""
_FLUSH: Final = 5.0
"""Seconds for what isn't written yet."""


class Report:
    """What was recorded of a session or a run: how long its jobs took, and why.

    ``str`` gives it as text for a terminal, and a notebook shows it as tables.

    Args:
        summary: Its numbers.
        path: Of the store that has the recording, for `save`.
        name: The id of the session or the run in it.
    """

    def __init__(
        self, summary: Summary, path: Path | None = None, name: str = LAST
    ) -> None:
        self._summary: Final = summary
        self._path: Final = path
        self._name: Final = name

    def as_dict(self) -> dict[str, Any]:
        """All of its numbers, as JSON can have them."""
        return asdict(self._summary)

    def text(self, width: int = WIDTH) -> str:
        """The same for a person, in lines of ``width`` characters where that can be."""
        return "\n".join(self._lines(whole("Report.text", "width", width, 1)))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the recording as one HTML file, which needs no server.

        It has what is recorded by now. A file that is there is replaced, and never
        half written.

        Args:
            path: Of the file, such as ``"run.html"``.

        Raises:
            ConfigurationError: The report was made without the recording.
            LookupError: The recording was deleted.
            StoreError: It can't be read.
            OSError: The file can't be written.
        """
        given: Any = path
        if not isinstance(given, str | os.PathLike):
            raise wrong("Report.save", "path", given, "must be a file, as 'run.html'")
        if self._path is None:
            raise ConfigurationError(
                "Report.save(): this report has numbers alone: take it from report()"
            )
        with Recording(self._path) as recording:
            page.write(data_of(recording, self._name), Path(path))

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        return f"<Report: {title(self._summary)}>"

    def _repr_html_(self) -> str:
        """For a notebook."""
        from spanrun.runner.html import summary_html  # noqa: PLC0415 -- nowhere else

        return summary_html(self._summary)

    def _lines(self, width: int) -> Iterator[str]:
        found = self._summary
        yield title(found)
        if not found.runners:
            return
        yield from why(found, width)
        yield ""
        yield from tables.durations(found.runners, width)
        yield ""
        yield from tables.times(found.runners, width)
        yield ""
        if found.failures:
            yield "failures"
            yield from map(failure, found.failures)
            yield ""
        if found.slowest is not None:
            yield f"slowest job   {slowest(found.slowest)}"


def title(found: Summary) -> str:
    """How many jobs there were, how many failed, and how long that took."""
    jobs = sum(stats.jobs for stats in found.runners)
    failed = jobs - sum(stats.ok for stats in found.runners)
    rate = f", {jobs / found.seconds:.0f}/s" if found.seconds else ""
    return (
        f"{jobs:,} job{'s'[: jobs != 1]} · {failed:,} failed · "
        f"{seconds(found.seconds)}{rate}"
    )


def failure(group: Failures) -> str:
    """A line on failed jobs that have the same error."""
    kind = group.error_type.rpartition(".")[2]
    what = f"{group.count} × {_line(group.runner)}: {_line(kind)}: "
    trace = f" · e.g. trace {group.trace_id}" if group.trace_id else ""
    return f"  {what}{_line(group.error, MAX_ERROR)}{trace}"


def slowest(job: SlowJob) -> str:
    """A line on the job that took longest."""
    phase, part = max(job.phases.items(), key=lambda item: item[1])
    took = f"{seconds(job.duration)}, of which {seconds(part)} {phase}"
    trace = f" · trace {job.trace_id}" if job.trace_id else ""
    return f"{_line(job.name)}: {took}{trace}"


def why(found: Summary, width: int) -> Iterator[str]:
    """Why the jobs took their time, and what to change, in lines of ``width``."""
    yield from _wrapped(found.explanation.sentence, width)
    for cause in found.explanation.causes:
        yield from _wrapped(advice(cause), width, f"{share(cause.share):>6}  ")


def advice(cause: Cause) -> str:
    """What a cause is, what to change, and how much better that can make the p95."""
    text = f"{cause.fact} {cause.advice}"
    if cause.improves:
        better = f"{seconds(cause.p95)} → {seconds(cause.p95_without)}"
        text += f" p95 {better} at best without it."
    return text


def _wrapped(text: str, width: int, first: str = "") -> Iterator[str]:
    """``text`` in lines; a number and its unit stay together."""
    indent = " " * len(first)
    lines = wrap(together(text), width, initial_indent=first, subsequent_indent=indent)
    return (line.replace("\N{NO-BREAK SPACE}", " ") for line in lines)


def report() -> Report:
    """What this program has recorded so far, since `configure`.

    Raises:
        ConfigurationError: Nothing is recorded: `configure` was not called, or the
            telemetry goes to an endpoint alone.
        StoreError: It can't be read.

    Example:
        >>> configure(store=tempfile.mkdtemp())
        >>> async def main() -> None:
        ...     async with Runner("naps") as runner:
        ...         await runner.map(asyncio.sleep, [0, 0])
        >>> run(main())
        >>> report()
        <Report: 2 jobs · 0 failed · ...>
    """
    telemetry = setup.telemetry()
    if telemetry is None or telemetry.store is None:
        raise ConfigurationError(
            "report(): nothing is recorded here: call configure() first, with "
            "store='.spanrun' if the telemetry goes to an endpoint"
        )
    store = telemetry.store
    store.flush(_FLUSH)
    try:
        with Recording(store.path) as recording:
            found = summary_of(recording, store.session)
            return Report(found, store.path, store.session)
    except LookupError:
        raise StoreError(
            f"{store.path}: {store.fault or 'nothing is in it'}: name another folder"
        ) from None


def tell_at_end(*, is_main: bool) -> None:
    """Print the report at the end of a program, if that is wanted: see `configure`.

    Args:
        is_main: The program's own module has called `run`.
    """
    telemetry = setup.telemetry()
    if telemetry is None or telemetry.store is None or telemetry.told:
        return
    stream: TextIO | None = sys.stderr
    wanted = telemetry.settings.summary
    if stream is None or stream.closed or wanted == "false":
        return
    if wanted == "auto" and not (is_main and stream.isatty()):
        return
    telemetry.told = True
    try:
        text = report().text(terminal_width(stream))
    except StoreError:
        return  # not to be read: what was lost is counted
    except Exception as error:  # noqa: BLE001 -- the program's own error goes on
        _log.warning("there is no summary: %s", error)
        return
    with suppress(OSError, ValueError):  # closed or full: no result depends on it
        stream.write(f"\n{text}\n")
        stream.flush()


def terminal_width(stream: TextIO) -> int:
    """How many characters a line of ``stream`` has."""
    with suppress(ValueError):
        if (columns := int(os.environ.get("COLUMNS", "0"))) > 0:
            return columns
    with suppress(OSError, ValueError):  # it is no terminal, or no file
        return os.get_terminal_size(stream.fileno()).columns or WIDTH
    return WIDTH


def _line(text: str, width: int = 0) -> str:
    return one_line(redact(text), width)
