"""The dashboards and the run books, as links lead to them."""

from typing import Final

from dashboards.panels import Book, Place
from spanrun.slo.annotations import BOARD

RUNS: Final = Place("Runs", "spanrun-runs")
WHERE: Final = Place("Where the time goes", "spanrun-where")
CLIENTS: Final = Place("Clients", "spanrun-clients")
SLO: Final = Place("SLO", BOARD)
HEALTH: Final = Place("Telemetry health", "spanrun-telemetry")

ERRORS: Final = Book("errors burn the budget", "errors-burn-the-budget.md")
P95: Final = Book("p95 went up", "p95-went-up.md")
STAND_STILL: Final = Book("jobs stand still", "jobs-stand-still.md")
LOOP: Final = Book("the loop is blocked", "loop-is-blocked.md")
SERVICE: Final = Book("a slow or dead service", "slow-or-dead-service.md")
LIMITS: Final = Book("limit concurrency", "limit-concurrency.md")
RETRIES: Final = Book("retry", "retry.md")
BATCHES: Final = Book("embed in batches", "embed-in-batches.md")
SPOOLING: Final = Book("telemetry is spooling", "telemetry-is-spooling.md")
