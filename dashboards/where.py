"""Where the time goes: a job's seven phases, the event loop, and the user's units."""

from collections.abc import Sequence
from typing import Final

from grafana_foundation_sdk.models.dashboard import Dashboard

from dashboards import panels, places, tables
from dashboards import promql as q
from dashboards.board import Panel, board
from dashboards.panels import HALF, SECONDS, SHARE, Limits, Query, Text, each
from dashboards.process import processes
from spanrun import semconv

JOBS: Final = semconv.METRIC_SPANRUN_JOBS
PHASES: Final = semconv.METRIC_SPANRUN_JOB_PHASE_TIME
RETRIES: Final = semconv.METRIC_SPANRUN_JOB_RETRIES
LAG: Final = semconv.METRIC_SPANRUN_LOOP_LAG
BLOCKED: Final = semconv.METRIC_SPANRUN_LOOP_BLOCKED
UNITS: Final = semconv.METRIC_SPANRUN_UNIT_DURATION

RUNNER: Final = semconv.SPANRUN_RUNNER_NAME
PHASE: Final = semconv.SPANRUN_JOB_PHASE
UNIT: Final = semconv.SPANRUN_UNIT_NAME
ERROR: Final = semconv.ERROR_TYPE

COLOURS: Final = {
    "service": "green",
    "busy": "blue",
    "queue": "super-light-yellow",
    "limit": "yellow",
    "rate_limit": "orange",
    "backoff": "purple",
    "loop_lag": "red",
}
_EACH: Final = "on () group_left () "
"""Each series of the left is divided by the one of the right."""


def where() -> Dashboard:
    """The dashboard."""
    return board(
        places.WHERE.uid,
        "spanrun · Where the time goes",
        "A job's time is the sum of seven phases. Which one is the largest, and "
        "which one has grown?",
        [
            ("Phases", _phases(), places.P95),
            ("The event loop", _loop(), places.LOOP),
            ("Processes", processes(), places.LOOP),
            ("Retries and units", _rest(), places.P95),
        ],
    )


def _phases() -> Sequence[Panel]:
    what_to_do = (
        "`service`: look into *Clients*. `limit`: a higher limit. `rate_limit`: "
        "larger batches, a larger quota. `backoff`: see *Retries by error type*. "
        "`busy`, `loop_lag`: see *The event loop*. `queue`: the loop is busy too."
    )
    of_all = q.ratio(q.total(PHASES, [PHASE]), q.total(PHASES), _EACH)
    return (
        panels.lines(
            "Jobs by phase",
            Text(
                "How many jobs are in each phase, in the mean: seconds of phase in "
                "a second. The stack's height is the number of jobs under way "
                "(Little's law); a job's time is booked when it ends.",
                "any area but `service` is waiting that the service didn't cause; "
                "whichever has grown is the reason why jobs are slow.",
                what_to_do,
            ),
            each("jobs"),
            Query(q.rate(PHASES, [PHASE]), q.legend(PHASE)),
            stacked=True,
            colours=COLOURS,
            to=[places.RUNS, places.CLIENTS],
        ),
        panels.lines(
            "A job's time by phase",
            Text(
                "What a job's duration is made of, in the mean of those that ended.",
                "the stack grows: jobs became slower, by the phase that grew. The "
                "stack stays while *Jobs by phase* grows: there are more jobs.",
                what_to_do,
            ),
            SECONDS,
            Query(
                q.ratio(q.rate(PHASES, [PHASE]), q.rate(JOBS), _EACH), q.legend(PHASE)
            ),
            stacked=True,
            colours=COLOURS,
            to=[places.RUNS],
        ),
        tables.rows(
            "Share of each phase",
            Text(
                "Where all jobs of the time shown spent their time. Exact.",
                "`service` isn't the first line.",
                what_to_do,
            ),
            SHARE,
            Query(of_all),
            [(PHASE, "phase")],
            "share",
        ),
        tables.rows(
            "Time by runner and phase",
            Text(
                "Seconds that the jobs of the time shown spent, all together. Exact.",
                "the first line is a runner's waiting, not its `service`.",
                "Mend that line first: it is the largest gain there is.",
            ),
            SECONDS,
            Query(q.total(PHASES, [RUNNER, PHASE])),
            [(RUNNER, "runner"), (PHASE, "phase")],
            "time",
        ),
    )


def _loop() -> Sequence[Panel]:
    blocked = q.or_zeros(q.rate(BLOCKED, [RUNNER]), q.rate(JOBS, [RUNNER]))
    times = q.or_zeros(q.total(BLOCKED, [RUNNER]), q.total(JOBS, [RUNNER]))
    return (
        panels.number(
            "Loop lag, 99 of 100",
            Text(
                "99 of 100 callbacks that were due ran no later than this.",
                "above 0.1 s: while the loop is held, no job goes on, no timeout "
                "fires, and every duration grows.",
                "*Blocked steps by runner* tells whose job; the how-to is *the loop "
                "is blocked*.",
            ),
            SECONDS,
            Query(q.quantile(0.99, LAG, window=q.RANGE)),
            Limits(0.05, 0.1),
            width=HALF,
        ),
        panels.number(
            "Blocked steps",
            Text(
                "Steps of jobs that held the event loop for longer than the "
                "threshold (0.1 s), in the time shown. Exact.",
                "1 and more. Each is on its job's span, with the stack of the code "
                "that held the loop.",
                "In Jaeger, open a trace of the runner below: event "
                "`spanrun.loop.blocked`. Move that code to a thread.",
            ),
            each("steps"),
            Query(q.or_zero(q.total(BLOCKED), q.total(JOBS))),
            Limits(1, 10),
            width=HALF,
        ),
        panels.lines(
            "Loop lag",
            Text(
                "How late the event loop runs what is due, over all processes.",
                "p99 above 0.1 s is one blocking call now and then. p50 above 10 ms "
                "is a process that has no CPU left.",
                "For p99 see *Blocked steps by runner*. For p50 give it a second "
                "process, or less to do.",
            ),
            SECONDS,
            Query(q.quantile(0.5, LAG), "p50"),
            Query(q.quantile(0.95, LAG), "p95"),
            Query(q.quantile(0.99, LAG), "p99"),
        ),
        panels.heat(
            "All lags",
            Text(
                "How late the event loop ran what was due, over time.",
                "a band above 0.1 s at regular times is a periodic task that blocks.",
                "Compare its rhythm with your schedules; then the blocked steps.",
            ),
            SECONDS,
            each("callbacks/s"),
            Query(q.heat(LAG), "{{le}}"),
        ),
        panels.lines(
            "Blocked steps by runner",
            Text(
                "Steps a second that held the event loop for longer than the "
                "threshold, by the runner whose job it was.",
                "any. The runner named here is guilty; `loop_lag` of the others is "
                "the damage.",
                "The how-to is *the loop is blocked*.",
            ),
            each("steps/s"),
            Query(blocked, q.legend(RUNNER)),
        ),
        tables.rows(
            "Guilty runners",
            Text(
                "How often jobs of each runner blocked the loop, in the time shown.",
                "a runner with more than 0.",
                "`asyncio.to_thread` around the call that the span's event shows.",
            ),
            each("steps"),
            Query(times),
            [(RUNNER, "runner")],
            "blocked steps",
        ),
    )


def _rest() -> Sequence[Panel]:
    return (
        panels.lines(
            "Retries by error type",
            Text(
                "Attempts a second that were made because of each error.",
                "a type that rises: the service refuses or breaks. Its waiting is "
                "`backoff` above.",
                "429 and `Retry-After`: ask for less at once. 503, timeouts: the "
                "service is overloaded. Both are in *Clients*.",
            ),
            each("retries/s"),
            Query(q.or_zero(q.rate(RETRIES, [ERROR]), q.rate(JOBS)), q.legend(ERROR)),
            to=[places.CLIENTS, places.RETRIES],
        ),
        panels.lines(
            "p95 by unit",
            Text(
                "95 of 100 took less than this in each `unit` of your own code. "
                "Empty where none is opened.",
                "one unit grows: the part of the job that became slow.",
                "Open its exemplar: the diamond is a trace.",
            ),
            SECONDS,
            Query(q.quantile(0.95, UNITS, [UNIT]), q.legend(UNIT), exemplars=True),
        ),
        panels.lines(
            "Jobs inside each unit",
            Text(
                "How many are in each `unit` at one time, in the mean.",
                "one unit takes most of `service` or `busy` above: it is the part "
                "to make faster.",
                "Split it into smaller units to see inside.",
            ),
            each("jobs"),
            Query(q.sum_rate(UNITS, [UNIT]), q.legend(UNIT)),
            stacked=True,
            width=2 * HALF,
        ),
    )
