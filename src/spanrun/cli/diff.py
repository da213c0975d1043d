"""``spanrun diff A B``: what got slower between two runs, and in which phase."""

from __future__ import annotations

import json
import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias

import typer

from spanrun.cli import condition, console, session
from spanrun.cli.condition import FAILED, Condition
from spanrun.cli.exits import Exit, fail
from spanrun.cli.runs import RecordingsFolder, heading, open_recording
from spanrun.quantities import change, seconds
from spanrun.recordings import Recording, Run, Session
from spanrun.runner import differences
from spanrun.runner.summary import terminal_width
from spanrun.telemetry.recordings.compare import (
    Comparison,
    RunnerChange,
    Side,
    compare,
)
from spanrun.telemetry.recordings.otlp_files import Imported

FailIf: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--fail-if",
        metavar="CONDITION",
        help="Exit with 99 where this is true of a runner's change, such as "
        "'p95 > +10%', 'service > +50ms' or 'failed > +1%'. It can be repeated.",
        show_default=False,
    ),
]

_EXAMPLE: Final = "p95 > +10%"


def diff(
    a: Annotated[
        str,
        typer.Argument(
            metavar="A", help="A session or a run: how its id begins; or OTLP."
        ),
    ],
    b: Annotated[
        str, typer.Argument(metavar="B", help="The same; last is the newest session.")
    ],
    *,
    fail_if: FailIf = None,
    store: RecordingsFolder = None,
    as_json: session.AsJson = False,
) -> None:
    """Show what got slower from A to B, and in which phase.

    A difference is shown where it is surely one: the 95 % interval of a bootstrap
    excludes 0, and it is 1 % of A or more. Otherwise there is a ≈, and --fail-if takes
    it for no change. A change of failed jobs counts as it is: in percent it is that of
    their share, in percentage points.
    """
    conditions = [
        condition.parse("--fail-if", each, _EXAMPLE, changes=True)
        for each in fail_if or ()
    ]
    with _both(a, b, store) as (recording, found):
        comparison = compare(recording, *found)
    broken = list(_broken(comparison, conditions))
    if as_json:
        console.give(json.dumps(_object(found, comparison, broken)))
    else:
        width = terminal_width(sys.stdout)
        for side, each in zip("AB", found, strict=True):
            console.give(f"{side}  {heading(each)}"[:width])
        console.give("\n".join(differences.lines(comparison, width)))
    _end(comparison, conditions, broken)


@contextmanager
def _both(
    a: str, b: str, store: Path | None
) -> Generator[tuple[Recording, list[Session | Run]]]:
    """The recordings, and the two that are named in them; or of two files."""
    paths = [Path(name) for name in (a, b)]
    files = [path.is_file() for path in paths]
    if not all(files):
        if any(files):
            what = f"{paths[files.index(True)]} is a file, and the other is none"
            fail(Exit.INPUT, what, "Name two files, or two ids.")
        with open_recording(store) as recording:
            yield recording, [recording.find(name) for name in (a, b)]
        return
    imported = Imported(paths)
    try:
        with open_recording(imported.folder) as recording:
            for path, sessions in zip(paths, imported.sessions, strict=True):
                if not sessions:
                    raise LookupError(f"{path} has no spans in it: name another")
            first, second = (each[0] for each in imported.sessions)
            yield recording, [recording.session(first), recording.session(second)]
    finally:
        imported.close()


def _broken(comparison: Comparison, conditions: Sequence[Condition]) -> Iterator[str]:
    """A line for each condition that is true of a runner."""
    for each in comparison.runners:
        if each.a is None or each.b is None:
            continue
        for wanted in conditions:
            value, told = (
                _failed(each.a, each.b, wanted)
                if wanted.name == FAILED
                else _changed(each, wanted)
            )
            if wanted.holds(value):
                yield f"{wanted.text}: {wanted.name} of {each.runner} {told}"


def _failed(a: Side, b: Side, wanted: Condition) -> tuple[float, str]:
    if not wanted.is_share:
        return b.failed - a.failed, f"is {b.failed} instead of {a.failed}"
    shares = a.failed / a.jobs, b.failed / b.jobs
    told = f"is {shares[1]:.2%} instead of {shares[0]:.2%}"
    # As a text of few digits: 0.03 - 0.02 is more than 0.01.
    return round(shares[1] - shares[0], 12), told


def _changed(each: RunnerChange, wanted: Condition) -> tuple[float, str]:
    found = each.changes[wanted.name]
    by = found.difference
    told = f"is {seconds(found.b)} instead of {seconds(found.a)}"
    if not wanted.is_share:
        return by, f"{told} ({change(by)})"
    if not found.a:
        return (float("inf") if by else 0.0), told
    return by / found.a, f"{told} ({by / found.a:+.1%})"


def _object(
    found: Sequence[Session | Run], comparison: Comparison, broken: Sequence[str]
) -> dict[str, Any]:
    a, b = found
    return {"a": a.id, "b": b.id, **asdict(comparison), "broken": broken}


def _end(
    comparison: Comparison, conditions: Sequence[Condition], broken: Sequence[str]
) -> None:
    if broken:
        more = f", and {len(broken) - 1} more" if len(broken) > 1 else ""
        to_do = "Look at the phase that grew, or allow more with --fail-if."
        fail(Exit.BROKEN, f"{broken[0]}{more}", to_do)
    if conditions and not any(each.a and each.b for each in comparison.runners):
        fail(
            Exit.INPUT, "no runner is in both, so nothing was compared", "Name others."
        )
