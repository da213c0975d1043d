"""The panels of metrics, as the Grafana boards have them, by the same names.

What is asked of a metric is in the words of `dashboards/promql.py`, and the tests
compare each panel with its board. Left out are panels of numbers, tables and heat maps,
and what needs more than one process or a week.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple, TypeAlias

from spanrun import semconv

Where: TypeAlias = Mapping[str, Sequence[str]]
ANY: Final = (".+",)
"""Whatever the attribute's value is."""
_EVERYWHERE: Final[Where] = {}


class Ask(NamedTuple):
    """What is asked of one metric, for each set of values of some attributes.

    Attributes:
        what: The name of the function in `dashboards/promql.py`.
        metric: Its name.
        by: The attributes.
        where: For each attribute the values that are asked for.
        share: Of a quantile.
    """

    what: Literal[
        "rate", "now", "highest", "lowest", "quantile", "count_rate", "sum_rate"
    ]
    metric: str
    by: tuple[str, ...] = ()
    where: Where = _EVERYWHERE
    share: float = 0.0


class Line(NamedTuple):
    """One or more lines of a panel.

    Attributes:
        ask: What is asked for; a line for each set of the attributes' values.
        of: What it is a share of: of each line, or of all where it has no attributes.
        name: Of the one line, or behind the attributes' values.
    """

    ask: Ask
    of: Ask | None = None
    name: str = ""


class Panel(NamedTuple):
    """A panel of a board.

    Attributes:
        board: The board's title.
        title: Its own.
        unit: Of its values: ``s``, ``ms``, ``share``, ``By``, or a word.
        lines: What is in it.
    """

    board: str
    title: str
    unit: str
    lines: tuple[Line, ...]


def percentiles(metric: str, where: Where = _EVERYWHERE) -> tuple[Line, ...]:
    """Half, 95 and 99 of 100 observations of a histogram are below these."""
    return tuple(
        Line(Ask("quantile", metric, (), where, share), name=f"p{share * 100:.0f}")
        for share in (0.5, 0.95, 0.99)
    )


_JOBS: Final = semconv.METRIC_SPANRUN_JOBS.name
_DURATION: Final = semconv.METRIC_SPANRUN_JOB_DURATION.name
_PHASES: Final = semconv.METRIC_SPANRUN_JOB_PHASE_TIME.name
_IN_FLIGHT: Final = semconv.METRIC_SPANRUN_RUNNER_IN_FLIGHT.name
_LIMIT: Final = semconv.METRIC_SPANRUN_RUNNER_LIMIT.name
_SIZE: Final = semconv.METRIC_SPANRUN_BATCH_SIZE.name
_UNITS: Final = semconv.METRIC_SPANRUN_UNIT_DURATION.name
_ITEMS: Final = semconv.METRIC_SPANRUN_TELEMETRY_ITEMS.name
_HTTP: Final = semconv.METRIC_HTTP_CLIENT_REQUEST_DURATION.name
_OLDER: Final = "http.client.duration"
_MODEL_CALL: Final = semconv.METRIC_GEN_AI_CLIENT_OPERATION_DURATION.name
_TOKENS: Final = semconv.METRIC_GEN_AI_CLIENT_TOKEN_USAGE.name
_STORE: Final = semconv.METRIC_DB_CLIENT_OPERATION_DURATION.name
_ACTIVE: Final = semconv.METRIC_SPANRUN_JOB_ACTIVE.name
_FREED: Final = semconv.METRIC_CPYTHON_GC_COLLECTED_OBJECTS.name
_NOT_FREED: Final = semconv.METRIC_CPYTHON_GC_UNCOLLECTABLE_OBJECTS.name

_RUNNER: Final = (semconv.SPANRUN_RUNNER_NAME,)
_OUTCOME: Final = (semconv.SPANRUN_JOB_OUTCOME,)
_ERROR: Final = (semconv.ERROR_TYPE,)
_PHASE: Final = (semconv.SPANRUN_JOB_PHASE,)
_UNIT: Final = (semconv.SPANRUN_UNIT_NAME,)
_WHY: Final = (semconv.SPANRUN_TELEMETRY_SIGNAL, semconv.SPANRUN_TELEMETRY_REASON)
_SERVER: Final = (semconv.SERVER_ADDRESS, semconv.SERVER_PORT)
_OLDER_SERVER: Final = ("net.peer.name", "net.peer.port")
_MODEL: Final = (semconv.GEN_AI_REQUEST_MODEL,)
_TOKEN: Final = (*_MODEL, semconv.GEN_AI_TOKEN_TYPE)
_SYSTEM: Final = (semconv.DB_SYSTEM_NAME,)
_OPERATION: Final = (semconv.DB_OPERATION_NAME,)
_BREAKER: Final = (*_RUNNER, semconv.SPANRUN_BREAKER_STATE)
_PROCESS: Final = (semconv.SERVICE_NAME, semconv.SERVICE_INSTANCE_ID)
_GENERATION: Final = (semconv.CPYTHON_GC_GENERATION,)

_OK: Final = {semconv.SPANRUN_JOB_OUTCOME: ("ok",)}
_BAD: Final = {semconv.SPANRUN_JOB_OUTCOME: ("failed", "timed_out")}
_RAN: Final = {semconv.SPANRUN_JOB_OUTCOME: ("ok", "failed", "timed_out")}
_NO_RESULT: Final = {semconv.SPANRUN_JOB_OUTCOME: ("failed", "timed_out", "cancelled")}
_FAILED: Final = {semconv.ERROR_TYPE: ANY}
_QUEUED: Final = {semconv.SPANRUN_JOB_STATE: ("queued",)}
_NOT_CLOSED: Final = {semconv.SPANRUN_BREAKER_STATE: ("open", "half_open")}


def _result(name: str) -> Where:
    return {semconv.SPANRUN_TELEMETRY_RESULT: (name,)}


def _rate(
    metric: str, by: tuple[str, ...], where: Where = _EVERYWHERE, name: str = ""
) -> Line:
    return Line(Ask("rate", metric, by, where), name=name)


def _now(
    metric: str, by: tuple[str, ...], name: str = "", where: Where = _EVERYWHERE
) -> Line:
    return Line(Ask("now", metric, by, where), name=name)


def _p(
    share: float, metric: str, by: tuple[str, ...], where: Where = _EVERYWHERE
) -> Line:
    return Line(Ask("quantile", metric, by, where, share))


def _calls(metric: str, by: tuple[str, ...]) -> Line:
    return Line(Ask("count_rate", metric, by))


def _failures(metric: str, by: tuple[str, ...]) -> Line:
    return Line(Ask("count_rate", metric, by, _FAILED), Ask("count_rate", metric, by))


def _mean(metric: str, by: tuple[str, ...]) -> Line:
    return Line(Ask("sum_rate", metric, by), Ask("count_rate", metric, by))


def _board(board: str, *panels: tuple[str, str, *tuple[Line, ...]]) -> list[Panel]:
    return [Panel(board, title, unit, tuple(its)) for title, unit, *its in panels]


_RUNS: Final = _board(
    "Runs",
    ("Jobs by outcome", "jobs/s", _rate(_JOBS, _OUTCOME)),
    ("Failures by error type", "jobs/s", _rate(_JOBS, _ERROR, _BAD)),
    (
        "Failed share by runner",
        "share",
        Line(Ask("rate", _JOBS, _RUNNER, _BAD), Ask("rate", _JOBS, _RUNNER, _RAN)),
    ),
    ("Duration", "s", *percentiles(_DURATION, _OK)),
    ("Duration without a result", "s", _p(0.95, _DURATION, _OUTCOME, _NO_RESULT)),
    ("p50 by runner", "s", _p(0.5, _DURATION, _RUNNER, _OK)),
    ("p95 by runner", "s", _p(0.95, _DURATION, _RUNNER, _OK)),
    ("p99 by runner", "s", _p(0.99, _DURATION, _RUNNER, _OK)),
    (
        "Slots in use by runner",
        "share",
        Line(Ask("now", _IN_FLIGHT, _RUNNER), Ask("now", _LIMIT, _RUNNER)),
    ),
    (
        "In flight against the limit",
        "jobs",
        _now(_IN_FLIGHT, _RUNNER, "in flight"),
        _now(_LIMIT, _RUNNER, "limit"),
    ),
    (
        "Jobs under way by state",
        "jobs",
        _now(_ACTIVE, (semconv.SPANRUN_JOB_STATE,)),
    ),
    (
        "Cancelled, and still there",
        "jobs",
        _now(semconv.METRIC_SPANRUN_RUNNER_STUCK.name, _RUNNER, "stuck"),
    ),
    (
        "Ended after all",
        "jobs/s",
        _rate(semconv.METRIC_SPANRUN_JOB_LATE.name, _RUNNER),
    ),
    ("Jobs that wait by runner", "jobs", _now(_ACTIVE, _RUNNER, where=_QUEUED)),
    (
        "Age of the oldest in the queue",
        "s",
        Line(Ask("highest", semconv.METRIC_SPANRUN_RUNNER_QUEUE_AGE.name, _RUNNER)),
    ),
    (
        "Breakers that aren't closed",
        "breakers",
        _now(semconv.METRIC_SPANRUN_BREAKER_STATUS.name, _BREAKER, where=_NOT_CLOSED),
    ),
    (
        "Refused, and why",
        "refusals/s",
        _rate(
            semconv.METRIC_SPANRUN_JOB_REFUSALS.name,
            (*_RUNNER, semconv.SPANRUN_REFUSAL_REASON),
        ),
    ),
    (
        "Retry budget left",
        "retries",
        Line(Ask("lowest", semconv.METRIC_SPANRUN_RETRY_BUDGET.name, _RUNNER)),
    ),
    (
        "Second calls",
        "calls/s",
        _rate(semconv.METRIC_SPANRUN_HEDGE_SENT.name, _RUNNER, name="sent"),
        _rate(
            semconv.METRIC_SPANRUN_HEDGE_ENDED.name,
            (*_RUNNER, semconv.SPANRUN_HEDGE_RESULT),
        ),
    ),
    (
        "Decisions of adaptive limits",
        "decisions/s",
        _rate(
            semconv.METRIC_SPANRUN_LIMIT_DECISIONS.name,
            (*_RUNNER, semconv.SPANRUN_LIMIT_DECISION),
        ),
    ),
    (
        "Rate limit",
        "tokens/s",
        _now(semconv.METRIC_SPANRUN_RATE_LIMIT_RATE.name, _RUNNER, "limit"),
        _rate(semconv.METRIC_SPANRUN_RATE_LIMIT_TOKENS.name, _RUNNER, name="taken"),
    ),
    (
        "Tokens waited for",
        "tokens/s",
        _rate(semconv.METRIC_SPANRUN_RATE_LIMIT_WAITS.name, _RUNNER),
    ),
    ("Items in a batch", "items", _mean(_SIZE, _RUNNER)),
    (
        "Batch duration",
        "s",
        _p(0.95, semconv.METRIC_SPANRUN_BATCH_DURATION.name, _RUNNER),
    ),
)
_WHERE: Final = _board(
    "Where the time goes",
    ("Jobs by phase", "jobs", _rate(_PHASES, _PHASE)),
    (
        "A job's time by phase",
        "s",
        Line(Ask("rate", _PHASES, _PHASE), Ask("rate", _JOBS)),
    ),
    ("Loop lag", "s", *percentiles(semconv.METRIC_SPANRUN_LOOP_LAG.name)),
    (
        "Blocked steps by runner",
        "steps/s",
        _rate(semconv.METRIC_SPANRUN_LOOP_BLOCKED.name, _RUNNER),
    ),
    ("Jobs by process", "jobs", _now(_IN_FLIGHT, _PROCESS)),
    (
        "CPU by process",
        "CPUs",
        _rate(semconv.METRIC_PROCESS_CPU_TIME.name, _PROCESS),
    ),
    (
        "Memory by process",
        "By",
        _now(semconv.METRIC_PROCESS_MEMORY_USAGE.name, _PROCESS),
    ),
    (
        "Open descriptors by process",
        "descriptors",
        _now(semconv.METRIC_PROCESS_OPEN_FILE_DESCRIPTOR_COUNT.name, _PROCESS),
    ),
    (
        "Pauses by the garbage collector",
        "s",
        _p(0.99, semconv.METRIC_SPANRUN_GC_DURATION.name, _GENERATION),
    ),
    (
        "Runs of the garbage collector",
        "runs/s",
        _rate(semconv.METRIC_CPYTHON_GC_COLLECTIONS.name, _GENERATION),
    ),
    (
        "Objects of the garbage collector",
        "objects/s",
        _rate(_FREED, (), name="freed"),
        _rate(_NOT_FREED, (), name="could not be freed"),
    ),
    (
        "Retries by error type",
        "retries/s",
        _rate(semconv.METRIC_SPANRUN_JOB_RETRIES.name, _ERROR),
    ),
    ("p95 by unit", "s", _p(0.95, _UNITS, _UNIT)),
    ("Jobs inside each unit", "jobs", Line(Ask("sum_rate", _UNITS, _UNIT))),
)
_CLIENTS: Final = _board(
    "Clients",
    (
        "Requests by status",
        "requests/s",
        _calls(_HTTP, (*_SERVER, semconv.HTTP_RESPONSE_STATUS_CODE)),
    ),
    ("Failed requests", "share", _failures(_HTTP, _SERVER)),
    ("Latency by server", "s", _p(0.95, _HTTP, _SERVER)),
    (
        "Requests of older instrumentations",
        "requests/s",
        _calls(_OLDER, (*_OLDER_SERVER, "http.status_code")),
    ),
    ("Latency of older instrumentations", "ms", _p(0.95, _OLDER, _OLDER_SERVER)),
    (
        "Calls by model",
        "calls/s",
        _calls(_MODEL_CALL, (*_MODEL, semconv.GEN_AI_OPERATION_NAME)),
    ),
    ("Failed calls", "share", _failures(_MODEL_CALL, _MODEL)),
    ("Latency by model", "s", _p(0.95, _MODEL_CALL, _MODEL)),
    ("Tokens by model", "tokens/s", Line(Ask("sum_rate", _TOKENS, _TOKEN))),
    ("Tokens a call", "tokens", _mean(_TOKENS, _TOKEN)),
    ("Operations", "calls/s", _calls(_STORE, (*_SYSTEM, *_OPERATION))),
    ("Failed operations", "share", _failures(_STORE, _SYSTEM)),
    ("Latency by operation", "s", _p(0.95, _STORE, _OPERATION)),
)
_HEALTH: Final = _board(
    "Telemetry health",
    (
        "Items by result",
        "items/s",
        _rate(_ITEMS, (semconv.SPANRUN_TELEMETRY_RESULT,)),
    ),
    ("Lost by reason", "items/s", _rate(_ITEMS, _WHY, _result("dropped"))),
    ("Spooled by reason", "items/s", _rate(_ITEMS, _WHY, _result("spooled"))),
    (
        "Spool by process",
        "By",
        _now(
            semconv.METRIC_SPANRUN_TELEMETRY_SPOOL_SIZE.name,
            (semconv.SERVICE_INSTANCE_ID,),
        ),
    ),
    (
        "Export requests",
        "s",
        *percentiles(semconv.METRIC_SPANRUN_TELEMETRY_EXPORT_DURATION.name),
    ),
    (
        "Threads that failed",
        "restarts/s",
        _rate(
            semconv.METRIC_SPANRUN_TELEMETRY_THREAD_RESTARTS.name,
            (semconv.THREAD_NAME,),
        ),
    ),
)
BOARDS: Final = (*_RUNS, *_WHERE, *_CLIENTS, *_HEALTH)
"""All panels, in the order in which they are shown."""
