"""What ``spanrun run`` keeps of its jobs: lines of JSON, and the numbers at the end."""

from __future__ import annotations

import json
import math
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any, Final, TextIO

from spanrun.cli.condition import FAILED, Condition
from spanrun.outcome import Err, Ok, Outcome
from spanrun.quantities import seconds
from spanrun.semconv import SPANRUN_JOB_PHASE_VALUES
from spanrun.telemetry.recordings.compare import MEAN
from spanrun.telemetry.recordings.ledger import PERCENTILES, percentile
from spanrun.text import inert, one_line, redact

_NAMED: Final = 1000
"""Failed jobs that are kept by their indexes."""
_ERROR: Final = 300


@dataclass(frozen=True, slots=True)
class Failed:
    """A job without a result."""

    index: int
    error_type: str
    error: str


class Results:
    """A line for each outcome, and the numbers of all of them.

    Args:
        file: Where the lines go.
        name: Of the file, for errors.

    Attributes:
        jobs: How many outcomes there were.
        failed: How many of them were no result.
        first_failed: The first thousand of these.
    """

    def __init__(self, file: TextIO, name: str) -> None:
        self._file: Final = file
        self._name: Final = name
        self._durations: Final = array("d")
        self._phases: Final = [0.0] * len(SPANRUN_JOB_PHASE_VALUES)
        self.failed = 0
        self.first_failed: Final[list[Failed]] = []

    @property
    def jobs(self) -> int:
        """How many outcomes there were."""
        return len(self._durations)

    def add(self, outcome: Outcome[Any]) -> bool:
        """Write ``outcome``; False when nobody reads any more.

        Raises:
            OSError: It can't be written: the disk is full.
        """
        self._durations.append(outcome.timings.duration)
        for place, (_, part) in enumerate(outcome.timings.phases()):
            self._phases[place] += part
        line, failed = _line(outcome)
        if failed is not None:
            self.failed += 1
            if len(self.first_failed) < _NAMED:
                self.first_failed.append(failed)
        try:
            self._file.write(inert(line) if self._file.isatty() else line)
            self._file.write("\n")
            self._file.flush()
        except BrokenPipeError:
            return False
        except OSError as error:
            raise OSError(error.errno, error.strerror, self._name) from error
        return True

    def broken(self, thresholds: Sequence[Condition]) -> Iterator[str]:
        """A line for each threshold that doesn't hold."""
        for wanted in thresholds:
            value = self._value(wanted)
            if not wanted.holds(value):
                if wanted.name != FAILED:
                    told = seconds(value)
                else:
                    told = f"{self.failed} of {self.jobs} jobs"
                yield f"{wanted.text}: {wanted.name} is {told}"

    def _value(self, wanted: Condition) -> float:
        jobs = self.jobs
        if wanted.name == FAILED:
            return self.failed / jobs if wanted.is_share else self.failed
        if wanted.name == MEAN:
            return math.fsum(self._durations) / jobs
        if (percent := PERCENTILES.get(wanted.name)) is not None:
            return percentile(sorted(self._durations), percent)
        return self._phases[SPANRUN_JOB_PHASE_VALUES.index(wanted.name)] / jobs


def _line(outcome: Outcome[Any]) -> tuple[str, Failed | None]:
    match outcome:
        case Ok(index=index, value=value):
            try:
                line = json.dumps(
                    {"index": index, "result": value}, default=plain, allow_nan=False
                )
            except (TypeError, ValueError, RecursionError) as error:
                failed = _failed(
                    index, type(error), f"no JSON can be made of the result: {error}"
                )
            else:
                return line, None
        case Err(index=index, error=error):
            failed = _failed(index, type(error), _said(error))
    told = {"type": failed.error_type, "message": failed.error}
    return json.dumps({"index": failed.index, "error": told}), failed


def _failed(index: int, kind: type[BaseException], what: str) -> Failed:
    return Failed(index, kind.__qualname__, one_line(redact(what), _ERROR))


def _said(error: Exception) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 -- the user's own error; its type is told
        return ""


def plain(value: object) -> Any:
    """For JSON: the fields of a dataclass by their names."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    raise TypeError(f"of type {type(value).__qualname__}")
