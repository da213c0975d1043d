"""``spanrun run pkg.mod:func INPUT``: a function over the items of a file."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NoReturn, TextIO, TypeAlias

import typer

from spanrun.cli import condition, console, engine, items, resume, session, summary
from spanrun.cli.condition import FAILED, Condition
from spanrun.cli.exits import Exit, fail
from spanrun.cli.function import Function, imported
from spanrun.cli.results import Results
from spanrun.cli.threads import Threads
from spanrun.policies.rate import RateLimit
from spanrun.policies.retry import Retry
from spanrun.policies.timeout import Timeout
from spanrun.runner import bridge
from spanrun.runner.checkpoint.checkpoint import Checkpoint
from spanrun.runner.runner import DEFAULT_LIMIT, Runner
from spanrun.telemetry.setup import Telemetry

_EXAMPLE: Final = "p95<800ms"
_NAMED: Final = 5
_KEPT: Final = "The results so far are written. What ran beside them may be done, too."
_NOT_BEGUN: Final = "No job was run: run the same command again."


Named: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="MODULE:FUNCTION",
        help="Called with one item; async or not. The current folder is importable.",
    ),
]
Source: TypeAlias = Annotated[
    str, typer.Argument(metavar="INPUT", help="A file; - is standard input.")
]
Out: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "-o",
        metavar="FILE",
        help="Where the results go; never over another file.  "
        "[default: standard output]",
    ),
]
Form: TypeAlias = Annotated[
    items.Format | None,
    typer.Option(
        "--format",
        metavar="FORMAT",
        help="Of INPUT: jsonl, csv (each row an object) or lines.  "
        "[default: by its name]",
    ),
]
Limit: TypeAlias = Annotated[
    int, typer.Option(metavar="N", min=1, help="Jobs that run at once.")
]
Retries: TypeAlias = Annotated[
    int,
    typer.Option(metavar="N", min=0, help="Of a job, after whatever error it raised."),
]
Patience: TypeAlias = Annotated[
    float | None,
    typer.Option(metavar="SECONDS", help="For one attempt.  [default: none]"),
]
Rate: TypeAlias = Annotated[
    float | None,
    typer.Option(
        metavar="N", help="Attempts that may begin in a second.  [default: any]"
    ),
]
Kept: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--checkpoint",
        metavar="FILE",
        help="Keeps each outcome there, and goes on from it after a kill.",
    ),
]
OnlyFailed: TypeAlias = Annotated[
    bool,
    typer.Option("--only-failed", help="Run what failed alone; needs --checkpoint."),
]
Thresholds: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--threshold",
        metavar="CONDITION",
        help="Exit with 99 unless this holds in the end, such as 'p95<800ms' or "
        "'failed<1%'. It can be repeated.",
        show_default=False,
    ),
]


def run(
    context: typer.Context,
    function: Named,
    source: Source,
    out: Out = None,
    form: Form = None,
    limit: Limit = DEFAULT_LIMIT,
    retries: Retries = 0,
    timeout: Patience = None,
    rate: Rate = None,
    threshold: Thresholds = None,
    checkpoint: Kept = None,
    where: engine.Where = None,
    workers: engine.Workers = None,
    store: session.StoreFolder = None,
    *,
    only_failed: OnlyFailed = False,
    as_json: session.AsJson = False,
    no_progress: session.NoProgress = False,
) -> None:
    """Run a function on each item of a file, to JSON lines.

    They come in the order of the items, each with its index: {"index": 0, "result": …}
    or {"index": 1, "error": {"type": …, "message": …}}. The summary goes to standard
    error where the results go to standard output.

    Failed jobs make the exit code 1, unless a --threshold says how many may fail.

    Ctrl-C cancels the jobs. Calls that aren't async go on, and are waited for, until it
    is pressed again.
    """
    kept = resume.checkpoint_of(context, checkpoint, source, only_failed=only_failed)
    if as_json and out is None:
        what = "--json: the results are on standard output already"
        fail(Exit.USAGE, what, "Name a file for them with -o.")
    thresholds = _conditions(threshold)
    runner = Runner(
        function.rpartition(":")[2] or function,
        limit=limit,
        retry=Retry(Exception, attempts=retries + 1, budget=None) if retries else None,
        timeout=None if timeout is None else Timeout(attempt=timeout),
        rate=None if rate is None else RateLimit(rate),
        observers=session.observers(progress=not no_progress),
        engine=engine.engine_of(where, workers),
    )
    mode: Literal["w", "x"] = "w" if resume.is_ours(kept, out) else "x"
    with _told_of_sigterm():
        called = imported(function)
        with _opened(source) as file, _results(out, mode) as written:
            given = items.items_of(file, form or items.format_of(source))
            threads = Threads(limit)
            work = _Work(runner, called, given, written, source, kept, threads)
            with session.telemetry(session.folder(store)) as telemetry:
                work.run()
        broken = list(written.broken(thresholds)) if written.jobs else []
        tell = console.give if out is not None else console.say
        tell(_told(telemetry, written, broken, as_json=as_json))
        _end(source, written, thresholds, broken)


def _conditions(texts: Thresholds) -> list[condition.Condition]:
    return [
        condition.parse("--threshold", each, _EXAMPLE, changes=False)
        for each in texts or ()
    ]


@dataclass
class _Work:
    """The jobs of one command."""

    runner: Runner
    called: Function
    given: Iterator[Any]
    written: Results
    source: str
    checkpoint: Checkpoint | None
    threads: Threads

    def run(self) -> None:
        """Run all of them, and write what becomes of each."""
        try:
            self._to_the_end()
        except items.BadItemError as error:
            to_do = (
                "Put it right, or name another --format. What came before it is done."
            )
            fail(Exit.INPUT, f"{self.source}: {error}", to_do)
        except KeyboardInterrupt:
            fail(Exit.INTERRUPTED, f"interrupted after {self._count()}", _KEPT)
        except SystemExit as error:
            if error.code == Exit.TERMINATED:
                fail(Exit.TERMINATED, f"terminated after {self._count()}", _KEPT)
            raise

    def _to_the_end(self) -> None:
        """Run them, and wait for calls in threads, which nothing can interrupt.

        After SIGTERM they had their time, and end with the program.
        """
        try:
            bridge.run(self._main())
        except KeyboardInterrupt:
            self._wait_for_threads()
            raise
        self._wait_for_threads()

    def _wait_for_threads(self) -> None:
        if not (left := self.threads.running):
            return
        calls = f"{left:,} call{'s'[: left != 1]} of {self.runner.name}"
        console.say(
            f"spanrun: waits for {calls}, which can't be interrupted\n"
            "  Press Ctrl-C to end without."
        )
        self.threads.wait()

    def _count(self) -> str:
        return f"{self.written.jobs:,} job{'s'[: self.written.jobs != 1]}"

    async def _main(self) -> None:
        asyncio.get_running_loop().set_default_executor(self.threads)
        given: Iterator[Any] | AsyncIterator[Any] = self.given
        if self.source == items.STDIN:
            given = items.as_they_come(self.given)
        async with (
            self.runner,
            self.runner.stream(
                self.called, given, ordered=True, checkpoint=self.checkpoint
            ) as outcomes,
        ):
            async for outcome in outcomes:
                if not self.written.add(outcome):
                    return  # nobody reads any more


@contextmanager
def _told_of_sigterm() -> Generator[None]:
    """Tell of a SIGTERM that came before the first job, or after the last one."""
    try:
        yield
    except SystemExit as error:
        # One of `Exit` was told already.
        if error.code == Exit.TERMINATED and not isinstance(error.code, Exit):
            fail(Exit.TERMINATED, "terminated before the first job", _NOT_BEGUN)
        raise


@contextmanager
def _opened(source: str) -> Generator[TextIO]:
    """The items' file. That of standard input stays open: a thread may wait for it."""
    if source == items.STDIN:
        # Not sys.stdin: Python would wait at its end for the thread that reads it.
        yield open(0, encoding="utf-8", newline="", closefd=False)  # noqa: SIM115
        return
    try:
        file = Path(source).open(encoding="utf-8-sig", newline="")  # noqa: SIM115 -- below
    except OSError as error:
        fail(Exit.INPUT, f"{source}: {error.strerror}", "Name a file, or - for a pipe.")
    with file:
        yield file


@contextmanager
def _results(out: Path | None, mode: Literal["w", "x"]) -> Generator[Results]:
    if out is None:
        yield Results(sys.stdout, "standard output")
        return
    try:
        file = out.open(mode, encoding="utf-8", newline="\n")
    except FileExistsError:
        fail(Exit.USAGE, f"{out} is there already", "Name another file, or remove it.")
    except OSError as error:
        fail(Exit.DISK, f"{out}: {error.strerror}", "Name another file with -o.")
    with file:
        yield Results(file, str(out))


def _told(
    telemetry: Telemetry | None,
    written: Results,
    broken: Sequence[str],
    *,
    as_json: bool,
) -> str:
    failed = [asdict(each) for each in written.first_failed]
    if as_json:
        told = summary.of_runs(telemetry)
        own = {"jobs": written.jobs, "failed": written.failed, "failed_jobs": failed}
        return json.dumps({**own, **told, "broken": broken}, allow_nan=False)
    lines = list(summary.lines_of_runs(telemetry))
    if written.failed:
        named = ", ".join(f"#{each.index}" for each in written.first_failed[:_NAMED])
        more = written.failed - _NAMED
        lines.append(f"failed jobs   {named}{f' and {more} more' if more > 0 else ''}")
    return "\n".join(lines)


def _end(
    source: str,
    written: Results,
    thresholds: Sequence[Condition],
    broken: Sequence[str],
) -> NoReturn:
    if not written.jobs:
        fail(Exit.INPUT, f"there is no item in {source}", "Name a file with some.")
    if broken:
        more = f", and {len(broken) - 1} more" if len(broken) > 1 else ""
        to_do = "Look at where the time went, or allow more with --threshold."
        fail(Exit.BROKEN, f"{broken[0]}{more}", to_do)
    if written.failed and not any(each.name == FAILED for each in thresholds):
        first = written.first_failed[0]
        what = (
            f"{written.failed:,} of {written.jobs:,} jobs failed, the first is "
            f"#{first.index}: {first.error_type}: {first.error}"
        )
        fail(Exit.SOME_FAILED, what, "See spanrun show, and the trace that it names.")
    sys.exit(Exit.OK)
