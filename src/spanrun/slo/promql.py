"""PromQL that counts the events of an objective, from whatever form they come in.

`increase` guesses what was before the first sample and after the last one: a run of
a second, with two samples, has half as much again. So a counter's growth is told
from two of its values: the newest one at the end of an interval, and the newest one
at its beginning. What begins between the two, or anew after a restart, has grown
from 0. Intervals that lie end to end count each event once.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias

from spanrun.semconv import Metric
from spanrun.slo.model import (
    Availability,
    Indicator,
    Latency,
    Match,
    Queried,
    Where,
)
from spanrun.slo.records import BASE

MEMORY: Final = "6h"
"""A counter that was silent for longer is taken for a new one."""


class Interval(NamedTuple):
    """In which events are counted.

    Attributes:
        length: How long it is.
        end: Where the newest value at its end is looked for.
        begin: Where that at its beginning is.
        part: What a count of five minutes is divided by.
    """

    length: str
    end: str
    begin: str
    part: str = ""


MINUTE: Final = Interval(BASE, "[5m] offset 30s", f"[{MEMORY}] offset 90s", " / 5")
"""One that ended half a minute ago: samples that late are counted in full."""

FIVE_MINUTES: Final = Interval("5m", "[5m]", f"[{MEMORY}] offset 5m")

_UNITS: Final = {"s": "_seconds", "ms": "_milliseconds", "By": "_bytes"}
_REGEX: Final = re.compile(r"([\\.+*?()|\[\]{}^$])")
_EXPONENT_FROM: Final = 1e6


def series(metric: Metric) -> str:
    """What Prometheus calls ``metric`` when it comes over OTLP."""
    total = "_total" if metric.instrument == "counter" else ""
    return metric.name.replace(".", "_") + _UNITS.get(metric.unit, "") + total


def label(attribute: str) -> str:
    """What Prometheus calls an attribute."""
    return attribute.replace(".", "_")


def matcher(match: Match) -> str:
    """``match`` as a label matcher."""
    name = label(match.attribute)
    if len(match.values) == 1:
        return f"{name}{'!=' if match.negated else '='}{quoted(match.values[0])}"
    either = "|".join(map(_regex, match.values))
    return f"{name}{'!~' if match.negated else '=~'}{quoted(either)}"


def bound(threshold: float) -> str:
    """The matcher for the bucket up to ``threshold``.

    A whole number is stored as it came: ``1`` over OTLP, ``1.0`` when scraped, and
    from a million on with an exponent then.
    """
    if threshold != int(threshold):
        return f"le={quoted(repr(threshold))}"
    digits = str(int(threshold))
    forms = rf"{digits}(\.0)?"
    if threshold >= _EXPONENT_FROM:
        first, rest = digits[0], digits[1:].rstrip("0")
        mantissa = f"{first}.{rest}" if rest else first
        forms += "|" + _regex(f"{mantissa}e+{len(digits) - 1:02}")
    return f"le=~{quoted(forms)}"


By: TypeAlias = Sequence[str]
"""Attributes: each set of their values is counted by itself."""


def total(indicator: Indicator, within: Interval, by: By = ()) -> str:
    """How many events there were in an interval.

    Without any it is 0; with ``by``, there is no such group.
    """
    if isinstance(indicator, Queried):
        return _sum([_asked(indicator, indicator.total, within)], by)
    metric, where = indicator.metric, indicator.total
    native_only = isinstance(indicator, Latency) and indicator.native
    return _sum(_events(metric, where, within, native_only=native_only), by)


def part(indicator: Indicator, within: Interval, by: By = ()) -> str:
    """How many of them were good or, for ``part_is_bad``, bad; else as `total`."""
    if isinstance(indicator, Queried):
        return _sum([_asked(indicator, indicator.part, within)], by)
    if isinstance(indicator, Availability):
        return _sum(_events(indicator.metric, indicator.part, within), by)
    return _sum(_up_to_threshold(indicator, within), by)


def grouped(expression: str, by: By) -> str:
    """The sum of ``expression`` for each group: a vector with no other labels."""
    return f"sum by ({', '.join(map(label, by))}) ({expression})"


def quoted(text: str) -> str:
    """``text`` as a string of PromQL."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _regex(text: str) -> str:
    """``text`` as a regular expression that matches only itself."""
    return _REGEX.sub(r"\\\1", text)


def _sum(forms: list[str], by: By) -> str:
    """All series together; of one that is stored in several forms, the first."""
    either = "\n" + _indented("\nor\n".join(forms)) + "\n"
    return grouped(either, by) if by else f"sum({either})\nor vector(0)"


def _asked(indicator: Queried, query: str, within: Interval) -> str:
    """The number of events of each series that a query of somebody's has."""
    if indicator.form == "counters":
        return _grown(*_values(query, within))
    if indicator.form == "window":
        five_minutes = query.replace("{window}", FIVE_MINUTES.length)
        return f"({five_minutes}){within.part} >= 0"
    # A share that isn't there, or NaN, is of no event.
    share = f"avg_over_time(({indicator.part})[{within.length}:1m]) >= 0"
    return share if query else f"0 * ({share}) + 1"


def _events(
    metric: Metric, where: Where, within: Interval, *, native_only: bool = False
) -> list[str]:
    """The number of events of each series, in the forms in which it may be stored."""
    name = series(metric)
    if metric.instrument == "counter":
        return [_grown(*_ends(name, where, within))]
    grown = _grown_histogram(name, where, within)
    native = f"histogram_count(\n{_indented(grown)}\n)"
    if native_only:
        return [native]
    return [_grown(*_ends(f"{name}_count", where, within)), native]


def _up_to_threshold(indicator: Latency, within: Interval) -> list[str]:
    """The number of events up to the threshold, in the same forms.

    The share of an empty histogram is NaN, which no comparison lets pass.
    """
    name, where, limit = series(indicator.metric), indicator.total, indicator.threshold
    grown = _indented(_grown_histogram(name, where, within))
    native = (
        f"histogram_fraction(-Inf, {limit!r},\n{grown}\n)\n"
        f"* histogram_count(\n{grown}\n) >= 0"
    )
    if indicator.native:
        return [native]
    now, before = _ends(f"{name}_bucket", where, within, bound(limit))
    without = "sum without (le) "
    return [_grown(f"{without}({now})", f"{without}({before})"), f"({native})"]


def _grown(now: str, before: str) -> str:
    """By how much each series has grown; from 0 when it is new, or began anew."""
    return f"({now}\n  - {before}) >= 0\nor {now}"


def _grown_histogram(name: str, where: Where, within: Interval) -> str:
    """The same of a native histogram: as a histogram."""
    now, before = _ends(name, where, within)
    return (
        f"({now}\n  - {before})\n"
        f"and histogram_count({now})\n  >= histogram_count({before})\n"
        f"or {now}"
    )


def _ends(name: str, where: Where, within: Interval, *more: str) -> tuple[str, str]:
    """The newest value of each series at an interval's end, and at its beginning."""
    return _values(f"{name}{{{','.join([*map(matcher, where), *more])}}}", within)


def _values(chosen: str, within: Interval) -> tuple[str, str]:
    return (
        f"last_over_time({chosen}{within.end})",
        f"last_over_time({chosen}{within.begin})",
    )


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.split("\n"))
