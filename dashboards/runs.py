"""Runs: how many jobs, how fast, how many failed, and is there room?"""

from collections.abc import Sequence
from typing import Final

from grafana_foundation_sdk.models.dashboard import Dashboard

from dashboards import panels, places, tables
from dashboards import promql as q
from dashboards.board import Panel, board
from dashboards.panels import (
    COUNT,
    SECONDS,
    SHARE,
    THIRD,
    Limits,
    Query,
    Search,
    Text,
    each,
)
from dashboards.policies import policies, queue
from dashboards.room import batches, room, slots
from dashboards.tables import Column
from spanrun import semconv

JOBS: Final = semconv.METRIC_SPANRUN_JOBS
DURATION: Final = semconv.METRIC_SPANRUN_JOB_DURATION
PHASES: Final = semconv.METRIC_SPANRUN_JOB_PHASE_TIME
RETRIES: Final = semconv.METRIC_SPANRUN_JOB_RETRIES
ACTIVE: Final = semconv.METRIC_SPANRUN_JOB_ACTIVE

RUNNER: Final = semconv.SPANRUN_RUNNER_NAME
OUTCOME: Final = semconv.SPANRUN_JOB_OUTCOME
ERROR: Final = semconv.ERROR_TYPE
PHASE: Final = semconv.SPANRUN_JOB_PHASE
SERVICE: Final = semconv.SERVICE_NAME

BAD: Final = {OUTCOME: ("failed", "timed_out")}
RAN: Final = {OUTCOME: ("ok", "failed", "timed_out")}
OK: Final = {OUTCOME: ("ok",)}
NO_RESULT: Final = {OUTCOME: ("failed", "timed_out", "cancelled")}
COLOURS: Final = {
    "ok": "green",
    "failed": "red",
    "timed_out": "orange",
    "cancelled": "purple",
    "skipped": "blue",
}


def runs() -> Dashboard:
    """The dashboard."""
    return board(
        places.RUNS.uid,
        "spanrun · Runs",
        "Start here: are jobs ending well, how long do they take, is there room?",
        [
            ("In the time shown", _numbers(), places.ERRORS),
            ("Runners", [_runners()], places.P95),
            ("Jobs", _jobs(), places.ERRORS),
            ("Duration", _durations(), places.P95),
            ("Room", [*room(), *queue()], places.STAND_STILL),
            ("Policies", policies(), places.SERVICE),
            ("Batches", batches(), places.BATCHES),
        ],
    )


def _numbers() -> Sequence[Panel]:
    failed = q.ratio(q.total(JOBS, where=BAD), q.total(JOBS, where=RAN))
    retries = q.or_zero(q.total(RETRIES), q.total(JOBS))
    return (
        panels.number(
            "Jobs ended",
            Text(
                "All jobs that ended in the time shown, however they ended. Exact, "
                "also for a run of a second.",
                "0 while work is due: nothing is running, or no telemetry arrives.",
                "See whether processes report at all, in *Telemetry health*.",
            ),
            each("jobs"),
            Query(q.total(JOBS)),
            to=[places.HEALTH, places.STAND_STILL],
        ),
        panels.number(
            "Failed",
            Text(
                "The share of jobs that raised or ran out of time. Cancelled and "
                "skipped ones are left out.",
                "above 1 %: callers see errors, and an error budget of 1 % is spent "
                "faster than it grows.",
                "*Failures by error type* below tells which; the how-to is "
                "*errors burn the budget*.",
            ),
            SHARE,
            Query(failed),
            Limits(0.01, 0.05),
            to=[places.SLO],
        ),
        panels.number(
            "95 of 100 ok jobs within",
            Text(
                "The 95th percentile of the time from submission to result. Jobs "
                "without one are left out: refused ones are quick.",
                "it is well above that of yesterday: set the time shown to both.",
                "*Where the time goes* tells which part has grown; the how-to is "
                "*p95 went up*.",
            ),
            SECONDS,
            Query(q.quantile(0.95, DURATION, where=OK, window=q.RANGE)),
            to=[places.WHERE, places.P95],
        ),
        panels.number(
            "Retries a job",
            Text(
                "Attempts after the first one, in the mean.",
                "above 0.1: the service refuses or breaks often, and each retry is "
                "load on it. Above 0.5 the retries may be what keeps it down.",
                "See the error types in *Where the time goes*; lower the limit, or "
                "let an adaptive one find it.",
            ),
            each("retries/job"),
            Query(q.ratio(retries, q.total(JOBS))),
            Limits(0.1, 0.5),
            to=[places.WHERE],
        ),
        panels.number(
            "Fullest runner",
            Text(
                "Jobs in flight as a share of the limit, at the last export, of the "
                "runner where it is highest.",
                "100 % while jobs wait in phase `limit`. Full without waiting is "
                "what a limit is for.",
                "*Slots in use by runner* names it. A large `limit` in *Where the "
                "time goes* means that a higher limit would help, if the service "
                "bears it.",
            ),
            SHARE,
            Query(f"max ({slots()})"),
            to=[places.WHERE, places.STAND_STILL],
        ),
        panels.number(
            "Jobs under way",
            Text(
                "Jobs submitted and not ended, at the last export.",
                "it stays above 0 while *Jobs ended* stands still: jobs hang.",
                "Give the runner a total timeout; the trace of a hanging job ends "
                "where it hangs.",
            ),
            each("jobs"),
            Query(q.now(ACTIVE)),
            to=[places.STAND_STILL],
        ),
    )


def _failed() -> str:
    """The share of each runner's jobs that failed, in the time shown."""
    return q.ratio(q.total(JOBS, [RUNNER], BAD), q.total(JOBS, [RUNNER], RAN))


def _runners() -> Panel:
    jobs, phases = q.total(JOBS, [RUNNER]), q.total(PHASES, [RUNNER])
    retries = q.or_zeros(q.total(RETRIES, [RUNNER]), jobs)
    return tables.compared(
        "Each runner",
        Text(
            "What the jobs of each runner did in the time shown; durations are of "
            "those with a result. Click a runner to see it alone.",
            "the first lines: most failed, then slowest. A p99 far above the p95: a "
            "few are slow the whole time.",
            "The largest share of phase but `service` is what to change: see *Where "
            "the time goes*.",
        ),
        [(RUNNER, "runner")],
        (
            Column("jobs/s", COUNT, q.rate(JOBS, [RUNNER], window=q.RANGE)),
            Column("failed", SHARE, _failed(), Limits(0.01, 0.05)),
            *(
                Column(
                    f"p{percent}",
                    SECONDS,
                    q.quantile(percent / 100, DURATION, [RUNNER], OK, q.RANGE),
                )
                for percent in (50, 95, 99)
            ),
            Column("retries/job", COUNT, q.ratio(retries, jobs), Limits(0.1, 0.5)),
            Column("slots in use", SHARE, slots()),
            *(
                Column(
                    phase,
                    SHARE,
                    q.ratio(q.total(PHASES, [RUNNER], {PHASE: (phase,)}), phases),
                )
                for phase in semconv.SPANRUN_JOB_PHASE_VALUES
            ),
        ),
        ["failed", "p99"],
        [places.RUNS, places.WHERE],
    )


def _jobs() -> Sequence[Panel]:
    return (
        panels.lines(
            "Jobs by outcome",
            Text(
                "Jobs that ended in a second, by outcome.",
                "red or orange areas, or a fall of the whole while work is due.",
                "For errors see the panel beside; for a fall see *Room* below.",
            ),
            each("jobs/s"),
            Query(q.rate(JOBS, [OUTCOME]), q.legend(OUTCOME)),
            stacked=True,
            colours=COLOURS,
        ),
        panels.lines(
            "Failures by error type",
            Text(
                "Jobs that failed or timed out in a second, by the class of the "
                "last error. A series without a name is the zero that each runner "
                "begins with.",
                "any steady line. One type that jumps is one cause; many that rise "
                "together are a service or a network that is down.",
                "The table *Failures* leads to the traces of each type.",
            ),
            each("jobs/s"),
            Query(q.rate(JOBS, [ERROR], BAD), q.legend(ERROR)),
        ),
        panels.lines(
            "Failed share by runner",
            Text(
                "The share of jobs that failed or timed out, for each runner. There "
                "is no line while a runner idles.",
                "one runner above the others: its service is the cause. All of them: "
                "what they share, as network, credentials, a release.",
                "Choose that runner above, and read *Failures by error type*.",
            ),
            SHARE,
            Query(
                q.ratio(q.rate(JOBS, [RUNNER], BAD), q.rate(JOBS, [RUNNER], RAN)),
                q.legend(RUNNER),
            ),
            to=[places.SLO],
        ),
        tables.rows(
            "Failures",
            Text(
                "How often each error ended a job, in the time shown. Exact. Click "
                "an error type or a runner for its traces in Jaeger.",
                "a type that you don't know, or one that retries should have "
                "caught: it isn't in the `on` of the runner's Retry.",
                "Add it to `on` if another attempt can help; else mend the cause.",
            ),
            each("jobs"),
            Query(q.total(JOBS, [SERVICE, RUNNER, OUTCOME, ERROR], BAD)),
            [
                (SERVICE, "service"),
                (RUNNER, "runner"),
                (OUTCOME, "outcome"),
                (ERROR, "error type"),
            ],
            "jobs",
            searches=[
                Search("Traces with this error", ERROR),
                Search("Traces of this runner", RUNNER),
            ],
        ),
    )


def _durations() -> Sequence[Panel]:
    return (
        panels.lines(
            "Duration",
            Text(
                "Half, 95 and 99 of 100 jobs with a result took less than this, from "
                "submission on; the last curve is the same a week before. Each "
                "diamond is a job: it opens its trace.",
                "p95 and p99 go up while p50 stays: a few are slow (retries, a slow "
                "host, waiting for slots). All three go up: everything is slow.",
                "*Where the time goes* tells which part has grown; the how-to is "
                "*p95 went up*.",
            ),
            SECONDS,
            Query(q.quantile(0.5, DURATION, where=OK), "p50"),
            Query(q.quantile(0.95, DURATION, where=OK), "p95", exemplars=True),
            Query(q.quantile(0.99, DURATION, where=OK), "p99"),
            Query(q.quantile(0.95, DURATION, where=OK, ago="1w"), "p95 a week ago"),
            to=[places.WHERE],
        ),
        panels.lines(
            "Duration without a result",
            Text(
                "95 of 100 jobs that failed, ran out of time or were cancelled took "
                "less than this.",
                "failures as slow as the timeout: each holds a slot for so long. "
                "Failures in no time: a breaker is open, or the service refuses.",
                "For slow ones shorten the timeout of an attempt; for quick ones see "
                "*Failures by error type*.",
            ),
            SECONDS,
            Query(q.quantile(0.95, DURATION, [OUTCOME], NO_RESULT), q.legend(OUTCOME)),
            colours=COLOURS,
        ),
        panels.heat(
            "All durations",
            Text(
                "How many jobs took how long, over time. Each diamond is a job: it "
                "opens its trace.",
                "a second band above the first: two kinds of jobs, or retries. A "
                "band that climbs: a queue that grows.",
                "Open a diamond in the upper band, and one in the lower; compare.",
            ),
            SECONDS,
            each("jobs/s"),
            Query(q.heat(DURATION), "{{le}}", exemplars=True),
        ),
        tables.rows(
            "Slowest runners",
            Text(
                "99 of 100 jobs of each runner with a result took less than this, in "
                "the time shown.",
                "a runner that you don't expect.",
                "Click it for its slow jobs' traces in Jaeger.",
            ),
            SECONDS,
            Query(
                q.most(10, q.quantile(0.99, DURATION, [SERVICE, RUNNER], OK, q.RANGE))
            ),
            [(SERVICE, "service"), (RUNNER, "runner")],
            "p99",
            searches=[Search("Slow jobs of this runner", RUNNER, slow=True)],
        ),
        *(_by_runner(percent) for percent in (50, 95, 99)),
    )


def _by_runner(percent: int) -> Panel:
    return panels.lines(
        f"p{percent} by runner",
        Text(
            f"{percent} of 100 jobs of each runner with a result took less than this.",
            "one runner rises alone: the service it calls. All rise together: "
            "the process, as a blocked event loop. p99 alone: a few of its jobs.",
            "Choose the runner above; for all of them see the loop's lag in "
            "*Where the time goes*.",
        ),
        SECONDS,
        Query(q.quantile(percent / 100, DURATION, [RUNNER], OK), q.legend(RUNNER)),
        width=THIRD,
        to=[places.WHERE],
    )
