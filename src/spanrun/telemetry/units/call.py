"""`CallUnit`: one call to a service, by OpenTelemetry's client conventions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Self

from opentelemetry.trace import SpanKind, Status, StatusCode

from spanrun import semconv
from spanrun.semconv import Metric
from spanrun.telemetry.redact import redact, redact_attributes, redact_value
from spanrun.telemetry.units.recorder import Recorder
from spanrun.telemetry.units.unit import Unit

_CLIENT: Final = SpanKind.CLIENT.value


class CallKind:
    """What calls of one kind to one service have in common. Make it once.

    Args:
        name: Of the span.
        metric: Recorded with the duration.
        attributes: Of the span and, as far as the metric has them, of that.
    """

    __slots__ = ("attributes", "metric", "name")

    def __init__(
        self, name: str, metric: Metric, attributes: Mapping[str, Any]
    ) -> None:
        self.name: Final = redact(name)
        self.metric: Final = metric
        self.attributes: Final = redact_attributes(attributes)


class CallUnit(Unit):
    """One call. A context manager: current inside, ended on leaving.

    The metric of its kind is recorded with the call's duration and those of its
    attributes that the registry lists for it.
    """

    __slots__ = ("_attributes", "_kind")

    def __init__(self, recorder: Recorder, kind: CallKind) -> None:
        self._kind = kind
        self._attributes = dict(kind.attributes)
        super().__init__(recorder, kind.name, _CLIENT, attributes=kind.attributes)

    def set(self, key: str, value: Any) -> None:
        """Set an attribute of the span and, where it belongs there, the metric."""
        self._attributes[key] = value
        self.told.set_attribute(key, value)

    def fail(self, error_type: str) -> None:
        """Say that it failed by what it answered, though nothing was raised."""
        self.set(semconv.ERROR_TYPE, error_type)
        self.told.set_status(Status(StatusCode.ERROR))

    def record(self, metric: Metric, value: float, **more: Any) -> None:
        """Record another metric of the call, with its attributes and ``more``."""
        has, given = metric.attributes, {**self._attributes, **more}
        labels = {key: redact_value(key, given[key]) for key in has if key in given}
        self._recorder.record(metric, value, labels, self.told)

    def __enter__(self) -> Self:
        self.enter()
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        self.leave()
        ended = self._recorder.now()
        failed = isinstance(error, Exception)
        error_type = self.finish(error, failed=failed, ended=ended)
        if error_type:
            self._attributes[semconv.ERROR_TYPE] = error_type
        self.record(self._kind.metric, ended - self.started)
