"""PromQL as Prometheus reads it, and the dashboards as Grafana does."""

from collections.abc import Iterator, Sequence
from typing import Any

import promql_parser as promql
from dashboards.reading import Asked, boards, panels, queries, unit

__all__ = [
    "EXAMPLE",
    "Asked",
    "boards",
    "labels",
    "panels",
    "queries",
    "selectors",
    "unit",
]

EXAMPLE = {
    "service": "ingest",
    "runner": ".*",
    "slo": ".*",
    "__rate_interval": "1m",
    "__range": "1h",
}


def selectors(expression: str) -> Iterator[Any]:
    """Each vector selector of an expression."""
    yield from (
        node
        for node in _nodes(promql.parse(expression))
        if isinstance(node, promql.VectorSelector)
    )


def labels(expression: str) -> set[str]:
    """Each label that an expression names."""
    found: set[str] = set()
    for node in _nodes(promql.parse(expression)):
        if isinstance(node, promql.VectorSelector):
            found |= {matcher.name for matcher in node.matchers.matchers}
        if isinstance(node, promql.AggregateExpr) and node.modifier is not None:
            found |= set(node.modifier.labels)
    return found


def _nodes(node: Any) -> Iterator[Any]:
    yield node
    for name in ("lhs", "rhs", "expr", "vector_selector", "param"):
        below = getattr(node, name, None)
        if below is not None and not isinstance(below, str):
            yield from _nodes(below)
    arguments: Sequence[Any] = getattr(node, "args", ())
    for below in arguments:
        yield from _nodes(below)
