"""The indicator of an objective: which of spanrun's events count, and which are good.

A metric source of ``type: spanrun`` names a metric of the registry and, under
``where``, values of its attributes:

    spec:
      metric: spanrun.jobs
      where:
        spanrun.runner.name: embed                 # this value
        spanrun.job.outcome: [failed, timed_out]   # one of these
        error.type: {not: [KeyError]}              # none of these
        # error.type: {present: true}              # any value, or {present: false}
"""

from __future__ import annotations

from typing import Final

from spanrun import semconv
from spanrun.semconv import Metric
from spanrun.slo.document import Part
from spanrun.slo.model import Availability, Latency, Match, Queried, Where
from spanrun.slo.queried import is_queried, queried

RESOURCE: Final = (
    semconv.SERVICE_NAME,
    semconv.SERVICE_VERSION,
    semconv.SERVICE_INSTANCE_ID,
)
"""Attributes of every metric, where the server is told to promote them to labels."""

METRICS: Final = {
    metric.name: metric
    for metric in semconv.METRICS
    if metric.instrument in ("counter", "histogram")
}
"""Those that count events."""

_TYPE: Final = "spanrun"


def availability(ratio: Part) -> Availability | Queried:
    """Read a ``ratioMetric``."""
    if is_queried(ratio):
        return queried(ratio)
    fields = ratio.fields("counter", "good", "bad", "total")
    counter = required(ratio, fields, "counter")
    if not counter.flag():
        raise counter.wrong("is false", "spanrun's metrics are counters, write true")
    parts = [fields[name] for name in ("good", "bad") if name in fields]
    if len(parts) != 1:
        raise ratio.wrong("needs either good or bad", "write one of them")
    (part,) = parts
    metric, total, _ = _source(required(ratio, fields, "total"))
    of, where, _ = _source(part)
    if of != metric:
        raise part.wrong(
            f"counts {of.name}, total counts {metric.name}", "name the same metric"
        )
    for match in total:
        if not any(_narrower(each, match) for each in where):
            raise part.wrong(
                f"has events that total leaves out by {match.attribute}",
                "it must be a part of total, repeat what total asks of that attribute",
            )
    return Availability(metric, total, where, part_is_bad="bad" in fields)


def latency(threshold: Part, value: Part) -> Latency:
    """Read a ``thresholdMetric`` with the threshold of its objective."""
    metric, where, native = _source(threshold, may_be_native=True)
    if metric.instrument != "histogram":
        raise threshold.wrong(
            f"counts {metric.name}, a {metric.instrument}",
            "a threshold needs a histogram, as spanrun.job.duration is one",
        )
    limit = value.number()
    if limit <= 0:
        raise value.wrong(f"is {limit:g}", "it must be above 0")
    if not native and limit not in metric.boundaries:
        raise value.wrong(
            f"is {limit:g}, where no bucket of {metric.name} ends",
            f"use {_nearest(metric, limit)}, or let the source say histogram=native",
        )
    return Latency(metric, where, limit, native)


def required(whole: Part, fields: dict[str, Part], name: str) -> Part:
    """A field that must be there."""
    if name not in fields:
        raise whole.wrong(f"has no {name}", "add it")
    return fields[name]


def _source(holder: Part, *, may_be_native: bool = False) -> tuple[Metric, Where, bool]:
    inner = required(holder, holder.fields("metricSource"), "metricSource")
    fields = inner.fields("type", "spec")
    required(inner, fields, "type").word(_TYPE)
    spec = required(inner, fields, "spec")
    known = ("metric", "where", "histogram") if may_be_native else ("metric", "where")
    fields = spec.fields(*known)
    name = required(spec, fields, "metric")
    metric = METRICS.get(name.text())
    if metric is None:
        raise name.wrong(
            f"is {name.text()!r}, which counts no events of spanrun",
            f"use one of {', '.join(METRICS)}",
        )
    native = False
    if "histogram" in fields:
        native = fields["histogram"].word("classic", "native") == "native"
    where = tuple(
        _match(metric, attribute, part)
        for attribute, part in (fields["where"].pairs() if "where" in fields else ())
    )
    return metric, where, native


def _match(metric: Metric, attribute: str, part: Part) -> Match:
    if attribute not in (*metric.attributes, *RESOURCE):
        raise part.wrong(
            f"is no attribute of {metric.name}",
            f"use one of {', '.join((*metric.attributes, *RESOURCE))}",
        )
    if not part.is_mapping:
        return Match(attribute, _values(attribute, part))
    fields = part.fields("not", "present")
    if len(fields) != 1:
        raise part.wrong("needs either not or present", "write one of them")
    if "not" in fields:
        return Match(attribute, _values(attribute, fields["not"]), negated=True)
    return Match(attribute, ("",), negated=fields["present"].flag())


def _values(attribute: str, part: Part) -> tuple[str, ...]:
    values = part.items() if part.is_list else [part]
    if not values:
        raise part.wrong("is empty", "name at least one value")
    allowed = semconv.VALUES.get(attribute)
    for each in values:
        value = each.value()
        if not value or (allowed is not None and value not in allowed):
            raise each.wrong(
                f"is {value!r}",
                f"use one of {', '.join(allowed)}" if allowed else "name a value",
            )
    return tuple(each.value() for each in values)


def _narrower(inner: Match, outer: Match) -> bool:
    """Whether what ``inner`` accepts is accepted by ``outer``, for sure."""
    if inner.attribute != outer.attribute:
        return False
    if inner.negated:
        return outer.negated and set(outer.values) <= set(inner.values)
    return all(map(outer.accepts, inner.values))


def _nearest(metric: Metric, limit: float) -> str:
    below = [each for each in metric.boundaries if each < limit][-1:]
    above = [each for each in metric.boundaries if each > limit][:1]
    return " or ".join(f"{each:g}" for each in below + above)
