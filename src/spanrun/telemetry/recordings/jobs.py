"""Jobs, packed for the disk, and read again: all of them, whatever the sampling.

`row_of` is what an event loop pays for each job: bytes of one width, and texts beside
them where there are any. `pack_jobs` puts many such rows into columns (see `columns`),
on the writer's thread.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Sequence
from itertools import repeat
from math import isfinite
from typing import Any, Final, NamedTuple, TypeAlias, cast

from spanrun.outcome import Err, Outcome
from spanrun.semconv import SPANRUN_JOB_OUTCOME_VALUES
from spanrun.telemetry.metrics.error_types import ErrorTypes
from spanrun.telemetry.observe import RunInfo
from spanrun.telemetry.recordings.columns import Columns, Content, Table, blob
from spanrun.telemetry.recordings.records import PHASES, Job, made
from spanrun.telemetry.redact import redact, text_of

_ROW: Final = struct.Struct("<16sqdd7dIB16s")
"""Run, index, submitted, duration, phases, attempts, outcome, trace."""
_WIDTH: Final = _ROW.size - 16  # the traces are kept apart
_TEXTS: Final = struct.Struct("<3I")
"""Places of key, error type and error among the texts, from 1; 0 for none."""
_OUTCOMES: Final = {name: n for n, name in enumerate(SPANRUN_JOB_OUTCOME_VALUES)}
_OK: Final = _OUTCOMES["ok"]
_SECONDS: Final = 24  # where `submitted` stands
_ATTEMPTS: Final = _SECONDS + 8 * (2 + PHASES)

Texts: TypeAlias = tuple[str | None, str | None, str | None]
Row: TypeAlias = bytes | tuple[bytes, Texts]


class PackedJobs(NamedTuple):
    """What `pack_jobs` makes of rows."""

    jobs: int
    failed: int
    runs: Sequence[str]
    rows: bytes
    texts: bytes
    traces: bytes


def row_of(run: RunInfo, outcome: Outcome[Any], errors: ErrorTypes) -> Row:
    """A job that has ended, as it is kept until `pack_jobs` takes it.

    Of objects that are the user's only texts are kept: they may change.

    Raises:
        struct.error: A number of it is beyond all reason.
    """
    timings = outcome.timings
    failed = outcome if isinstance(outcome, Err) else None
    row = _ROW.pack(
        run.id.encode(),
        outcome.index,
        timings.submitted - run.opened,
        timings.duration,
        *timings.parts(),
        outcome.attempts,
        _OK if failed is None else _OUTCOMES[failed.outcome],
        outcome.trace_id.to_bytes(16, "big"),
    )
    key = outcome.key
    if key is None and failed is None:
        return row
    name = None if key is None else text_of(key)
    if failed is None:
        return row, (name, None, None)
    return row, (name, errors.name(failed.error), text_of(failed.error))


def row_of_values(
    run: str,
    index: int,
    submitted: float,
    seconds: Sequence[float],
    attempts: int,
    outcome: str,
    trace: bytes,
    texts: Texts,
) -> Row:
    """The same of a job of which a span tells.

    Args:
        run: The id of its run, 16 characters at the most.
        index: Its place in that.
        submitted: Seconds since the beginning of its run.
        seconds: How long it took; then each phase.
        attempts: How many there were.
        outcome: By its name.
        trace: The id of its trace.
        texts: Its key, and the type and the text of its error.

    Raises:
        struct.error: A number of it is beyond all reason.
    """
    numbers = (attempts, _OUTCOMES[outcome])
    row = _ROW.pack(run.encode(), index, submitted, *seconds, *numbers, trace)
    return (row, texts) if any(text is not None for text in texts) else row


def pack_jobs(given: Sequence[Row]) -> PackedJobs:
    """Pack rows; at least one. Texts are redacted here."""
    texts: dict[str, int] = {}
    joined, places = _put_together(given, texts)
    jobs = len(given)
    traces = bytearray(16 * jobs)
    for place in range(16):
        traces[place::16] = joined[_WIDTH + place :: _ROW.size]
    ids = [joined[place :: _ROW.size] for place in range(16)]
    runs = {joined[:16]}
    if any(column.count(column[0]) < jobs for column in ids):
        runs = {joined[at : at + 16] for at in range(0, len(joined), _ROW.size)}
    outcomes = joined[_WIDTH - 1 :: _ROW.size]
    if traces.count(traces[:16]) == jobs:
        del traces[16:]
    table = Table()
    table.add(joined, _ROW.size, _WIDTH)
    table.add(places, _TEXTS.size)
    told = json.dumps(list(texts)).encode()
    return PackedJobs(
        jobs,
        jobs - outcomes.count(_OK),
        [_run_of(run) for run in runs],
        table.blob(),
        blob(told) if texts else b"",
        bytes(traces),
    )


_NONE: Final[Texts] = None, None, None


def _put_together(given: Sequence[Row], texts: dict[str, int]) -> tuple[bytes, bytes]:
    """The rows, and for each the places of its texts, which are added to ``texts``."""
    try:
        return b"".join(cast("Sequence[bytes]", given)), bytes(_TEXTS.size * len(given))
    except TypeError:  # some have texts
        pairs = [(each, _NONE) if isinstance(each, bytes) else each for each in given]
    places = [_TEXTS.pack(*[_place(texts, text) for text in told]) for _, told in pairs]
    return b"".join([row for row, _ in pairs]), b"".join(places)


def _place(texts: dict[str, int], text: str | None) -> int:
    return 0 if text is None else texts.setdefault(redact(text), len(texts)) + 1


def _run_of(padded: bytes) -> str:
    return padded.rstrip(b"\0").decode("utf-8", "replace")


def jobs_of(count: int, rows: bytes, texts: bytes, traces: bytes) -> Iterator[Job]:
    """The jobs of a batch, in the order in which they ended.

    Raises:
        ValueError: The batch is damaged.
        zlib.error: The same.
        struct.error: The same.
        LookupError: The same.
    """
    if len(traces) not in (16, 16 * count):
        raise ValueError("trace ids are missing")
    told = [None, *_texts_of(texts)] if texts else [None]
    content = Content(rows)
    columns = Columns(content, count, _WIDTH)
    named = Columns(content, count, _TEXTS.size)
    runs = _runs(columns.field(0, 16))
    keys, types, errors = (
        [told[place] for place in named.integers(4 * number, "I")]
        for number in range(3)
    )
    seconds = [columns.doubles(_SECONDS + 8 * n) for n in range(2 + PHASES)]
    if not all(isfinite(sum(column)) for column in seconds):
        raise ValueError("there are times that can't be")
    ended = columns.integers(_ATTEMPTS + 4, "B")
    outcomes = [SPANRUN_JOB_OUTCOME_VALUES[number] for number in ended]
    return made(
        Job,
        runs,
        columns.integers(16, "q"),
        keys,
        *seconds,
        columns.integers(_ATTEMPTS, "I"),
        outcomes,
        types,
        errors,
        _trace_ids(traces, count),
    )


def _texts_of(texts: bytes) -> list[str]:
    told: Any = json.loads(Content(texts).rest())
    if not all(isinstance(text, str) for text in told):
        raise ValueError("a text is none")
    return list(told)


def _runs(padded: bytes) -> list[str]:
    ids = [padded[at : at + 16] for at in range(0, len(padded), 16)]
    known = {each: _run_of(each) for each in set(ids)}
    return [known[each] for each in ids]


def _trace_ids(traces: bytes, count: int) -> Iterator[str | None]:
    if len(traces) == 16:  # noqa: PLR2004 -- all jobs have this one
        return repeat(_hex(traces), count)
    return (_hex(traces[at : at + 16]) for at in range(0, len(traces), 16))


def _hex(trace: bytes) -> str | None:
    return trace.hex() if any(trace) else None
