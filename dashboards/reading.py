"""The dashboards as Grafana reads them: each panel, and each of its queries."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

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
        if "$" in text:
            raise ValueError(f"{self}: a variable without value in {text}")
        return text


def boards() -> dict[str, Any]:
    """Each by the name of its file."""
    return {
        path.stem: json.loads(path.read_text("utf-8"))
        for path in sorted(JSON.glob("*.json"))
    }


def panels(board: Any) -> Iterator[Any]:
    """Each panel that shows something; not the rows, which are headings."""
    return (panel for panel in board["panels"] if panel["type"] != "row")


def queries() -> list[Asked]:
    """All of all boards."""
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
