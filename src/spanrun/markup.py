"""HTML for a notebook: a ledger as a bar, and an outcome.

Styles are inline, and text has the page's own colour, so that all of it can be read on
a light and on a dark page. Where a page removes styles, the texts still say everything.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, Final

from spanrun.quantities import seconds, share
from spanrun.text import one_line, redact

if TYPE_CHECKING:
    from spanrun.outcome import Outcome, Timings

_COLOURS: Final = {
    "queue": ("#8f949a", "#d2e0ee"),
    "limit": ("#895fa3", "#c694f6"),
    "rate_limit": ("#7e5603", "#fc990e"),
    "backoff": ("#68095d", "#a3527b"),
    "busy": ("#076b5d", "#76bca3"),
    "loop_lag": ("#e7652c", "#d53520"),
    "service": ("#548dda", "#4d77c5"),
}
"""Of each phase, on a light and on a dark page: those of the page in `view`."""
_UNIT: Final = re.compile(r"(?<=\d) (?=(?:%|s|ms|µs)(?!\w))")
_LEAST: Final = 0.005
"""A smaller part of a bar can't be seen."""
_EDGE: Final = "outline:1px solid rgba(128,128,128,.6)"
"""Around colours: a page may be dark and not say so."""
_LINE: Final = "border-bottom:1px solid rgba(128,128,128,.35)"
_CELL: Final = f"padding:2px 10px 2px 0;background:none;vertical-align:top;{_LINE}"


def shown(text: str, width: int = 0) -> str:
    """``text`` on one line, without secrets, escaped, and cut to ``width``."""
    return escape(one_line(redact(text), width))


def percent(value: float) -> str:
    """As `share`, escaped: it may say ``<1 %``."""
    return escape(share(value))


def together(text: str) -> str:
    """``text`` in which a number and its unit aren't torn apart."""
    return _UNIT.sub("\N{NO-BREAK SPACE}", text)


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, texts: int) -> str:
    """A table of cells that are HTML already.

    Args:
        head: What is above each column.
        rows: The cells of each row.
        texts: How many columns are texts, from the left; the others are numbers.
    """
    aligned = ["left" if place < texts else "right" for place in range(len(head))]

    def row(tag: str, cells: Sequence[str]) -> str:
        made = (
            f'<{tag} style="text-align:{side};{_CELL}">{cell}</{tag}>'
            for side, cell in zip(aligned, cells, strict=True)
        )
        return f"<tr>{''.join(made)}</tr>"

    body = "".join(row("td", cells) for cells in rows)
    return (
        '<table style="border-collapse:collapse;margin:6px 0">'
        f"<thead>{row('th', head)}</thead><tbody>{body}</tbody></table>"
    )


def bar(phases: Mapping[str, float]) -> str:
    """A bar of the phases' shares in their sum."""
    total = sum(phases.values())
    parts = (
        f'<span title="{phase} {percent(part / total)}" style="display:inline-block;'
        f"height:100%;width:{100 * part / total:.1f}%;{_filled(phase)}"
        '"></span>'
        for phase, part in phases.items()
        if total and part / total >= _LEAST
    )
    # Without spaces, which would be drawn between the parts.
    return (
        '<div style="width:280px;height:12px;margin:4px 1px;white-space:nowrap;'
        f'{_EDGE};overflow:hidden;font-size:0;line-height:0">{"".join(parts)}</div>'
    )


def parts(phases: Mapping[str, float]) -> str:
    """The phases that took time, the longest first, each with its colour."""
    total = sum(phases.values())
    longest = sorted(phases, key=lambda phase: -phases[phase])
    return " · ".join(
        f'<span style="white-space:nowrap">{_square(phase)}{phase} '
        f"{seconds(phases[phase])} ({percent(phases[phase] / total)})</span>"
        for phase in longest
        if phases[phase] > 0
    )


def _square(phase: str) -> str:
    style = f"display:inline-block;width:9px;height:9px;margin-right:5px;{_EDGE}"
    return f'<span style="{style};{_filled(phase)}"></span>'


def _filled(phase: str) -> str:
    """Where a browser doesn't know the second one, the first holds."""
    light, dark = _COLOURS[phase]
    return f"background:{light};background:light-dark({light},{dark})"


def ledger(timings: Timings) -> str:
    """Where a job's time went."""
    phases = dict(timings.phases())
    return f"<div>{seconds(timings.duration)}</div>{bar(phases)}{parts(phases)}"


def outcome(ended: Outcome[Any]) -> str:
    """How a job ended, and where its time went."""
    told = f"<code>{shown(repr(ended))}</code>{ledger(ended.timings)}"
    return f'<div style="margin:4px 0 10px">{told}</div>'
