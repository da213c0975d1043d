"""What an on-call engineer asks, where it is answered, and what the answer must be."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, cast

from dashboards.reading import queries

from instrumentation.workload import answers, objectives
from instrumentation.workload.found import Found

Tell: TypeAlias = Callable[[Found], Any]


def _same(value: Any, truth: Any) -> bool:
    """Whether they are equal, numbers to a thousandth."""
    if isinstance(value, Mapping) and isinstance(truth, Mapping):
        mine, other = cast("Mapping[str, Any]", value), cast("Mapping[str, Any]", truth)
        return mine.keys() == other.keys() and all(
            _same(mine[key], other[key]) for key in mine
        )
    if isinstance(value, float | int) and isinstance(truth, float | int):
        return math.isclose(value, truth, rel_tol=1e-3, abs_tol=1e-3)
    return bool(value == truth)


@dataclass(frozen=True)
class Question:
    """A question.

    Attributes:
        section: What it is about.
        text: It itself.
        where: The panel, search or command that answers it.
        value: The answer of the backends.
        truth: What the workload says.
        holds: Whether the one is the other.
    """

    section: str
    text: str
    where: str
    value: Tell
    truth: Tell
    holds: Callable[[Any, Any], bool] = _same


_MOST = 20
"""Pairs of a value that a cell shows; all of them are compared."""


def shown(value: Any) -> str:
    """A value in a cell of a table."""
    if isinstance(value, Mapping):
        pairs = sorted(cast("Mapping[str, Any]", value).items())
        texts = [f"{key}: {shown(each)}" for key, each in pairs[:_MOST]]
        more = [f"and {len(pairs) - _MOST} more"] * (len(pairs) > _MOST)
        return ", ".join([*texts, *more]) or "none"
    if isinstance(value, list | tuple | set):
        return ", ".join(map(shown, cast("list[Any]", value))) or "none"
    if isinstance(value, float):
        return f"{value:.4g}" if value % 1 else f"{value:.0f}"
    return str(value)


def _all(found: Found) -> int:
    del found
    return len(queries())


_FIRST = "What waits, what fails, what blocks"
_POLICIES = "Policies"
_LATENCY = "Latency, clients, the process"
_BOARDS = "Dashboards"
_JAEGER = "From a run to its jobs, and back"
_SLO = "Objectives"
_LOGS = "Logs"


def _answered(when: str) -> Question:
    return Question(
        _BOARDS,
        f"How many queries are answered {when} the workload?",
        "all five boards",
        lambda found: found.answered[when],
        _all,
    )


QUESTIONS: Final[tuple[Question, ...]] = (
    Question(
        _FIRST,
        "Which jobs failed, and of what?",
        "*Runs* → *Failures*",
        lambda found: found.of_ours('spanrun_jobs_total{error_type!=""}', "error_type"),
        lambda found: {
            f"{name} {error}": count
            for name, told in found.truth.items()
            for error, count in told["errors"].items()
        },
    ),
    Question(
        _FIRST,
        "How many seconds did they wait, and for what?",
        "*Where the time goes* → *Time by runner and phase*",
        answers.waits,
        answers.true_waits,
    ),
    Question(
        _FIRST,
        "Which job blocked the loop?",
        "Jaeger: Operation `job fetch`, Min Duration 390 ms, the stack in its event "
        "`spanrun.loop.blocked`",
        answers.blocking,
        lambda found: [f"fetch {found.truth['fetch']['blocked']}"],
    ),
    Question(
        _FIRST,
        "Whose loop is it?",
        "*Where the time goes* → *Guilty runners*",
        lambda found: answers.among(
            found.by("spanrun_loop_blocked_total", "spanrun_runner_name"),
            {"fetch", "block"},
        ),
        lambda _: ["block", "fetch"],
    ),
    Question(
        _FIRST,
        "How many exemplars lead to their trace?",
        "the points in *Duration* → Jaeger",
        lambda found: sum(map(found.has_trace, answers.exemplars(found))),
        lambda found: len(answers.exemplars(found)),
        lambda value, truth: value == truth > 0,
    ),
    Question(
        _POLICIES,
        "In which state is the breaker?",
        "*Runs* → *Breakers that aren't closed*",
        lambda found: [
            row["metric"]["spanrun_breaker_state"]
            for row in found.seen.rows(
                'spanrun_breaker_status{spanrun_runner_name="broken"} == 1'
            )
        ],
        lambda _: ["closed"],
    ),
    Question(
        _POLICIES,
        "How often did it change?",
        "*Runs* → *Changes of breakers*",
        lambda found: answers.last_word(
            found.of_ours("spanrun_breaker_transitions_total", "spanrun_breaker_state")
        ),
        lambda found: found.truth["broken"]["changes"],
    ),
    Question(
        _POLICIES,
        "How many jobs were refused, and why?",
        "*Runs* → *Refused, and why*",
        lambda found: found.of_ours(
            'spanrun_job_refusals_total{spanrun_refusal_reason="breaker"}',
            "spanrun_refusal_reason",
        ),
        lambda found: {
            "broken breaker": found.truth["broken"]["errors"][answers.REFUSED]
        },
    ),
    Question(
        _POLICIES,
        "How many second calls were sent?",
        "*Runs* → *Second calls*",
        lambda found: found.of_ours("spanrun_hedge_sent_total"),
        lambda found: {"hedged": answers.second_calls(found)},
    ),
    Question(
        _POLICIES,
        "What became of them?",
        "*Runs* → *Second calls*: won, lost, cancelled",
        lambda found: sum(
            found.of_ours("spanrun_hedge_ended_total", "spanrun_hedge_result").values()
        ),
        answers.second_calls,
    ),
    Question(
        _POLICIES,
        "What is the rate limit, a second?",
        "*Runs* → *Rate limit*",
        lambda found: found.of_ours("spanrun_rate_limit_rate"),
        lambda found: {"paced": found.truth["paced"]["jobs"] / 4},
    ),
    Question(
        _POLICIES,
        "How much of it was used?",
        "*Runs* → *Rate limit*: taken",
        lambda found: found.of_ours("spanrun_rate_limit_tokens_total"),
        lambda found: {"paced": found.truth["paced"]["calls"]},
    ),
    Question(
        _POLICIES,
        "Who waits for tokens?",
        "*Runs* → *Tokens waited for*",
        lambda found: sorted(
            found.by("spanrun_rate_limit_waits_total", "spanrun_runner_name")
        ),
        lambda _: ["paced", "retried"],
    ),
    Question(
        _POLICIES,
        "How many retries were there, for what?",
        "*Where the time goes* → *Retries by error type*",
        lambda found: found.by(
            'spanrun_job_retries_total{spanrun_runner_name="retried"}', "error_type"
        ),
        lambda _: {"ConnectionResetError": 16},
    ),
    Question(
        _POLICIES,
        "Whose budget of retries was used?",
        "*Runs* → *Retry budget left*",
        lambda found: sorted(
            row["metric"]["spanrun_runner_name"]
            for row in found.seen.rows(
                "min_over_time(spanrun_retry_budget[1h]) "
                "< max_over_time(spanrun_retry_budget[1h])"
            )
            if row["metric"]["spanrun_runner_name"] == "retried"
        ),
        lambda _: ["retried"],
    ),
    Question(
        _POLICIES,
        "Whose limit adapts?",
        "*Runs* → *Decisions of adaptive limits*",
        lambda found: sorted(
            found.by("spanrun_limit_decisions_total", "spanrun_runner_name")
        ),
        lambda _: ["guard"],
    ),
    Question(
        _POLICIES,
        "How many jobs wait at the end, and for how long has the oldest?",
        "*Runs* → *Jobs that wait by runner*, *Age of the oldest in the queue*",
        answers.waiting,
        lambda _: {"jobs": 0, "seconds": 0},
    ),
    Question(
        _POLICIES,
        "How many were cancelled, and are still there?",
        "*Runs* → *Cancelled, and still there*",
        lambda found: sum(
            found.by("spanrun_runner_stuck", "spanrun_runner_name").values()
        ),
        lambda _: 0,
    ),
    Question(
        _POLICIES,
        "Where did a policy change the course of a job?",
        "Jaeger: `error.type=spanrun.errors.CircuitOpen`, event `spanrun.job.refused`",
        lambda found: answers.refused(found, "spanrun.job.refused"),
        lambda found: answers.refused(found, ""),
        lambda value, truth: value == truth > 0,
    ),
    Question(
        _LATENCY,
        "Half of the ok jobs take how long, whatever was refused meanwhile?",
        "*Runs* → *p50 by runner*",
        lambda found: answers.quantiles(found, 0.5),
        lambda found: answers.true_quantiles(found, 0.5),
        answers.in_one_bucket,
    ),
    Question(
        _LATENCY,
        "And the slowest in a hundred?",
        "*Runs* → *p99 by runner*",
        lambda found: answers.quantiles(found, 0.99),
        lambda found: answers.true_quantiles(found, 0.99),
        answers.in_one_bucket,
    ),
    Question(
        _LATENCY,
        "How many took longer than half a second?",
        "*Runs* → *All durations*",
        answers.slow,
        lambda found: found.of_each(
            lambda told: sum(each > 0.5 for each in told["durations"].values())
        ),
    ),
    Question(
        _LATENCY,
        "How many may run at once?",
        "*Runs* → *Each runner*, *In flight against the limit*",
        lambda found: found.of_ours("spanrun_runner_limit"),
        lambda _: {"fetch": 16, "paced": 16, "hedged": 16, "broken": 4},
    ),
    Question(
        _LATENCY,
        "How many requests were answered, by server and port?",
        "*Clients* → *Requests by status*",
        answers.requests,
        answers.true_requests,
    ),
    Question(
        _LATENCY,
        "And those of another library's instrumentation?",
        "*Clients* → *Requests of older instrumentations*",
        lambda found: sum(
            found.by(
                "http_client_duration_milliseconds_count", "net_peer_port"
            ).values()
        ),
        lambda _: 8,
    ),
    Question(
        _LATENCY,
        "What was asked of the store?",
        "*Clients* → *Operations*",
        lambda found: found.by(
            'db_client_operation_duration_seconds_count{db_system_name="sqlite"}',
            "db_operation_name",
        ),
        lambda _: {"search": 8, "upsert": 8},
    ),
    Question(
        _LATENCY,
        "Is the process known: CPU, memory, descriptors, collections?",
        "*Where the time goes* → the panels of the process",
        lambda found: [name for name in answers.PROCESS if found.by(name, "job")],
        lambda _: list(answers.PROCESS),
    ),
    Question(
        _BOARDS,
        "How many panels have data?",
        "all five boards, without the comparison with last week",
        lambda found: len(answers.panels() - answers.empty_panels(found)),
        lambda _: len(answers.panels()),
    ),
    _answered("before"),
    _answered("during"),
    _answered("after"),
    Question(
        _JAEGER,
        "Which jobs of a run failed?",
        "Jaeger: `spanrun.run.id` and `spanrun.job.outcome=failed`",
        lambda found: {
            name: answers.failed_of_run(found, name) for name in ("fetch", "paced")
        },
        lambda found: {
            name: found.truth[name]["failed"] for name in ("fetch", "paced")
        },
    ),
    Question(
        _JAEGER,
        "Which were slow, and how long did they take?",
        "Jaeger: `spanrun.run.id` and `spanrun.job.slow=true`",
        answers.slow_of_run,
        answers.true_slow_of_run,
        lambda value, truth: bool(value) and _same(value, truth),
    ),
    Question(
        _JAEGER,
        "To which run does a failed job belong?",
        "Jaeger: its `spanrun.run.id`, Operation `run fetch`",
        answers.runs_of_failed,
        lambda _: ["fetch"],
    ),
    Question(
        _SLO,
        "Which share of its jobs was bad, by runner?",
        "`slo:bad:increase_1m / slo:total:increase_1m` of `runners-availability`",
        objectives.ratios,
        objectives.true_ratios,
    ),
    Question(
        _SLO,
        "Does the objective over all jobs hold?",
        "`spanrun slo budget --prometheus`: what is left of the budget",
        objectives.budget,
        objectives.true_budget,
    ),
    Question(
        _SLO,
        "Does one over a metric of somebody else's?",
        "`spanrun slo check --prometheus`, `metricSource.type: prometheus`",
        objectives.checked,
        objectives.true_checked,
    ),
    Question(
        _SLO,
        "Whom is one woken for?",
        "`SpanrunErrorBudgetBurns`, severity `page`, by runner",
        lambda found: objectives.burning(found, "page"),
        lambda found: objectives.true_burning(found, "page"),
    ),
    Question(
        _SLO,
        "How many firing alerts say service, runner, budget left and error type, and "
        "link to a run book?",
        "their annotations",
        objectives.telling,
        lambda found: len(objectives.firing(found)),
        lambda value, truth: value == truth > 0,
    ),
    Question(
        _SLO,
        "How many alerts that need no objective are evaluated?",
        "*SLO* → *Alerts firing*",
        objectives.evaluated,
        lambda _: objectives.shipped(),
    ),
    Question(
        _LOGS,
        "Which trace, run, runner and job does each log record belong to?",
        "a Collector: records with all four",
        answers.placed_records,
        lambda found: found.of_each(lambda told: told["warned"]),
    ),
)
