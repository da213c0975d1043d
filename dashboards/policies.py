"""What policies of runners do: breaker, hedge, rate limit, retry, adaptive limit."""

from collections.abc import Sequence
from typing import Final

from dashboards import panels, places, tables
from dashboards import promql as q
from dashboards.board import Panel
from dashboards.panels import SECONDS, Query, Text, each
from spanrun import semconv

JOBS: Final = semconv.METRIC_SPANRUN_JOBS
ACTIVE: Final = semconv.METRIC_SPANRUN_JOB_ACTIVE
AGE: Final = semconv.METRIC_SPANRUN_RUNNER_QUEUE_AGE
REFUSALS: Final = semconv.METRIC_SPANRUN_JOB_REFUSALS
STATUS: Final = semconv.METRIC_SPANRUN_BREAKER_STATUS
TRANSITIONS: Final = semconv.METRIC_SPANRUN_BREAKER_TRANSITIONS
SENT: Final = semconv.METRIC_SPANRUN_HEDGE_SENT
ENDED: Final = semconv.METRIC_SPANRUN_HEDGE_ENDED
RATE: Final = semconv.METRIC_SPANRUN_RATE_LIMIT_RATE
TOKENS: Final = semconv.METRIC_SPANRUN_RATE_LIMIT_TOKENS
WAITS: Final = semconv.METRIC_SPANRUN_RATE_LIMIT_WAITS
BUDGET: Final = semconv.METRIC_SPANRUN_RETRY_BUDGET
DECISIONS: Final = semconv.METRIC_SPANRUN_LIMIT_DECISIONS

RUNNER: Final = semconv.SPANRUN_RUNNER_NAME
BREAKER: Final = semconv.SPANRUN_BREAKER_STATE
REASON: Final = semconv.SPANRUN_REFUSAL_REASON
RESULT: Final = semconv.SPANRUN_HEDGE_RESULT
DECISION: Final = semconv.SPANRUN_LIMIT_DECISION
QUEUED: Final = {semconv.SPANRUN_JOB_STATE: ("queued",)}
NOT_CLOSED: Final = {BREAKER: ("open", "half_open")}


def queue() -> Sequence[Panel]:
    """Who waits, and for how long."""
    return (
        panels.lines(
            "Jobs that wait by runner",
            Text(
                "Jobs submitted that wait for a slot, for a token, or for a service "
                "that is gone.",
                "a line that grows: jobs come in faster than they end.",
                "*Slots in use by runner* and *Rate limit* tell what they wait for.",
            ),
            each("jobs"),
            Query(q.now(ACTIVE, [RUNNER], QUEUED), q.legend(RUNNER)),
            to=[places.WHERE],
        ),
        panels.lines(
            "Age of the oldest in the queue",
            Text(
                "How long that job has waited which waits longest for a slot or a "
                "token, at the last export.",
                "it grows while jobs end: those of a higher priority go first. It "
                "grows while none ends: all slots are held.",
                "More slots or tokens, if the service bears it; else fewer jobs.",
            ),
            SECONDS,
            Query(q.highest(AGE, [RUNNER]), q.legend(RUNNER)),
            to=[places.WHERE],
        ),
    )


def policies() -> Sequence[Panel]:
    """What each policy has decided."""
    return (*_refusals(), *_second_calls(), *_limits())


def _refusals() -> Sequence[Panel]:
    return (
        panels.lines(
            "Breakers that aren't closed",
            Text(
                "Breakers of open runners that refuse jobs (`open`), or try whether "
                "the service is back (`half_open`). Empty where no runner has one.",
                "anything above 0: that runner's service is down or overloaded.",
                "The errors before it opened are the cause: *Failures by error type*.",
            ),
            each("breakers"),
            Query(
                q.now(STATUS, [RUNNER, BREAKER], NOT_CLOSED), q.legend(RUNNER, BREAKER)
            ),
        ),
        tables.rows(
            "Changes of breakers",
            Text(
                "How often each breaker changed to each state, in the time shown. "
                "Exact.",
                "many to `open`: the service is back for a moment, and down again.",
                "Raise `open_for`; let a lower limit, or an adaptive one, spare it.",
            ),
            each("changes"),
            Query(q.total(TRANSITIONS, [RUNNER, BREAKER])),
            [(RUNNER, "runner"), (BREAKER, "to")],
            "changes",
        ),
        panels.lines(
            "Refused, and why",
            Text(
                "What jobs were refused in a second: a call by an open `breaker`, "
                "another attempt by the `retry_budget`, a second call by the "
                "`hedge_share`, all of it by a `shutdown`.",
                "`breaker`, `retry_budget`: the service fails. `nested`: jobs of a "
                "runner wait for that runner itself.",
                "The job's span says it, in the event `spanrun.job.refused`.",
            ),
            each("refusals/s"),
            Query(
                q.or_zero(q.rate(REFUSALS, [RUNNER, REASON]), q.rate(JOBS)),
                q.legend(RUNNER, REASON),
            ),
        ),
        panels.lines(
            "Retry budget left",
            Text(
                "Retries that the budget of each runner allows from now on. Empty "
                "where no runner has one.",
                "0: errors stand, though another attempt might help.",
                "The service fails more than retries can mend: *Failures by error "
                "type*. Don't raise the budget before you know why.",
            ),
            each("retries"),
            Query(q.lowest(BUDGET, [RUNNER]), q.legend(RUNNER)),
            to=[places.RETRIES],
        ),
    )


def _second_calls() -> Sequence[Panel]:
    return (
        panels.lines(
            "Second calls",
            Text(
                "Second calls a second that a hedge has sent, and what became of "
                "them: one that `won` gave the job its answer. Empty where no runner "
                "has a hedge.",
                "`sent` at the hedge's share all the time: many calls are slow. Hardly "
                "any has `won`: they are load for nothing.",
                "Few win: a higher quantile in `at`, or no hedge. The job's span has "
                "both calls.",
            ),
            each("calls/s"),
            Query(q.rate(SENT, [RUNNER]), f"{q.legend(RUNNER)} sent"),
            Query(q.rate(ENDED, [RUNNER, RESULT]), q.legend(RUNNER, RESULT)),
        ),
        panels.lines(
            "Decisions of adaptive limits",
            Text(
                "How often each limit has changed in a second, and why. `probed` and "
                "`restored` are its measuring. Empty where no limit is adaptive.",
                "`refused`: the service says that it is too much. `slowed`: calls "
                "queue there.",
                "*In flight against the limit* shows where it came to rest.",
            ),
            each("decisions/s"),
            Query(q.rate(DECISIONS, [RUNNER, DECISION]), q.legend(RUNNER, DECISION)),
            to=[places.LIMITS],
        ),
    )


def _limits() -> Sequence[Panel]:
    return (
        panels.lines(
            "Rate limit",
            Text(
                "Tokens a second that the rate limit gives, and that calls have "
                "taken. Runners that share one by its name show all of it each. "
                "Empty where no runner has one.",
                "taken lies on the limit while jobs wait in phase `rate_limit`: the "
                "rate sets the pace. Far below it: something else does.",
                "Larger batches, or a larger quota at the service, and then the rate.",
            ),
            each("tokens/s"),
            Query(q.now(RATE, [RUNNER]), f"{q.legend(RUNNER)} limit"),
            Query(q.rate(TOKENS, [RUNNER]), f"{q.legend(RUNNER)} taken"),
            to=[places.WHERE, places.LIMITS],
        ),
        panels.lines(
            "Tokens waited for",
            Text(
                "Tokens a second that a call had to wait for. How long is the phase "
                "`rate_limit` in *Where the time goes*.",
                "as many as were taken: each call waits.",
                "See *Rate limit*.",
            ),
            each("tokens/s"),
            Query(q.rate(WAITS, [RUNNER]), q.legend(RUNNER)),
            to=[places.WHERE, places.LIMITS],
        ),
    )
