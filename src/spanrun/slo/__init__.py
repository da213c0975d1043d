"""Service level objectives: a file in, Prometheus rules and panels out.

Everything here turns text and values into text and values; nothing is sent.
"""

from spanrun.slo.check import Verdict, judge, queries
from spanrun.slo.dashboard import Panel, panels
from spanrun.slo.model import Slo
from spanrun.slo.openslo import load, parse
from spanrun.slo.rules import groups

__all__ = [
    "Panel",
    "Slo",
    "Verdict",
    "groups",
    "judge",
    "load",
    "panels",
    "parse",
    "queries",
]
