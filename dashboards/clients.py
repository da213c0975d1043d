"""Clients: what the services answer, and how fast. OpenTelemetry's own metrics."""

from collections.abc import Sequence
from typing import Final

from grafana_foundation_sdk.models.dashboard import Dashboard

from dashboards import panels, places
from dashboards import promql as q
from dashboards.board import Panel, board
from dashboards.panels import MILLISECONDS, SECONDS, SHARE, Query, Text, each
from spanrun import semconv
from spanrun.semconv import Metric

HTTP: Final = semconv.METRIC_HTTP_CLIENT_REQUEST_DURATION
MODEL_CALL: Final = semconv.METRIC_GEN_AI_CLIENT_OPERATION_DURATION
TOKENS: Final = semconv.METRIC_GEN_AI_CLIENT_TOKEN_USAGE
STORE: Final = semconv.METRIC_DB_CLIENT_OPERATION_DURATION

OLDER: Final = Metric(
    "http.client.duration",
    "histogram",
    "ms",
    "Time of an HTTP request, by the convention before the stable one.",
    ("net.peer.name", "net.peer.port", "http.status_code"),
)
"""What OpenTelemetry's own instrumentations send, unless they are told otherwise
(`OTEL_SEMCONV_STABILITY_OPT_IN`)."""
OLDER_SERVER: Final = OLDER.attributes[:2]

SERVER: Final = semconv.SERVER_ADDRESS, semconv.SERVER_PORT
STATUS: Final = semconv.HTTP_RESPONSE_STATUS_CODE
MODEL: Final = semconv.GEN_AI_REQUEST_MODEL
OPERATION: Final = semconv.GEN_AI_OPERATION_NAME
TOKEN: Final = semconv.GEN_AI_TOKEN_TYPE
SYSTEM: Final = semconv.DB_SYSTEM_NAME
DB_OPERATION: Final = semconv.DB_OPERATION_NAME

_FAILED: Final = {semconv.ERROR_TYPE: (".+",)}


def clients() -> Dashboard:
    """The dashboard."""
    return board(
        places.CLIENTS.uid,
        "spanrun · Clients",
        "What spanrun's clients were answered, by whom and how fast. Every attempt "
        "counts here; a job is what becomes of them all.",
        [
            ("HTTP", _http(), places.ERRORS),
            ("Models: embeddings and chat", _models(), places.ERRORS),
            ("Search indexes and databases", _stores(), places.ERRORS),
        ],
    )


def _http() -> Sequence[Panel]:
    return (
        panels.lines(
            "Requests by status",
            Text(
                "HTTP requests a second, by server, port and status, of spanrun's "
                "clients and of every instrumentation that follows the stable "
                "convention. No status: there was no answer.",
                "429: you ask for more than the service gives. 5xx: it is broken or "
                "overloaded. No status: network, name, or a timeout.",
                "429: lower the rate or the limit. 5xx: back-off and breaker do what "
                "can be done here; tell whoever runs it.",
            ),
            each("requests/s"),
            Query(q.count_rate(HTTP, [*SERVER, STATUS]), q.legend(*SERVER, STATUS)),
            stacked=True,
            to=[places.RUNS],
        ),
        _failures(
            "Failed requests",
            HTTP,
            SERVER,
            "Requests that failed, as a share of each server's. Retries may have "
            "made up for them.",
            "*Requests by status* tells how; the how-to is *errors burn the budget*.",
        ),
        _latency(
            "Latency by server",
            HTTP,
            SERVER,
            "95 of 100 requests of each server were answered within this.",
            "Compare with phase `service`: the part of it beyond this is your own.",
        ),
        panels.heat(
            "All requests",
            Text(
                "How many requests took how long, over time. Each diamond is a "
                "request: it opens its trace.",
                "a band at exactly your timeout: attempts that were given up.",
                "Open a diamond in the upper band.",
            ),
            SECONDS,
            each("requests/s"),
            Query(q.heat(HTTP), "{{le}}", exemplars=True),
        ),
        panels.lines(
            "Requests of older instrumentations",
            Text(
                "HTTP requests a second that other libraries' instrumentations "
                "report by the convention before the stable one.",
                "429 and 5xx, as above.",
                "Set OTEL_SEMCONV_STABILITY_OPT_IN=http to have them above.",
            ),
            each("requests/s"),
            Query(q.count_rate(OLDER, OLDER.attributes), q.legend(*OLDER.attributes)),
            stacked=True,
        ),
        _latency(
            "Latency of older instrumentations",
            OLDER,
            OLDER_SERVER,
            "95 of 100 of these requests were answered within this.",
            "Compare with phase `service`: the part of it beyond this is your own.",
            MILLISECONDS,
        ),
    )


def _models() -> Sequence[Panel]:
    per_call = q.ratio(
        q.sum_rate(TOKENS, [MODEL, TOKEN]), q.count_rate(TOKENS, [MODEL, TOKEN])
    )
    return (
        panels.lines(
            "Calls by model",
            Text(
                "Calls of each model a second, by operation.",
                "a model that you don't expect, or none while work is due.",
                "Check the model's name where the client is made.",
            ),
            each("calls/s"),
            Query(
                q.count_rate(MODEL_CALL, [MODEL, OPERATION]), q.legend(MODEL, OPERATION)
            ),
            stacked=True,
            to=[places.RUNS],
        ),
        _failures(
            "Failed calls",
            MODEL_CALL,
            [MODEL],
            "Calls that failed, as a share of each model's.",
            "*Requests by status* above tells what the endpoint answered.",
        ),
        _latency(
            "Latency by model",
            MODEL_CALL,
            [MODEL],
            "95 of 100 calls of each model were answered within this.",
            "Smaller batches answer sooner; the endpoint's own status page may tell "
            "the rest.",
        ),
        panels.lines(
            "Tokens by model",
            Text(
                "Tokens a second that each model counted: what the bill is made of.",
                "it grows while *Calls by model* doesn't: the texts became longer.",
                "See *Tokens a call*, and what is sent.",
            ),
            each("tokens/s"),
            Query(q.sum_rate(TOKENS, [MODEL, TOKEN]), q.legend(MODEL, TOKEN)),
            stacked=True,
        ),
        panels.lines(
            "Tokens a call",
            Text(
                "Tokens of one call, in the mean.",
                "near the model's limit: texts are cut or refused.",
                "Split the texts smaller, or send fewer in a batch.",
            ),
            each("tokens"),
            Query(per_call, q.legend(MODEL, TOKEN)),
            width=panels.WHOLE,
        ),
    )


def _stores() -> Sequence[Panel]:
    return (
        panels.lines(
            "Operations",
            Text(
                "Calls of Solr and of other stores a second, by operation.",
                "none while work is due, or many more than there are jobs.",
                "See *Jobs by outcome*: does the runner that writes get work?",
            ),
            each("calls/s"),
            Query(
                q.count_rate(STORE, [SYSTEM, DB_OPERATION]),
                q.legend(SYSTEM, DB_OPERATION),
            ),
            stacked=True,
            to=[places.RUNS],
        ),
        _failures(
            "Failed operations",
            STORE,
            [SYSTEM],
            "Calls that failed, as a share of each store's.",
            "Its trace has the status that the store answered; see the store's log.",
        ),
        _latency(
            "Latency by operation",
            STORE,
            [DB_OPERATION],
            "95 of 100 calls of each operation were answered within this.",
            "Writes that slow down: commit less often. Reads: see the query in the "
            "trace.",
        ),
        panels.heat(
            "All operations",
            Text(
                "How many calls took how long, over time. Each diamond opens a trace.",
                "a second band: some queries are far dearer than the others.",
                "Open a diamond in the upper band, and read its query.",
            ),
            SECONDS,
            each("calls/s"),
            Query(q.heat(STORE), "{{le}}", exemplars=True),
        ),
    )


def _failures(
    title: str, metric: Metric, by: Sequence[str], shows: str, then: str
) -> Panel:
    every = q.count_rate(metric, by)
    failed = q.or_zeros(q.count_rate(metric, by, _FAILED), every)
    return panels.lines(
        title,
        Text(
            shows,
            "any steady share. Above 5 % retries begin to be a load of their own.",
            then,
        ),
        SHARE,
        Query(q.ratio(failed, every), q.legend(*by)),
        to=[places.SLO],
    )


def _latency(
    title: str,
    metric: Metric,
    by: Sequence[str],
    shows: str,
    then: str,
    unit: str = SECONDS,
) -> Panel:
    return panels.lines(
        title,
        Text(
            shows if metric is OLDER else f"{shows} Each diamond opens a trace.",
            "it grows without more requests: the service became slower. It grows "
            "with them: it is at its limit.",
            then,
        ),
        unit,
        Query(
            q.quantile(0.95, metric, by),
            q.legend(*by),
            exemplars=metric is not OLDER,
        ),
        to=[places.WHERE, places.P95],
    )
