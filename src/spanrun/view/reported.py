"""`Reported`: the jobs and spans of a report's page, for those who judge them.

They are what the page's own data says, to the microsecond. A page that has left out
jobs, because there were too many, isn't judged by those that it has.
"""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

from spanrun.errors import ConfigurationError
from spanrun.view.columns import MICRO
from spanrun.view.feed import FORMAT

_DATA: Final = re.compile(
    r'<script type="application/octet-stream" id="data">([A-Za-z0-9+/=]*)</script>'
)
_MOST: Final = 1 << 30
"""Bytes of the data, unpacked: many times as much as 100,000 jobs and spans have."""


class ReportedRun(NamedTuple):
    """A run, as far as objectives ask."""

    id: str
    session: str
    runner: str
    trace_id: str | None


class ReportedJob(NamedTuple):
    """A job, as far as objectives ask."""

    run: str
    outcome: str
    error_type: str | None
    duration: float
    trace_id: str | None


class ReportedSpan(NamedTuple):
    """A span, as far as objectives ask."""

    trace_id: str
    duration: float
    attributes: Mapping[str, Any]


class Reported:
    """What one report holds, in place of a `Recording`.

    Attributes:
        left_out: What the page has no room for; empty if it has everything.
    """

    def __init__(self, data: Mapping[str, Any]) -> None:
        self._texts: Final[list[str]] = data["texts"]
        self._outcomes: Final[list[str]] = data["outcomes"]
        runs: list[dict[str, str]] = data["runs"]
        self._runs: Final = [
            ReportedRun(each["id"], "", each["runner"], None) for each in runs
        ]
        self._jobs: Final[dict[str, list[int]]] = data["jobs"]
        self._spans: Final[dict[str, list[int]]] = data["spans"]
        counts = data["counts"]
        self.left_out: Final = ", ".join(
            f"{counts[f'{kind}_shown']:,} of {counts[kind]:,} {kind}"
            for kind in ("jobs", "spans")
            if counts[f"{kind}_shown"] < counts[kind]
        )

    def runs(self, session: str = "") -> Iterator[ReportedRun]:
        """All runs: a page is of one session, or of a run of it."""
        del session
        yield from self._runs

    def jobs(self, session: str = "", run: str = "") -> Iterator[ReportedJob]:
        """All jobs."""
        del session, run
        texts, table = self._texts, self._jobs
        columns = ("run", "outcome", "error_type", "duration", "trace")
        rows: zip[tuple[int, ...]] = zip(
            *(table[each] for each in columns), strict=True
        )
        for of, outcome, error, duration, trace in rows:
            yield ReportedJob(
                self._runs[of].id,
                self._outcomes[outcome],
                texts[error] or None,
                duration / MICRO,
                texts[trace] or None,
            )

    def spans(self, session: str = "") -> Iterator[ReportedSpan]:
        """All spans. Of a job's own some attributes are left out, which its row has."""
        del session
        table = self._spans
        columns = ("trace", "duration", "attributes")
        rows: zip[tuple[int, ...]] = zip(
            *(table[each] for each in columns), strict=True
        )
        for trace, duration, attributes in rows:
            text = self._texts[attributes]
            told: dict[str, Any] = json.loads(text) if text else {}
            yield ReportedSpan(self._texts[trace], duration / MICRO, told)


def read_report(path: Path) -> Reported:
    """Read a page that ``spanrun report`` has written.

    Raises:
        ConfigurationError: It is none, or one of another version.
        OSError: It can't be read.
    """
    page = path.read_text("utf-8", "replace")
    found = _DATA.search(page)
    if found is None or not found[1]:
        raise _wrong(path, "is no report: name a file that `spanrun report` wrote")
    try:
        unpacker = zlib.decompressobj()
        told = unpacker.decompress(base64.b64decode(found[1]), _MOST)
        if not unpacker.eof:
            raise _wrong(path, "is damaged, or too large: write it anew")
        data = cast("dict[str, Any]", json.loads(told))
        if data["format"] != FORMAT:
            raise _wrong(path, "is of another version of spanrun: write it anew")
        reported = Reported(data)
        for each in (reported.jobs(), reported.spans()):
            for _ in each:  # to the last, before anything is counted
                pass
    except (
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        RecursionError,
        zlib.error,
    ) as error:
        if isinstance(error, ConfigurationError):
            raise
        raise _wrong(path, "is damaged: write it anew") from error
    return reported


def _wrong(path: Path, what: str) -> ConfigurationError:
    return ConfigurationError(f"{path} {what}")
