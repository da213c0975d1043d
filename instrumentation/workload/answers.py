"""Answers to those questions that take more than one line."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any, Final

from dashboards.reading import queries

from instrumentation.workload.found import Found
from spanrun import semconv

REFUSED: Final = "spanrun.errors.CircuitOpen"
PROCESS: Final = (
    "process_cpu_time_seconds_total",
    "process_memory_usage_bytes",
    "process_open_file_descriptor_count",
    "cpython_gc_collections_total",
    "spanrun_gc_duration_seconds_count",
)
_BOUNDS: Final = semconv.METRIC_SPANRUN_JOB_DURATION.boundaries
_BUCKETS: Final = 'spanrun_job_duration_seconds_bucket{spanrun_job_outcome="ok"'
_HOLD: Final = "390ms"


def among(found: Mapping[str, float], names: Collection[str]) -> list[str]:
    """Which of the names are there."""
    return sorted(found.keys() & names)


def last_word(found: Mapping[str, float]) -> dict[str, float]:
    """By the last of the labels alone."""
    return {name.rpartition(" ")[2]: value for name, value in found.items()}


def waits(found: Found) -> dict[str, float]:
    """Seconds by runner and phase."""
    rows = found.of_ours("spanrun_job_phase_time_seconds_total", "spanrun_job_phase")
    return {name: round(value, 2) for name, value in sorted(rows.items()) if value > 1}


def true_waits(found: Found) -> dict[str, float]:
    """The same, as the outcomes say."""
    told = {
        f"{name} {phase}": round(spent, 2)
        for name, each in found.truth.items()
        for phase, spent in each["phases"].items()
        if spent > 1
    }
    return dict(sorted(told.items()))


def blocking(found: Found) -> list[str]:
    """Runner and index of the jobs that held the loop, by the stack of the event."""
    spans = found.spans("job fetch", _HOLD)
    return sorted(
        f"fetch {span.place}"
        for span in spans
        if "time.sleep"
        in span.events.get(semconv.EVENT_SPANRUN_LOOP_BLOCKED, {}).get(
            semconv.SPANRUN_LOOP_BLOCKED_STACK, ""
        )
    )


def exemplars(found: Found) -> set[str]:
    """The traces that points of durations lead to."""
    rows = found.seen.api(
        "query_exemplars",
        query="spanrun_job_duration_seconds_bucket",
        start=found.seen.start,
        end=found.seen.end + 1,
    )
    return {
        exemplar["labels"]["trace_id"]
        for series in rows
        for exemplar in series["exemplars"]
    }


def second_calls(found: Found) -> int:
    """How many `hedged` has sent; some are cancelled before they begin."""
    return int(found.truth["hedged"]["hedges"])


def waiting(found: Found) -> dict[str, float]:
    """What waits at the end."""
    queued = found.seen.now('sum(spanrun_job_active{spanrun_job_state="queued"})')
    age = found.seen.now("max(spanrun_runner_queue_age_seconds)")
    return {"jobs": max(queued.values()), "seconds": max(age.values())}


def refused(found: Found, event: str) -> int:
    """How many jobs were refused, of those that Jaeger has; with such an event."""
    spans = found.spans("job broken", **{semconv.ERROR_TYPE: REFUSED})
    return sum(not event or event in span.events for span in spans)


def quantiles(found: Found, share: float) -> dict[str, float]:
    """How long the ok jobs of each runner took, from the buckets of the histogram."""
    by = "sum by (spanrun_runner_name, le)"
    rows = found.seen.rows(
        f"histogram_quantile({share}, {by} (max_over_time({_BUCKETS}}}[1h])))"
    )
    told = {row["metric"]["spanrun_runner_name"]: row["value"][1] for row in rows}
    return {name: float(told[name]) for name in found.truth}


def true_quantiles(found: Found, share: float) -> dict[str, float]:
    """The same, from the durations themselves."""

    def quantile(told: Mapping[str, Any]) -> float:
        durations = sorted(told["durations"].values())
        return float(durations[math.ceil(share * len(durations)) - 1])

    return found.of_each(quantile)


def in_one_bucket(value: Mapping[str, float], truth: Mapping[str, float]) -> bool:
    """Whether each is as near as the histogram's buckets allow."""
    return value.keys() == truth.keys() and all(
        bisect_left(_BOUNDS, value[name] * (1 - 1e-9))
        == bisect_left(_BOUNDS, truth[name])
        for name in value
    )


def slow(found: Found) -> dict[str, float]:
    """How many ok jobs are above the bucket of half a second."""
    total = found.of_ours(f'{_BUCKETS},le="+Inf"}}')
    quick = found.of_ours(f'{_BUCKETS},le="0.5"}}')
    return {name: total[name] - quick.get(name, 0) for name in found.truth}


def requests(found: Found) -> dict[str, float]:
    """Requests to the services that got an answer, by server and port."""
    port = found.truth["fetch"]["port"]
    return found.by(
        f'http_client_request_duration_seconds_count{{server_port="{port}",'
        'http_response_status_code!=""}',
        "server_address",
        "server_port",
    )


def true_requests(found: Found) -> dict[str, float]:
    """The same; the slower one of two that race is left alone, unanswered."""
    told = found.truth
    again = told["hedged"]["calls"] - told["hedged"]["jobs"]
    called = sum(each["calls"] for each in told.values()) - again
    return {f"127.0.0.1 {told['fetch']['port']}": called}


def panels() -> set[str]:
    """Each panel of each board; the comparison with last week needs one."""
    return {
        f"{asked.board} / {asked.panel}"
        for asked in queries()
        if "offset 1w" not in asked.expr
    }


def empty_panels(found: Found) -> set[str]:
    """Those where a query finds nothing."""
    return {
        f"{asked.board} / {asked.panel}"
        for asked in queries()
        if "offset 1w" not in asked.expr and not found.seen.has_data(asked)
    }


def run_of(found: Found, runner: str) -> str:
    """The id of a runner's run."""
    (run,) = found.spans(f"run {runner}")
    return run.tags[semconv.SPANRUN_RUN_ID]


def failed_of_run(found: Found, runner: str) -> list[int]:
    """The jobs of a runner's run that failed."""
    asked = {
        semconv.SPANRUN_RUN_ID: run_of(found, runner),
        semconv.SPANRUN_JOB_OUTCOME: "failed",
    }
    return sorted(span.place for span in found.spans(f"job {runner}", **asked))


def slow_of_run(found: Found) -> dict[str, float]:
    """The slow jobs of the run of `paced`, and their seconds."""
    asked = {
        semconv.SPANRUN_RUN_ID: run_of(found, "paced"),
        semconv.SPANRUN_JOB_SLOW: "true",
        semconv.SPANRUN_JOB_OUTCOME: "ok",
    }
    spans = found.spans("job paced", **asked)
    return {str(span.place): round(span.seconds, 3) for span in spans}


def true_slow_of_run(found: Found) -> dict[str, float]:
    """What the outcomes say of these."""
    durations = found.truth["paced"]["durations"]
    return {index: round(durations[index], 3) for index in slow_of_run(found)}


def runs_of_failed(found: Found) -> list[str]:
    """The runners of the runs that the failed jobs of `fetch` name."""
    failed = found.spans("job fetch", **{semconv.SPANRUN_JOB_OUTCOME: "failed"})
    runs = {span.tags[semconv.SPANRUN_RUN_ID] for span in failed}
    return [
        span.tags[semconv.SPANRUN_RUNNER_NAME]
        for run in runs
        for span in found.spans("run fetch", **{semconv.SPANRUN_RUN_ID: run})
    ]


def placed_records(found: Found) -> dict[str, int]:
    """Log records that say trace, run, runner and job, by runner."""
    placed: Counter[str] = Counter()
    for body, attributes, trace in found.records():
        says = [
            f"-> {name}: "
            for name in (
                semconv.SPANRUN_RUN_ID,
                semconv.SPANRUN_RUNNER_NAME,
                semconv.SPANRUN_JOB_INDEX,
            )
        ]
        if " answers " in body and trace and all(each in attributes for each in says):
            placed[body.split("/")[3]] += 1
    return dict(placed)
