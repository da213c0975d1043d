"""Service level objectives: a file in, Prometheus rules and panels out.

Everything here turns text and values into text and values; nothing is sent.
"""

from spanrun.slo.model import Slo
from spanrun.slo.panels import Panel, panels

__all__ = ["Panel", "Slo", "panels"]
