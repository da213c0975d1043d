"""`UserUnit`: a piece of a user's own work, as `spanrun.unit` opens it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Protocol

from opentelemetry.trace import INVALID_SPAN, Span

from spanrun import semconv
from spanrun.telemetry.redact import redact
from spanrun.telemetry.units.unit import INTERNAL, Unit, fail

if TYPE_CHECKING:  # it makes units
    from spanrun.telemetry.units.otel import OtelRecorder
    from spanrun.telemetry.units.recorder import OpenSpan


class OpenUnit(Protocol):
    """Opens a unit by its name and attributes, and makes its span the current one."""

    def __call__(self, name: str, attributes: Mapping[str, Any], /) -> UserUnit:
        """Open it."""
        ...


class UserUnit(Unit):
    """One open unit of a user's. Its duration is counted by its name.

    Where spans are compiled, `spanrun._core.UserUnit` stands in its place.

    Args:
        recorder: Where its span and metric go.
        name: Its name.
        attributes: Of its span.
        told: Its span, if it was opened already.
    """

    __slots__ = ("_name",)

    def __init__(
        self,
        recorder: OtelRecorder,
        name: str,
        attributes: Mapping[str, Any],
        told: OpenSpan | None = None,
    ) -> None:
        self._name = name
        super().__init__(recorder, name, INTERNAL, attributes=attributes, told=told)
        self.enter()

    def close(self, error: BaseException | None) -> None:
        """Leave it, end its span, by ``error`` if there is one, and count it."""
        self.leave()
        recorder: Any = self._recorder
        if error is not None:
            recorder.fail_unit(self, self._name, error)
            return
        ended = recorder.now()
        self.told.set_attribute(semconv.SPANRUN_UNIT_OUTCOME, "ok")
        self.told.finish(ended)
        series = recorder.unit_series.get(self._name)
        if series is None:
            series = recorder.series_of_unit(self._name)
        series.add(ended - self.started, self.told)


def fail_unit(
    recorder: OtelRecorder, unit: UserUnit, name: str, error: BaseException
) -> None:
    """End a unit that ``error`` left, and count it."""
    ended = recorder.now()
    # GeneratorExit: a generator that nobody wanted to the end.
    cancelled = isinstance(error, asyncio.CancelledError | GeneratorExit)
    outcome: Literal["failed", "cancelled"] = "cancelled" if cancelled else "failed"
    told = unit.told
    told.set_attribute(semconv.SPANRUN_UNIT_OUTCOME, outcome)
    labels = {
        semconv.SPANRUN_UNIT_NAME: redact(name),
        semconv.SPANRUN_UNIT_OUTCOME: outcome,
    }
    if not cancelled:
        labels[semconv.ERROR_TYPE] = fail(recorder, told, error, ended)
    told.finish(ended)
    metric = semconv.METRIC_SPANRUN_UNIT_DURATION
    recorder.record(metric, ended - unit.started, labels, told)


class OffUnit:
    """A unit where telemetry is off: nothing is kept of it."""

    __slots__ = ()

    span: Span = INVALID_SPAN
    trace_id = 0

    def set(self, key: str, value: Any) -> None:
        """Do nothing."""

    def event(self, name: str, **attributes: Any) -> None:
        """Do nothing."""

    def close(self, error: BaseException | None) -> None:
        """Do nothing."""
