"""The dashboards as Grafana reads them, and PromQL as Prometheus reads it."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import promql_parser as promql
from dashboards.build import JSON


@dataclass(frozen=True)
class Asked:
    """One query of one panel."""

    board: str
    panel: str
    ref: str
    expr: str
    unit: str
    instant: bool
    exemplars: bool

    def __str__(self) -> str:
        return f"{self.board} / {self.panel} / {self.ref}"

    def expression(self, **variables: str) -> str:
        """It as it is sent: with values for Grafana's variables."""
        text = self.expr
        for name in sorted(variables, key=len, reverse=True):
            text = text.replace(f"${name}", variables[name])
        assert "$" not in text, f"{self}: a variable without value in {text}"
        return text


EXAMPLE = {
    "service": "ingest",
    "runner": ".*",
    "slo": ".*",
    "__rate_interval": "1m",
    "__range": "1h",
}


def boards() -> dict[str, Any]:
    return {
        path.stem: json.loads(path.read_text("utf-8"))
        for path in sorted(JSON.glob("*.json"))
    }


def panels(board: Any) -> Iterator[Any]:
    """Each panel that shows something; not the rows, which are headings."""
    return (panel for panel in board["panels"] if panel["type"] != "row")


def queries() -> list[Asked]:
    return [
        Asked(
            name,
            panel["title"],
            target["refId"],
            target["expr"],
            unit(panel, target["refId"]),
            target["instant"],
            target.get("exemplar", False),
        )
        for name, board in boards().items()
        for panel in panels(board)
        for target in panel["targets"]
    ]


def unit(panel: Any, letter: str) -> str:
    """Of the values of a query: the panel's or, in a table of many, the column's."""
    config = panel["fieldConfig"]
    for change in panel.get("transformations", ()):
        head = change["options"].get("renameByName", {}).get(f"Value #{letter}")
        for override in config["overrides"] if head else ():
            if override["matcher"]["options"] == head:
                for each in override["properties"]:
                    if each["id"] == "unit":
                        return str(each["value"])
    return str(config["defaults"]["unit"])


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
