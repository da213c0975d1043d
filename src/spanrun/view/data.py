"""What a page shows: a session or a run, packed into columns of integers.

Times are microseconds from the start of the first run. Each text is in one table, and
a column has its place there. `packed` makes it as small as it goes into the page.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Sequence
from typing import Any, Final

from spanrun.quantities import seconds
from spanrun.slo import Slo
from spanrun.telemetry.recordings.read import LAST, Recording
from spanrun.view.feed import Feed, Limits, scope_of

_LEVEL: Final = 6


def packed(data: dict[str, Any]) -> str:
    """The data as JSON, deflated, in base64."""
    told = json.dumps(data, separators=(",", ":"), allow_nan=False).encode()
    return base64.b64encode(zlib.compress(told, _LEVEL)).decode()


def data_of(
    recording: Recording,
    name: str = LAST,
    limits: Limits | None = None,
    slos: Sequence[Slo] = (),
) -> dict[str, Any]:
    """Pack the session or the run whose id begins with ``name``.

    Args:
        recording: What was recorded.
        name: Of the session or the run.
        limits: How much of it the page may hold.
        slos: Objectives that are judged by it.

    Raises:
        ConfigurationError: What an objective counts isn't recorded.
        LookupError: There is none, or several.
        StoreError: It can't be read.
    """
    return Feed(recording, *scope_of(recording, name), limits or Limits(), slos).data()


def described(data: dict[str, Any], size: int) -> str:
    """A line on what is in a page: its jobs, its spans, its size."""
    counts = data["counts"]
    jobs, spans = counts["jobs_shown"], counts["spans_shown"]
    took = seconds(data["session"]["duration"] / 1e6)
    of = f" of {counts['jobs']:,}" if jobs < counts["jobs"] else ""
    return f"{jobs:,}{of} jobs, {spans:,} spans, {took}, {size / 1e6:.2f} MB"
