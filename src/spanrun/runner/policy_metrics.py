"""What the metrics of a runner say of its policies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from spanrun import semconv
from spanrun.policies.adaptive import AdaptiveLimit
from spanrun.policies.base import Layer, LayerName
from spanrun.policies.breaker import Circuit
from spanrun.policies.limit import Slots
from spanrun.policies.outage import Outage
from spanrun.policies.rate import Gate
from spanrun.policies.retry import Retrier
from spanrun.telemetry.metrics.policies import Reading

if TYPE_CHECKING:
    from spanrun.runner.core import Policies

_REFUSALS = semconv.METRIC_SPANRUN_JOB_REFUSALS


def counted(policies: Policies) -> Iterator[Reading]:
    """Each series of which something is counted, where ``policies`` are given."""
    if policies.breaker is not None:
        yield Reading(_REFUSALS, "breaker")
        for state in semconv.SPANRUN_BREAKER_STATE_VALUES:
            yield Reading(semconv.METRIC_SPANRUN_BREAKER_TRANSITIONS, state)
    if policies.hedge is not None:
        yield Reading(_REFUSALS, "hedge_share")
        yield Reading(semconv.METRIC_SPANRUN_HEDGE_SENT)
        for result in semconv.SPANRUN_HEDGE_RESULT_VALUES:
            yield Reading(semconv.METRIC_SPANRUN_HEDGE_ENDED, result)
    if policies.retry is not None and policies.retry.budget is not None:
        yield Reading(_REFUSALS, "retry_budget")
    if isinstance(policies.limit, AdaptiveLimit):
        for decision in semconv.SPANRUN_LIMIT_DECISION_VALUES:
            yield Reading(semconv.METRIC_SPANRUN_LIMIT_DECISIONS, decision)


def readings(layers: Mapping[LayerName, Layer]) -> dict[Reading, float]:
    """What the ``layers`` of a runner say at this moment; from any thread."""
    found: dict[Reading, float] = {}
    gate, retrier = layers.get("token"), layers.get("retry")
    circuit = layers.get("breaker")
    if isinstance(gate, Gate) and gate.rate is not None:
        rate = gate.rate.rate / gate.rate.per
        found[Reading(semconv.METRIC_SPANRUN_RATE_LIMIT_RATE)] = rate
        found[Reading(semconv.METRIC_SPANRUN_RATE_LIMIT_TOKENS)] = gate.taken
        found[Reading(semconv.METRIC_SPANRUN_RATE_LIMIT_WAITS)] = gate.waited
    if isinstance(retrier, Retrier) and retrier.has_budget:
        found[Reading(semconv.METRIC_SPANRUN_RETRY_BUDGET)] = retrier.left
    if isinstance(circuit, Circuit):
        for state in semconv.SPANRUN_BREAKER_STATE_VALUES:
            status = Reading(semconv.METRIC_SPANRUN_BREAKER_STATUS, state)
            found[status] = circuit.state == state
    return found


def queue_age(layers: Mapping[LayerName, Layer], slots: Slots, now: float) -> float:
    """Seconds that the job has waited for its turn that waits longest."""
    others = (layers.get("token"), layers.get("outage"))
    lines = (slots, *(each for each in others if isinstance(each, Gate | Outage)))
    return max(line.age(now) for line in lines)
