"""`Condition`: what ``--fail-if`` and ``--threshold`` say of a number."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from spanrun.cli.exits import Exit, fail
from spanrun.semconv import SPANRUN_JOB_PHASE_VALUES
from spanrun.telemetry.recordings.compare import MEAN
from spanrun.telemetry.recordings.ledger import PERCENTILES

FAILED: Final = "failed"
NAMES: Final = (*PERCENTILES, MEAN, *SPANRUN_JOB_PHASE_VALUES, FAILED)
"""What a condition can be about."""

_COMPARISONS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_UNITS: Final[Mapping[str, float]] = {
    "": 1,
    "%": 0.01,
    "s": 1,
    "ms": 1e-3,
    "us": 1e-6,
    "µs": 1e-6,
}
_FORM: Final = re.compile(
    r"\s*([a-z_0-9]+)\s*([<>]=?)\s*([+-]?[0-9]+(?:\.[0-9]+)?)\s*(%|ms|us|µs|s)?\s*",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Condition:
    """A name, a comparison and a value, such as ``p95 > +10%``.

    Attributes:
        text: As it was given.
        name: One of `NAMES`.
        is_share: The value is a share, given in percent; otherwise it is in seconds,
            or a number of jobs.
        value: That share, or those seconds or jobs.
    """

    text: str
    name: str
    comparison: str
    value: float
    is_share: bool

    def holds(self, value: float) -> bool:
        """Whether it is true of ``value``."""
        return _COMPARISONS[self.comparison](value, self.value)


def parse(option: str, text: str, example: str, *, changes: bool) -> Condition:
    """Read the condition that ``option`` was given; exit where it is none.

    Args:
        option: Its name.
        text: Of the condition.
        example: That is right.
        changes: It is about a change, so any value may be in percent. Otherwise a
            share is that of failed jobs alone.
    """
    form = _FORM.fullmatch(text)
    to_do = f"Write it as {option} '{example}'; names are {', '.join(NAMES)}."
    if form is None or form[1] not in NAMES:
        fail(Exit.USAGE, f"{option} {text!r} can't be understood", to_do)
    name, comparison, value, unit = form[1], form[2], form[3], form[4] or ""
    is_share = unit == "%"
    if name == FAILED and unit not in ("", "%"):
        fail(Exit.USAGE, f"{option} {text!r}: jobs have no unit", to_do)
    if name != FAILED and not unit and float(value):
        fail(Exit.USAGE, f"{option} {text!r}: a time has a unit, as in 50ms", to_do)
    if name != FAILED and is_share and not changes:
        fail(Exit.USAGE, f"{option} {text!r}: percent of what? A time is in ms", to_do)
    return Condition(
        text.strip(), name, comparison, float(value) * _UNITS[unit], is_share
    )
