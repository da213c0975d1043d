"""`CallUnit`: one call to a service, by OpenTelemetry's client conventions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol, Self

from opentelemetry.trace import SpanKind, Status, StatusCode

from spanrun import semconv
from spanrun.semconv import Metric
from spanrun.telemetry.redact import redact, redact_attributes, redact_value
from spanrun.telemetry.units.recorder import OpenSpan, Recorder
from spanrun.telemetry.units.unit import Unit, fail

_CLIENT: Final = SpanKind.CLIENT.value


class CallKind:
    """What calls of one kind to one service have in common. Make it once.

    Args:
        name: Of the span.
        metric: Recorded with the duration.
        attributes: Of the span and, as far as the metric has them, of that.
    """

    __slots__ = ("attributes", "labels", "metric", "name")

    def __init__(
        self, name: str, metric: Metric, attributes: Mapping[str, Any]
    ) -> None:
        self.name: Final = redact(name)
        self.metric: Final = metric
        self.attributes: Final = redact_attributes(attributes)
        self.labels: Final = frozenset(metric.attributes)


class OpenCall(Protocol):
    """Opens the unit of a call, to be entered."""

    def __call__(self, kind: CallKind, /) -> CallUnit:
        """Open it, below the current span."""
        ...


class CallUnit(Unit):
    """One call. A context manager: current inside, ended on leaving.

    The metric of its kind is recorded with the call's duration and those of its
    attributes that the registry lists for it.

    Where spans are compiled, `spanrun._core.CallUnit` stands in its place. It does the
    same for a call that raises nothing, and calls methods of this class for all else.

    Args:
        recorder: Where its span and metrics go.
        kind: What it has in common with others.
        told: Its span, if it was opened already.

    Attributes:
        attributes: Those of its kind, and what was set.
    """

    __slots__ = ("attributes", "kind")

    def __init__(
        self, recorder: Recorder, kind: CallKind, told: OpenSpan | None = None
    ) -> None:
        self.kind: Final = kind
        given = kind.attributes
        self.attributes: Final = dict(given)
        super().__init__(recorder, kind.name, _CLIENT, attributes=given, told=told)

    def set(self, key: str, value: Any) -> None:
        """Set an attribute of the span and, where it belongs there, the metric."""
        self.attributes[key] = value
        self.told.set_attribute(key, value)

    def fail(self, error_type: str) -> None:
        """Say that it failed by what it answered, though nothing was raised."""
        self.set(semconv.ERROR_TYPE, error_type)
        self.told.set_status(Status(StatusCode.ERROR))

    def record(self, metric: Metric, value: float, **more: Any) -> None:
        """Record another metric of the call, with its attributes and ``more``."""
        labels = labels_of(metric, {**self.attributes, **more})
        self.recorder.record(metric, value, labels, self.told)

    def __enter__(self) -> Self:
        self.enter()
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        self.leave()
        self.end(error, self.recorder.now())

    def end(self, error: BaseException | None, ended: float) -> None:
        """End its span, by ``error`` if there is one, and record its duration."""
        more: dict[str, Any] = {}
        if isinstance(error, Exception):
            more[semconv.ERROR_TYPE] = fail(self.recorder, self.told, error, ended)
        # First, while its trace can still be kept as an exemplar.
        self.record(self.kind.metric, ended - self.started, **more)
        self.told.finish(ended)


def labels_of(metric: Metric, attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of ``attributes`` that the registry gives to ``metric``."""
    has = (key for key in metric.attributes if key in attributes)
    return {key: redact_value(key, attributes[key]) for key in has}
