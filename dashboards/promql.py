"""PromQL over the registry's metrics.

A function here takes a metric of `semconv` and attributes of it, and gives an
expression with Grafana's variables in it. An attribute that the metric hasn't, or a
value that the attribute hasn't, is a `ValueError`: so a dashboard can't ask for what
spanrun doesn't send.

A histogram arrives in Prometheus in one of two forms: classic, as `…_bucket`,
`…_sum` and `…_count`, or native, as one series of the bare name. Each expression
asks for both, joined by `or`: the one that isn't there gives nothing.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from spanrun import semconv
from spanrun.semconv import Metric
from spanrun.slo.promql import label, series

RATE: Final = "$__rate_interval"
RANGE: Final = "$__range"

Where = Mapping[str, Sequence[str]]
"""For each attribute the values that are asked for."""

_EVERYWHERE: Final[Where] = {}
_VARIABLES: Final = {
    semconv.SERVICE_NAME: "$service",
    semconv.SPANRUN_RUNNER_NAME: "$runner",
}
_RESOURCE: Final = (semconv.SERVICE_NAME, semconv.SERVICE_INSTANCE_ID)
"""Labels of every metric: Prometheus is told to promote them."""


def legend(*attributes: str) -> str:
    """A legend of these labels' values."""
    return " · ".join(f"{{{{{label(one)}}}}}" for one in attributes)


def select(metric: Metric, where: Where = _EVERYWHERE, suffix: str = "") -> str:
    """The series of ``metric`` for the chosen services and runners."""
    matchers = [
        f'{label(attribute)}=~"{variable}"'
        for attribute, variable in _VARIABLES.items()
        if attribute in (*metric.attributes, *_RESOURCE)
    ]
    for attribute, values in where.items():
        _check(metric, attribute, values)
        matchers.append(f'{label(attribute)}=~"{"|".join(values)}"')
    return f"{series(metric)}{suffix}{{{','.join(matchers)}}}"


def now(metric: Metric, by: Sequence[str] = (), where: Where = _EVERYWHERE) -> str:
    """The value of a gauge or an up-down-counter."""
    return f"{_sum(metric, by)} ({select(metric, where)})"


def highest(metric: Metric, by: Sequence[str]) -> str:
    """The largest value of a gauge, of all processes and runners of these labels."""
    return f"{_sum(metric, by, how='max')} ({select(metric)})"


def lowest(metric: Metric, by: Sequence[str]) -> str:
    """The smallest value of a gauge, of all processes and runners of these labels."""
    return f"{_sum(metric, by, how='min')} ({select(metric)})"


def rate(
    metric: Metric,
    by: Sequence[str] = (),
    where: Where = _EVERYWHERE,
    window: str = RATE,
) -> str:
    """A counter's increase a second."""
    return f"{_sum(metric, by)} (rate({select(metric, where)}[{window}]))"


def total(metric: Metric, by: Sequence[str] = (), where: Where = _EVERYWHERE) -> str:
    """A counter's increase over the time shown: exact, also of a run of a second.

    `increase` guesses what was before the first sample and after the last one.
    Here it is the highest value less that at the beginning, if there was one:
    a counter of spanrun begins at 0 and never falls, for each process has its own.
    """
    counter = select(metric, where)
    highest = f"max_over_time({counter}[{RANGE}])"
    before = f"({counter} offset {RANGE} or {highest} * 0)"
    return f"{_sum(metric, by)} ({highest} - {before})"


def quantile(
    share: float,
    metric: Metric,
    by: Sequence[str] = (),
    where: Where = _EVERYWHERE,
    window: str = RATE,
    *,
    ago: str = "",
) -> str:
    """The value that this share of a histogram's observations is below.

    ``ago``: as it was so long before, such as ``1w``.
    """
    when = f"[{window}] offset {ago}" if ago else f"[{window}]"
    classic = select(metric, where, "_bucket")
    native = select(metric, where)
    return (
        f"histogram_quantile({share}, {_sum(metric, by, 'le')} "
        f"(rate({classic}{when}))) or "
        f"histogram_quantile({share}, {_sum(metric, by)} (rate({native}{when})))"
    )


def heat(metric: Metric, where: Where = _EVERYWHERE) -> str:
    """A histogram's observations a second, for a heat map."""
    classic = select(metric, where, "_bucket")
    native = select(metric, where)
    return f"sum by (le) (rate({classic}[{RATE}])) or sum (rate({native}[{RATE}]))"


def count_rate(
    metric: Metric, by: Sequence[str] = (), where: Where = _EVERYWHERE
) -> str:
    """A histogram's observations a second, all buckets together."""
    classic = select(metric, where, "_count")
    native = select(metric, where)
    return (
        f"{_sum(metric, by)} (rate({classic}[{RATE}])) or "
        f"{_sum(metric, by)} (histogram_count(rate({native}[{RATE}])))"
    )


def sum_rate(metric: Metric, by: Sequence[str] = (), where: Where = _EVERYWHERE) -> str:
    """What a histogram's observations add up to, a second."""
    classic = select(metric, where, "_sum")
    native = select(metric, where)
    return (
        f"{_sum(metric, by)} (rate({classic}[{RATE}])) or "
        f"{_sum(metric, by)} (histogram_sum(rate({native}[{RATE}])))"
    )


def ratio(part: str, whole: str, join: str = "") -> str:
    """``part`` of ``whole``; nothing, and not NaN, where the whole is 0."""
    return f"({part}) / {join}(({whole}) > 0)"


def or_zero(expression: str, like: str) -> str:
    """``expression``; when it has no series at all, 0 if there are any of ``like``."""
    return f"({expression}) or on () (0 * ({like}))"


def or_zeros(expression: str, like: str) -> str:
    """``expression``, and 0 for each series of ``like`` which it lacks."""
    return f"({expression}) or (0 * ({like}))"


def most(count: int, expression: str) -> str:
    """The series of ``expression`` with the largest values."""
    return f"topk({count}, {expression})"


def processes(metric: Metric) -> str:
    """How many processes send ``metric``, for each service."""
    one = label(semconv.SERVICE_INSTANCE_ID)
    service = label(semconv.SERVICE_NAME)
    return f"count by ({service}) (group by ({service}, {one}) ({select(metric)}))"


def _sum(metric: Metric, by: Sequence[str], *more: str, how: str = "sum") -> str:
    for attribute in by:
        _check(metric, attribute, ())
    names = ", ".join((*map(label, by), *more))
    return f"{how} by ({names})" if names else how


def _check(metric: Metric, attribute: str, values: Sequence[str]) -> None:
    if attribute not in (*metric.attributes, *_RESOURCE):
        raise ValueError(f"{metric.name} has no attribute {attribute}")
    known = semconv.VALUES.get(attribute)
    if known is not None and not set(values) <= set(known):
        raise ValueError(f"{attribute}={values}: must be of {', '.join(known)}")
