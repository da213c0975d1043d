"""Jobs, packed for the disk, and read again: all of them, whatever the sampling.

`JobRows.add` is what an event loop pays for each job: bytes of one width, and texts
beside them where there are any. `pack_jobs` puts many such rows into columns (see
`columns`), on the writer's thread.
"""

from __future__ import annotations

import json
import struct
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import repeat
from math import isfinite
from typing import Any, Final, NamedTuple, Protocol, TypeAlias, cast

from spanrun.accelerator import core
from spanrun.outcome import Err, Ok, Outcome
from spanrun.semconv import SPANRUN_JOB_OUTCOME_VALUES
from spanrun.telemetry.metrics.error_types import ErrorTypes
from spanrun.telemetry.observe import RunInfo
from spanrun.telemetry.recordings.columns import Columns, Content, Table, blob
from spanrun.telemetry.recordings.records import PHASES, Job, made
from spanrun.telemetry.redact import redact, text_of

_ROW: Final = struct.Struct("<16sqdd7dIB16s")
"""Run, index, submitted, duration, phases, attempts, outcome, trace."""
ROW_BYTES: Final = _ROW.size
_WIDTH: Final = ROW_BYTES - 16  # the traces are kept apart
_TEXTS: Final = struct.Struct("<3I")
"""Places of key, error type and error among the texts, from 1; 0 for none."""
_OUTCOMES: Final = {name: n for n, name in enumerate(SPANRUN_JOB_OUTCOME_VALUES)}
_OK: Final = _OUTCOMES["ok"]
_SECONDS: Final = 24  # where `submitted` stands
_ATTEMPTS: Final = _SECONDS + 8 * (2 + PHASES)

Texts: TypeAlias = tuple[str | None, str | None, str | None]
Described: TypeAlias = tuple[int, Texts]
"""The number of a row among others, and its texts."""
Row: TypeAlias = tuple[bytes, Texts | None]
"""A row by itself, and its texts if it has some."""
Describe: TypeAlias = Callable[[Outcome[Any]], tuple[int, Texts]]


class PackedJobs(NamedTuple):
    """What `pack_jobs` makes of rows: how many, how many failed, and three columns."""

    jobs: int
    failed: int
    runs: Sequence[str]
    rows: bytes
    texts: bytes
    traces: bytes


class JobRows(Protocol):
    """Jobs that have ended, until `pack_jobs` gets them. Any thread may take them."""

    def add(self, run: RunInfo, outcome: Outcome[Any], /) -> None:
        """Add a job of ``run``. Of the user's objects only texts are kept.

        Raises:
            Exception: A number of it is beyond all reason.
        """
        ...

    def take(self, most: int, /) -> tuple[bytes, list[Described]]:
        """Take the first rows, and the texts of some, each with its row's number."""
        ...

    def pop(self) -> object:
        """Drop the newest row.

        Raises:
            IndexError: There is none.
        """
        ...

    def clear(self) -> None:
        """Drop all."""
        ...

    def __len__(self) -> int: ...


class JobRowsInPython:
    """The fallback of the compiled `JobRows`: see there.

    Args:
        success: The class of outcomes that are described by ``number`` alone, unless
            they have a key.
        number: Of the outcome "ok".
        describe: Gives the number and the texts of any other outcome.
    """

    def __init__(self, success: type, number: int, describe: Describe) -> None:
        self._success: Final = success
        self._number: Final = number
        self._describe: Final = describe
        # Bytes alone are nothing to the garbage collector.
        self._waiting: Final[deque[bytes | tuple[bytes, Texts]]] = deque()

    def add(self, run: RunInfo, outcome: Outcome[Any], /) -> None:
        """Add a job of ``run``."""
        timings = outcome.timings
        number, texts = self._number, None
        if outcome.key is not None or outcome.__class__ is not self._success:
            number, texts = self._describe(outcome)
        row = _ROW.pack(
            run.id.encode(),
            outcome.index,
            timings.submitted - run.opened,
            timings.duration,
            *timings.parts(),
            outcome.attempts,
            number,
            outcome.trace_id.to_bytes(16, "big"),
        )
        self._waiting.append(row if texts is None else (row, texts))

    def take(self, most: int, /) -> tuple[bytes, list[Described]]:
        """Take the first rows, and the texts of some."""
        rows: list[bytes] = []
        described: list[Described] = []
        with suppress(IndexError):  # another thread takes them, too
            while len(rows) < most:
                row = self._waiting.popleft()
                if not isinstance(row, bytes):
                    row, texts = row
                    described.append((len(rows), texts))
                rows.append(row)
        return b"".join(rows), described

    def pop(self) -> object:
        """Drop the newest row."""
        return self._waiting.pop()

    def clear(self) -> None:
        """Drop all."""
        self._waiting.clear()

    def __len__(self) -> int:
        return len(self._waiting)


def job_rows(errors: ErrorTypes) -> JobRows:
    """Return new `JobRows`, compiled if that was built."""
    kind = JobRowsInPython if core is None else core.JobRows
    return cast("JobRows", kind(Ok, _OK, partial(_described, errors)))


def _described(errors: ErrorTypes, outcome: Outcome[Any]) -> tuple[int, Texts]:
    """The number and the texts of an outcome."""
    key = None if outcome.key is None else text_of(outcome.key)
    if not isinstance(outcome, Err):
        return _OK, (key, None, None)
    error = outcome.error
    return _OUTCOMES[outcome.outcome], (key, errors.name(error), text_of(error))


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
    """A job of which a span tells, for `rows_together`.

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
    return row, texts if any(text is not None for text in texts) else None


def rows_together(rows: Sequence[Row]) -> tuple[bytes, list[Described]]:
    """The same rows as `JobRows.take` gives them."""
    described = [
        (number, texts) for number, (_, texts) in enumerate(rows) if texts is not None
    ]
    return b"".join(row for row, _ in rows), described


def pack_jobs(rows: bytes, described: Sequence[Described]) -> PackedJobs:
    """Pack what `JobRows.take` gave, at least one row. Texts are redacted here."""
    width = ROW_BYTES
    jobs = len(rows) // width
    known: dict[str, int] = {}
    places = bytearray(_TEXTS.size * jobs)
    for number, texts in described:
        numbers = [_place(known, text) for text in texts]
        _TEXTS.pack_into(places, _TEXTS.size * number, *numbers)
    traces = bytearray(16 * jobs)
    for place in range(16):
        traces[place::16] = rows[_WIDTH + place :: width]
    ids = [rows[place::width] for place in range(16)]
    runs = {rows[:16]}
    if any(column.count(column[0]) < jobs for column in ids):
        runs = {rows[at : at + 16] for at in range(0, len(rows), width)}
    outcomes = rows[_WIDTH - 1 :: width]
    if traces.count(traces[:16]) == jobs:
        del traces[16:]
    table = Table()
    table.add(rows, width, _WIDTH)
    table.add(places, _TEXTS.size)
    told = json.dumps(list(known)).encode()
    return PackedJobs(
        jobs,
        jobs - outcomes.count(_OK),
        [_run_of(run) for run in runs],
        table.blob(),
        blob(told) if known else b"",
        bytes(traces),
    )


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
