"""The dashboards, as links lead to them."""

from typing import Final

from dashboards.panels import Place
from spanrun.slo.annotations import BOARD

RUNS: Final = Place("Runs", "spanrun-runs")
WHERE: Final = Place("Where the time goes", "spanrun-where")
CLIENTS: Final = Place("Clients", "spanrun-clients")
SLO: Final = Place("SLO", BOARD)
HEALTH: Final = Place("Telemetry health", "spanrun-telemetry")
