"""``spanrun doctor``: whether telemetry would get from here to where it is to go."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Annotated, Final

import typer

from spanrun import settings
from spanrun.cli import console, session
from spanrun.cli.checkup import Finding, Level, checks

_MARKS: Final[dict[Level, str]] = {"ok": "✓", "warning": "!", "fault": "✕"}


def doctor(
    *,
    no_send: Annotated[
        bool, typer.Option("--no-send", help="Send nothing to the endpoint.")
    ] = False,
    as_json: session.AsJson = False,
) -> None:
    """Check what telemetry needs, and say how to mend it.

    The interpreter and the compiled part, who owns OpenTelemetry, the endpoint (it is
    sent a test span), the queue on disk, the local store, the limits of the process.
    The exit code is that of the first fault: 69 for an endpoint, 74 for a disk.
    """
    chosen = settings.load(environ=os.environ, directory=settings.here())
    found: list[Finding] = []
    for finding in checks(chosen, os.environ, sends=not no_send):
        found.append(finding)
        if not as_json:  # as it is found: an endpoint may take its time
            console.give("\n".join(_lines(finding)))
    if as_json:
        console.give(json.dumps({"checks": [asdict(each) for each in found]}))
    sys.exit(_code(found))


def _lines(finding: Finding) -> Iterator[str]:
    yield f"{_MARKS[finding.level]} {finding.check:<10}{console.line(finding.fact)}"
    if finding.fix:
        yield f"{'':<12}→ {console.line(finding.fix)}"


def _code(found: Sequence[Finding]) -> int:
    return next((each.code for each in found if each.level == "fault"), 0)
