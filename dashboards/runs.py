"""Runs: how many jobs, how fast, how many failed, and is there room?"""

from collections.abc import Sequence
from typing import Final

from grafana_foundation_sdk.models.dashboard import Dashboard

from dashboards import panels, places
from dashboards import promql as q
from dashboards.board import Panel, board
from dashboards.panels import HALF, SECONDS, SHARE, Limits, Query, Text, each
from spanrun import semconv

JOBS: Final = semconv.METRIC_SPANRUN_JOBS
DURATION: Final = semconv.METRIC_SPANRUN_JOB_DURATION
RETRIES: Final = semconv.METRIC_SPANRUN_JOB_RETRIES
ACTIVE: Final = semconv.METRIC_SPANRUN_JOB_ACTIVE
IN_FLIGHT: Final = semconv.METRIC_SPANRUN_RUNNER_IN_FLIGHT
LIMIT: Final = semconv.METRIC_SPANRUN_RUNNER_LIMIT
STUCK: Final = semconv.METRIC_SPANRUN_RUNNER_STUCK
LATE: Final = semconv.METRIC_SPANRUN_JOB_LATE
SIZE: Final = semconv.METRIC_SPANRUN_BATCH_SIZE
BATCH: Final = semconv.METRIC_SPANRUN_BATCH_DURATION

RUNNER: Final = semconv.SPANRUN_RUNNER_NAME
OUTCOME: Final = semconv.SPANRUN_JOB_OUTCOME
STATE: Final = semconv.SPANRUN_JOB_STATE
ERROR: Final = semconv.ERROR_TYPE

BAD: Final = {OUTCOME: ("failed", "timed_out")}
RAN: Final = {OUTCOME: ("ok", "failed", "timed_out")}
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
            ("In the time shown", _numbers()),
            ("Jobs", _jobs()),
            ("Duration", _durations()),
            ("Room", _room()),
            ("Batches", _batches()),
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
            to=[places.HEALTH],
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
            "95 of 100 jobs within",
            Text(
                "The 95th percentile of the time from submission to outcome.",
                "it is well above that of yesterday: set the time shown to both.",
                "*Where the time goes* tells which part has grown; the how-to is "
                "*p95 went up*.",
            ),
            SECONDS,
            Query(q.quantile(0.95, DURATION, window=q.RANGE)),
            to=[places.WHERE],
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
            "Slots in use",
            Text(
                "Jobs in flight as a share of the limit, at the last export.",
                "100 % while jobs wait in phase `limit`. Full without waiting is "
                "what a limit is for.",
                "See *Where the time goes*: a large `limit` means that a higher "
                "limit would help, if the service bears it.",
            ),
            SHARE,
            Query(q.ratio(q.now(IN_FLIGHT), q.now(LIMIT))),
            to=[places.WHERE],
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
        ),
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
                "Open a trace of the type in Jaeger: search for the tag `error.type`.",
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
        panels.rows(
            "Failures",
            Text(
                "How often each error ended a job, in the time shown. Exact.",
                "a type that you don't know, or one that retries should have "
                "caught: it isn't in the `on` of the runner's Retry.",
                "Add it to `on` if another attempt can help; else mend the cause.",
            ),
            each("jobs"),
            Query(q.total(JOBS, [RUNNER, OUTCOME, ERROR], BAD)),
            [(RUNNER, "runner"), (OUTCOME, "outcome"), (ERROR, "error type")],
            "jobs",
        ),
    )


def _durations() -> Sequence[Panel]:
    return (
        panels.lines(
            "Duration",
            Text(
                "Half, 95 and 99 of 100 jobs took less than this, from submission "
                "to outcome. Each diamond is a job: it opens its trace.",
                "p95 and p99 go up while p50 stays: a few are slow (retries, a slow "
                "host, waiting for slots). All three go up: everything is slow.",
                "*Where the time goes* tells which part has grown; the how-to is "
                "*p95 went up*.",
            ),
            SECONDS,
            Query(q.quantile(0.5, DURATION), "p50"),
            Query(q.quantile(0.95, DURATION), "p95", exemplars=True),
            Query(q.quantile(0.99, DURATION), "p99"),
            to=[places.WHERE],
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
        panels.lines(
            "p95 by runner",
            Text(
                "95 of 100 jobs of each runner took less than this.",
                "one runner rises alone: the service it calls. All rise together: "
                "the process, as a blocked event loop.",
                "Choose the runner above; for all of them see the loop's lag in "
                "*Where the time goes*.",
            ),
            SECONDS,
            Query(q.quantile(0.95, DURATION, [RUNNER]), q.legend(RUNNER)),
            width=2 * HALF,
            to=[places.WHERE],
        ),
    )


def _room() -> Sequence[Panel]:
    return (
        panels.lines(
            "In flight against the limit",
            Text(
                "Jobs that hold a slot, and how many slots there are. An adaptive "
                "limit moves.",
                "in flight lies on the limit while jobs wait: the limit is what "
                "slows. The limit falls: an adaptive one found the service slower.",
                "Raise the limit if the service bears it; look at the service if "
                "an adaptive limit fell.",
            ),
            each("jobs"),
            Query(q.now(IN_FLIGHT, [RUNNER]), f"{q.legend(RUNNER)} in flight"),
            Query(q.now(LIMIT, [RUNNER]), f"{q.legend(RUNNER)} limit"),
        ),
        panels.lines(
            "Jobs under way by state",
            Text(
                "Jobs submitted and not ended: queued, running, or backing off "
                "between two attempts.",
                "`backing_off` grows: the service fails. `queued` grows: jobs "
                "come in faster than they end.",
                "For back-off read *Failures by error type*; for the queue, *In "
                "flight against the limit*.",
            ),
            each("jobs"),
            Query(q.now(ACTIVE, [STATE]), q.legend(STATE)),
            stacked=True,
        ),
        panels.lines(
            "Cancelled, and still there",
            Text(
                "Jobs that were cancelled 5 s ago or earlier and have not ended, "
                "abandoned ones included.",
                "anything above 0: such a job swallows its cancellation, or cleans "
                "up for long, and keeps a slot.",
                "The log names the job, and shows where it waits. Let its code "
                "raise `CancelledError`; `abandon_after` bounds the wait.",
            ),
            each("jobs"),
            Query(q.now(STUCK, [RUNNER]), f"{q.legend(RUNNER)} stuck"),
        ),
        panels.lines(
            "Ended after all",
            Text(
                "Jobs that ended in a second after they had been abandoned; their "
                "results were dropped.",
                "many: `abandon_after` is shorter than their clean-up takes.",
                "Raise `abandon_after` of the runner, or shorten the clean-up.",
            ),
            each("jobs/s"),
            Query(q.rate(LATE, [RUNNER]), q.legend(RUNNER)),
        ),
    )


def _batches() -> Sequence[Panel]:
    mean = q.ratio(q.sum_rate(SIZE, [RUNNER]), q.count_rate(SIZE, [RUNNER]))
    return (
        panels.lines(
            "Items in a batch",
            Text(
                "The mean size of the batches of `map_batches`. Empty where no "
                "runner makes batches.",
                "far below the `size` asked for: batches leave half empty, since "
                "`max_wait` is short or items come slowly.",
                "Raise `max_wait`, or accept it: small batches answer sooner.",
            ),
            each("items"),
            Query(mean, q.legend(RUNNER)),
        ),
        panels.lines(
            "Batch duration",
            Text(
                "95 of 100 batches took less than this, from being put together "
                "to their result. Empty where no runner makes batches.",
                "it grows while the size doesn't: the service became slower.",
                "See the service's own latency in *Clients*.",
            ),
            SECONDS,
            Query(q.quantile(0.95, BATCH, [RUNNER]), q.legend(RUNNER), exemplars=True),
            to=[places.CLIENTS],
        ),
    )
