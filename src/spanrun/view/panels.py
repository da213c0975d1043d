"""The panels of a session's metrics, computed from the points that were received.

First those of `boards`; then the metrics that no board has, each in a panel of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from math import floor, isfinite, log10
from statistics import median
from typing import Any, Final, TypeAlias

from spanrun.view.boards import ANY, BOARDS, Ask, Line, Panel, Where, percentiles
from spanrun.view.series import Amount, Bins, Metrics, Series, quantile

MOST_BINS: Final = 200
_MOST_LINES: Final = 8
"""Lines of a panel: as many as can be told from each other."""
_SAME_NS: Final = 50_000_000
"""Points so near to each other are of one export."""
_DIGITS: Final = 4
_OTHER: Final = "Other metrics"

Values: TypeAlias = list[float | None]
Lines: TypeAlias = dict[tuple[str, ...], Values]


def told(metrics: Metrics, zero_ns: int) -> dict[str, Any] | None:
    """All panels that have anything to show; None if there are no metrics.

    Returns:
        ``from`` and ``width`` of the bins in microseconds, ``panels``, and how many
        ``metrics`` and ``points`` they are made of.
    """
    every = [series for series in metrics.series.values() if series.steps]
    if not every:
        return None
    bins = _bins(every)
    source = _Source(every, bins)
    shown = [_told(panel, source) for panel in (*BOARDS, *_others(every))]
    return {
        "from": round((bins.start - zero_ns) / 1000),
        "width": bins.width / 1000,
        "bins": bins.count,
        "panels": [each for each in shown if each["lines"]],
        "metrics": len({series.name for series in every}),
        "points": metrics.points,
    }


def _bins(every: Sequence[Series]) -> Bins:
    """As many as there were exports, up to `MOST_BINS`."""
    ends = sorted({step.end for series in every for step in series.steps})
    exports = [ends[0]]
    for end in ends:
        if end - exports[-1] > _SAME_NS:
            exports.append(end)
    start = min(step.start for series in every for step in series.steps)
    end = max(ends[-1], start + 1)
    if len(exports) > 1:
        gaps = [b - a for a, b in pairwise(exports)]
        pause = median(gaps)
        # What a process had counted long before the first export isn't drawn.
        start = max(start, exports[0] - int(pause))
        return Bins(start, end, max(1, min(MOST_BINS, round((end - start) / pause))))
    return Bins(start, end, 1)


class _Source:
    """The series, laid into bins once, and what is asked of them."""

    def __init__(self, every: Iterable[Series], bins: Bins) -> None:
        self.bins: Final = bins
        self._by_name: Final[dict[str, list[Series]]] = {}
        for series in every:
            self._by_name.setdefault(series.name, []).append(series)
        self._laid: Final[dict[int, list[Amount | None]]] = {}

    def lines(self, ask: Ask) -> Lines:
        """The values of each bin, for each set of the attributes' values."""
        joined: dict[tuple[str, ...], list[Amount | None]] = {}
        join = _JOINS.get(ask.what, _sum)
        for series in self._by_name.get(ask.metric, ()):
            if not _is_asked(series, ask.where):
                continue
            both = {**series.resource, **series.attributes}
            key = tuple(both.get(name, "") for name in ask.by)
            into = joined.setdefault(key, [None] * self.bins.count)
            for place, amount in enumerate(self._of(series)):
                if amount is not None:
                    into[place] = join(into[place], amount)
        value = _VALUES[ask.what]
        return {
            key: [
                None
                if each is None
                else _sane(value(each, self.bins.seconds, ask.share))
                for each in amounts
            ]
            for key, amounts in joined.items()
        }

    def _of(self, series: Series) -> list[Amount | None]:
        found = self._laid.get(id(series))
        if found is None:
            is_now = series.kind == "gauge"
            lay = self.bins.values if is_now else self.bins.increases
            found = self._laid[id(series)] = lay(series.steps)
        return found


def _sum(found: Amount | None, other: Amount) -> Amount:
    found = found or Amount()
    found.add(other)
    return found


def _highest(found: Amount | None, other: Amount) -> Amount:
    return other if found is None or other.value > found.value else found


def _lowest(found: Amount | None, other: Amount) -> Amount:
    return other if found is None or other.value < found.value else found


_JOINS: Final = {"highest": _highest, "lowest": _lowest}
"""What becomes of several series in one line, if not their sum."""
_VALUES: Final[dict[str, Callable[[Amount, float, float], float | None]]] = {
    "rate": lambda amount, seconds, _: amount.value / seconds,
    "sum_rate": lambda amount, seconds, _: amount.value / seconds,
    "count_rate": lambda amount, seconds, _: amount.count / seconds,
    "now": lambda amount, _, __: amount.value,
    "highest": lambda amount, _, __: amount.value,
    "lowest": lambda amount, _, __: amount.value,
    "quantile": lambda amount, _, share: quantile(share, amount.buckets),
}


def _is_asked(series: Series, where: Where) -> bool:
    return all(
        bool(series.attributes.get(name))
        if values == ANY
        else series.attributes.get(name) in values
        for name, values in where.items()
    )


def _told(panel: Panel, source: _Source) -> dict[str, Any]:
    lines = [each for line in panel.lines for each in _lines(line, source)]
    lines.sort(key=lambda each: -each[1])
    kept = {name for name, _, _ in lines[:_MOST_LINES]}
    in_order = [each for each in lines if each[0] in kept]
    if len(panel.lines) > 1:  # the percentiles
        in_order.sort(key=lambda each: each[0])
    return {
        "board": panel.board,
        "title": panel.title,
        "unit": panel.unit,
        "lines": [[name, [*map(_short, values)]] for name, _, values in in_order],
        "left_out": len(lines) - len(in_order),
    }


def _lines(line: Line, source: _Source) -> Iterator[tuple[str, float, Values]]:
    """The name of each line, what it adds up to, and its values."""
    found = source.lines(line.ask)
    if line.of is not None:
        found = _shares(found, source.lines(line.of), is_one=not line.of.by)
    for key, values in found.items():
        known = [value for value in values if value is not None]
        if known:
            told = " · ".join(each or "none" for each in key)
            yield f"{told} {line.name}".strip(), sum(known), values


def _shares(parts: Lines, wholes: Lines, *, is_one: bool) -> Lines:
    """Each part of its whole, or of the one whole; a whole without parts has 0."""
    if is_one:
        return {
            key: _share(values, wholes.get((), [])) for key, values in parts.items()
        }
    return {
        key: _share(parts.get(key, [0.0] * len(whole)), whole)
        for key, whole in wholes.items()
    }


def _share(part: Values, whole: Values) -> Values:
    return [(a or 0.0) / b if b else None for a, b in zip(part, whole, strict=False)]


def _others(every: Iterable[Series]) -> Iterator[Panel]:
    """A panel for each metric that is in none of the boards."""
    ours = {line.ask.metric for panel in BOARDS for line in panel.lines}
    found: dict[str, list[Series]] = {}
    for series in every:
        if series.name not in ours:
            found.setdefault(series.name, []).append(series)
    for name, its in sorted(found.items()):
        unit = its[0].unit.strip("{}")
        if its[0].kind == "histogram":
            yield Panel(_OTHER, name, unit, percentiles(name))
            continue
        by = _telling(its)
        is_now = its[0].kind == "gauge"
        line = Line(
            Ask("now" if is_now else "rate", name, by), name="" if by else "all"
        )
        yield Panel(_OTHER, name, unit if is_now else f"{unit}/s", (line,))


def _telling(its: Sequence[Series]) -> tuple[str, ...]:
    """The attributes that tell these series apart."""
    names = sorted({name for series in its for name in series.attributes})
    values = {name: {series.attributes.get(name) for series in its} for name in names}
    return tuple(name for name in names if len(values[name]) > 1)


def _sane(value: float | None) -> float | None:
    """None for what isn't a number, which a program may send as well."""
    return value if value is not None and isfinite(value) else None


def _short(value: float | None) -> float | None:
    """With as many digits as can be seen."""
    if not value:
        return value
    return round(value, _DIGITS - 1 - floor(log10(abs(value))))
