"""Telemetry health: does what the other dashboards show arrive, and all of it?"""

from collections.abc import Sequence
from typing import Final

from grafana_foundation_sdk.models.dashboard import Dashboard

from dashboards import panels, places, tables
from dashboards import promql as q
from dashboards.board import Panel, board
from dashboards.panels import BYTES, SECONDS, SHARE, Limits, Query, Text, each
from spanrun import semconv

ITEMS: Final = semconv.METRIC_SPANRUN_TELEMETRY_ITEMS
SPOOL: Final = semconv.METRIC_SPANRUN_TELEMETRY_SPOOL_SIZE
RESTARTS: Final = semconv.METRIC_SPANRUN_TELEMETRY_THREAD_RESTARTS
EXPORT: Final = semconv.METRIC_SPANRUN_TELEMETRY_EXPORT_DURATION

SIGNAL: Final = semconv.SPANRUN_TELEMETRY_SIGNAL
RESULT: Final = semconv.SPANRUN_TELEMETRY_RESULT
REASON: Final = semconv.SPANRUN_TELEMETRY_REASON
PROCESS: Final = semconv.SERVICE_INSTANCE_ID

LOST: Final = {RESULT: ("dropped",)}
SPOOLED: Final = {RESULT: ("spooled",)}
COLOURS: Final = {
    "delivered": "green",
    "spooled": "orange",
    "sampled_out": "blue",
    "dropped": "red",
}
_HOW_TO: Final = "The how-to is *telemetry is spooling*."


def health() -> Dashboard:
    """The dashboard."""
    return board(
        places.HEALTH.uid,
        "spanrun · Telemetry health",
        "What became of spans and metrics. While nothing arrives at all these "
        "panels are empty too: processes tell it afterwards, when it does again.",
        [
            ("In the time shown", _numbers(), places.SPOOLING),
            ("Items", _items(), places.SPOOLING),
            ("Delivery", _delivery(), places.SPOOLING),
        ],
    )


def _numbers() -> Sequence[Panel]:
    lost = q.or_zero(q.total(ITEMS, where=LOST), q.total(ITEMS))
    arrived = q.total(ITEMS, where={RESULT: ("delivered",)})
    ended = q.total(ITEMS, where={RESULT: ("delivered", "dropped")})
    return (
        panels.number(
            "Lost",
            Text(
                "Spans and data points that are gone, in the time shown. Exact.",
                "any: the other dashboards and the traces have holes.",
                "*Lost by reason* tells why. " + _HOW_TO,
            ),
            each("items"),
            Query(lost),
            Limits(1, 1_000),
        ),
        panels.number(
            "Delivered",
            Text(
                "What the backend acknowledged, as a share of all that was "
                "delivered or lost.",
                "below 100 %.",
                "*Lost by reason* tells why. " + _HOW_TO,
            ),
            SHARE,
            Query(q.ratio(arrived, ended)),
            Limits(1, 0.99),
        ),
        panels.number(
            "On disk",
            Text(
                "Bytes that wait in the spools of all processes.",
                "it doesn't fall: the backend is down, or slower than what is made. "
                "At 256 MiB (`SPANRUN_SPOOL_BYTES`) the oldest is dropped.",
                _HOW_TO,
            ),
            BYTES,
            Query(q.now(SPOOL)),
            Limits(16 * 2**20, 128 * 2**20),
            width=8,
        ),
        panels.number(
            "95 of 100 exports within",
            Text(
                "The time of one export request, with the backend's answer.",
                "above 1 s: the backend is slow, and the spool will grow.",
                "See the Collector's own queue and CPU.",
            ),
            SECONDS,
            Query(q.quantile(0.95, EXPORT, window=q.RANGE)),
            Limits(1, 5),
            width=8,
        ),
    )


def _items() -> Sequence[Panel]:
    return (
        panels.lines(
            "Items by result",
            Text(
                "Spans and data points a second, by what became of them.",
                "`dropped`: gone. `spooled`: on disk, for the backend doesn't take "
                "them now. `sampled_out` is what you asked for.",
                "*Lost by reason* and *Spooled by reason* tell why.",
            ),
            each("items/s"),
            Query(q.rate(ITEMS, [RESULT]), q.legend(RESULT)),
            stacked=True,
            colours=COLOURS,
        ),
        tables.rows(
            "Items",
            Text(
                "What became of each signal in the time shown. Exact.",
                "a line with `dropped`.",
                "The reason stands beside it; each one is in the how-to *telemetry "
                "is spooling*.",
            ),
            each("items"),
            Query(q.total(ITEMS, [SIGNAL, RESULT, REASON])),
            [(SIGNAL, "signal"), (RESULT, "result"), (REASON, "reason")],
            "items",
        ),
        panels.lines(
            "Lost by reason",
            Text(
                "Items a second that are gone, and why.",
                "`rejected`, `encode_error`: the backend refuses them for good. "
                "`queue_full`, `disk_full`: too much for too long. `shutdown`: the "
                "process had to leave.",
                "Each reason has its line in the how-to *telemetry is spooling*.",
            ),
            each("items/s"),
            Query(
                q.or_zero(q.rate(ITEMS, [SIGNAL, REASON], LOST), q.rate(ITEMS)),
                q.legend(SIGNAL, REASON),
            ),
        ),
        panels.lines(
            "Spooled by reason",
            Text(
                "Items a second that went to the disk, to be sent later.",
                "`export_failed`, for minutes: the backend can't be reached, or asks "
                "to wait.",
                _HOW_TO,
            ),
            each("items/s"),
            Query(
                q.or_zero(q.rate(ITEMS, [SIGNAL, REASON], SPOOLED), q.rate(ITEMS)),
                q.legend(SIGNAL, REASON),
            ),
        ),
    )


def _delivery() -> Sequence[Panel]:
    return (
        panels.lines(
            "Spool by process",
            Text(
                "Bytes in the spool of each process.",
                "one process grows alone: its network or its disk. All grow: the "
                "backend.",
                _HOW_TO,
            ),
            BYTES,
            Query(q.now(SPOOL, [PROCESS]), q.legend(PROCESS)),
        ),
        panels.lines(
            "Processes that report",
            Text(
                "How many processes of each service have sent metrics in the last "
                "5 minutes.",
                "fewer than run: the others are cut off, or not configured.",
                "In the missing process: is OTEL_EXPORTER_OTLP_ENDPOINT set? Its "
                "spool fills while it can't send.",
            ),
            each("processes"),
            Query(q.processes(ITEMS), q.legend(semconv.SERVICE_NAME)),
            to=[places.RUNS],
        ),
        panels.lines(
            "Export requests",
            Text(
                "How long the backend takes for one request.",
                "p99 at the exporter's timeout (10 s): requests are given up, and "
                "sent again.",
                "See the Collector's own queue and CPU.",
            ),
            SECONDS,
            Query(q.quantile(0.5, EXPORT), "p50"),
            Query(q.quantile(0.95, EXPORT), "p95"),
            Query(q.quantile(0.99, EXPORT), "p99"),
        ),
        panels.lines(
            "Threads that failed",
            Text(
                "How often a second a thread of spanrun's own failed, and began its "
                "work again.",
                "any: code of the application raises in it, such as a log handler.",
                "The log of the process has the traceback.",
            ),
            each("restarts/s"),
            Query(
                q.or_zero(q.rate(RESTARTS, [semconv.THREAD_NAME]), q.rate(ITEMS)),
                q.legend(semconv.THREAD_NAME),
            ),
        ),
        panels.heat(
            "All export requests",
            Text(
                "How many requests took how long, over time.",
                "a band that climbs: the backend falls behind.",
                "Give the Collector more memory or a second instance.",
            ),
            SECONDS,
            each("requests/s"),
            Query(q.heat(EXPORT), "{{le}}"),
        ),
    )
