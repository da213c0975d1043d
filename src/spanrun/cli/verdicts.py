"""Verdicts on objectives: as lines, as values, and as JUnit's XML for a CI server."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any
from xml.etree import ElementTree as ET

from spanrun.cli import console
from spanrun.slo import Verdict


def lines(verdicts: Sequence[Verdict]) -> list[str]:
    """A line for each: whether it is met, and by how much."""
    return _aligned(verdicts, map(_met, verdicts))


def budgets(verdicts: Sequence[Verdict]) -> list[str]:
    """A line for each: what is left of the budget, in events."""
    return _aligned(verdicts, map(_budget, verdicts))


def values(verdict: Verdict) -> dict[str, Any]:
    """A verdict for programs."""
    return {
        "slo": verdict.slo.name,
        "group": dict(verdict.group),
        "target": verdict.slo.target,
        "total": verdict.total,
        "bad": verdict.bad,
        "bad_ratio": verdict.ratio,
        "budget_remaining": verdict.remaining,
        "met": verdict.met,
    }


def budget_values(verdict: Verdict) -> dict[str, Any]:
    """What is left of a budget, for programs."""
    allowed = verdict.allowed
    return {
        "slo": verdict.slo.name,
        "group": dict(verdict.group),
        "period_days": verdict.slo.period,
        "total": verdict.total,
        "bad": verdict.bad,
        "allowed": allowed,
        "left": allowed - verdict.bad,
        "budget_remaining": verdict.remaining,
    }


def junit(verdicts: Sequence[Verdict]) -> str:
    """JUnit's XML: a test for each objective, skipped where there were no events."""
    broken = sum(not each.met for each in verdicts)
    without = sum(each.ratio is None for each in verdicts)
    suite = ET.Element(
        "testsuite",
        name="spanrun slo",
        tests=str(len(verdicts)),
        failures=str(broken),
        errors="0",
        skipped=str(without),
    )
    for each in verdicts:
        name, owner = console.line(each.name), console.line(each.slo.service)
        case = ET.SubElement(suite, "testcase", classname=owner, name=name)
        if each.ratio is None:
            ET.SubElement(case, "skipped", message="no events")
        elif not each.met:
            failure = ET.SubElement(case, "failure", message=_share(each))
            failure.text = console.line(each.slo.description)
    ET.indent(suite)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(
        suite, encoding="unicode"
    )


def _aligned(verdicts: Sequence[Verdict], told: Iterable[str]) -> list[str]:
    names = [console.line(each.name) for each in verdicts]
    width = max(map(len, names))
    return [f"{name:<{width}}  {each}" for name, each in zip(names, told, strict=True)]


def _met(verdict: Verdict) -> str:
    if verdict.ratio is None:
        return "no events"
    return f"{'ok    ' if verdict.met else 'BROKEN'}  {_share(verdict)}"


def _share(verdict: Verdict) -> str:
    return (
        f"{verdict.bad:.12g} of {verdict.total:.12g} events bad, "
        f"{verdict.ratio or 0:.3%}, where {verdict.slo.budget * 100:.6g}% may be: "
        f"{verdict.remaining:.0%} of the budget left"
    )


def _budget(verdict: Verdict) -> str:
    if verdict.ratio is None:
        return "no events"
    left = math.floor(verdict.allowed - verdict.bad + 1e-9)
    more = f"{left:,} more may be bad" if left >= 0 else f"{-left:,} too many are bad"
    return (
        f"{verdict.remaining:>5.0%} left of {verdict.slo.period} days' budget: "
        f"{verdict.bad:,.12g} of {verdict.total:,.12g} events bad, {more}"
    )
