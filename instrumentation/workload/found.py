"""`Found`: what the real backends have of the workload, and what really happened."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from instrumentation.workload.seen import Seen

SERVICE: Final = "workload"
_MOST: Final = "1500"
_RECORD: Final = re.compile(
    r"^Body: Str\((.*?)\)$(.*?)^Trace ID: (\w*)$", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Found:
    """The backends after the workload.

    Attributes:
        seen: The Prometheus.
        jaeger: Its URL.
        logs: What a Collector has written of the log records that came.
        truth: Of each of the four runners, as the workload told.
        others: How many jobs of the other runners ended how.
        answered: How many of all the dashboards' queries Prometheus answered,
            before the workload, meanwhile, and after it.
    """

    seen: Seen
    jaeger: str
    logs: str
    truth: Mapping[str, Mapping[str, Any]]
    others: Mapping[str, int]
    answered: Mapping[str, int]

    def of_each(self, tell: Callable[[Mapping[str, Any]], Any]) -> dict[str, Any]:
        """The truth of each runner."""
        return {name: tell(told) for name, told in self.truth.items()}

    def by(self, query: str, *labels: str) -> dict[str, float]:
        """The newest value of a query for each set of labels, without zeros."""
        asked = f"sum by ({','.join(labels)}) (max_over_time({query}[1h])) > 0"
        return {
            " ".join(row["metric"].get(label, "") for label in labels): float(
                row["value"][1]
            )
            for row in self.seen.rows(asked)
        }

    def of_ours(self, query: str, *labels: str) -> dict[str, float]:
        """The same of the four runners, the first label left out if it is the only."""
        found = self.by(query, "spanrun_runner_name", *labels)
        return {
            name: value
            for name, value in found.items()
            if name.partition(" ")[0] in self.truth
        }

    def spans(
        self, operation: str, longer_than: str = "", **tags: str
    ) -> list[JaegerSpan]:
        """What Jaeger finds when all its fields are filled in so."""
        asked = {"service": SERVICE, "operation": operation, "limit": _MOST}
        named = {name.replace("__", "."): value for name, value in tags.items()}
        if named:
            asked["tags"] = json.dumps(named)
        if longer_than:
            asked["minDuration"] = longer_than
        answer = self.seen.client.get(f"{self.jaeger}/api/traces", params=asked)
        spans = [
            _span(span)
            for trace in answer.raise_for_status().json()["data"]
            for span in trace["spans"]
            if span["operationName"] == operation
        ]
        return [span for span in spans if named.items() <= span.tags.items()]

    def has_trace(self, trace: str) -> bool:
        """Whether Jaeger has that trace."""
        url = f"{self.jaeger}/api/traces/{trace}"
        return self.seen.client.get(url).is_success

    def records(self) -> list[tuple[str, str, str]]:
        """Body, attributes and trace id of each log record."""
        return _RECORD.findall(self.logs)


class JaegerSpan(NamedTuple):
    """A span as Jaeger gives it.

    Attributes:
        tags: Its attributes, as texts.
        seconds: How long it took.
        events: The attributes of each event, by its name; the last of a name.
    """

    tags: dict[str, str]
    seconds: float
    events: dict[str, dict[str, str]]

    @property
    def place(self) -> int:
        """The job's index."""
        return int(self.tags["spanrun.job.index"])


def _span(told: Any) -> JaegerSpan:
    events = [_texts(event["fields"]) for event in told["logs"]]
    return JaegerSpan(
        _texts(told["tags"]),
        told["duration"] / 1e6,
        {event.get("event", ""): event for event in events},
    )


def _texts(pairs: Collection[Any]) -> dict[str, str]:
    return {
        pair["key"]: value if isinstance(value := pair["value"], str) else _text(value)
        for pair in pairs
    }


def _text(value: object) -> str:
    return json.dumps(value) if isinstance(value, bool) else str(value)
