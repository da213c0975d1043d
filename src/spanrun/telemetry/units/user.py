"""`UserUnit`: a piece of a user's own work, as `spanrun.unit` opens it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, cast

from opentelemetry.trace import INVALID_SPAN, Span

from spanrun import semconv
from spanrun.telemetry.current import leave, make_current
from spanrun.telemetry.units.unit import INTERNAL, Unit, fail

if TYPE_CHECKING:  # it makes units
    from spanrun.telemetry.units.recorder import OpenSpan, Recorder


_CANCELLED: Final = (asyncio.CancelledError, GeneratorExit)
"""The second: a generator that nobody wanted to the end."""


class OpenUnit(Protocol):
    """Opens a unit by its name and attributes, and makes its span the current one."""

    def __call__(self, name: str, attributes: Mapping[str, Any] | None, /) -> UserUnit:
        """Open it."""
        ...


class UserUnit(Unit):
    """One open unit of a user's. Its duration is counted by its name.

    Where spans are compiled, `spanrun._core.UserUnit` stands in its place.

    Args:
        recorder: Where its span and metric go.
        name: Its name.
        attributes: Of its span, beside its name.
        told: Its span, if it was opened already.
    """

    __slots__ = ("_name",)

    def __init__(
        self,
        recorder: Recorder,
        name: str,
        attributes: Mapping[str, Any] | None,
        told: OpenSpan | None = None,
    ) -> None:
        self._name = name
        named: dict[str, Any] = {semconv.SPANRUN_UNIT_NAME: name}
        if attributes:
            named.update(attributes)
        # Not by `super`, which makes an object of its own.
        Unit.__init__(self, recorder, name, INTERNAL, attributes=named, told=told)
        make_current(self.context)

    def close(self, error: BaseException | None) -> None:
        """Leave it, end its span, by ``error`` if there is one, and count it."""
        leave(self.context, self._outside)
        recorder, told = self.recorder, self.told
        if error is not None:
            fail_unit(recorder, self, self._name, error)
            return
        ended = recorder.now()
        told.set_attribute(semconv.SPANRUN_UNIT_OUTCOME, "ok")
        # First, while its trace can still be kept as an exemplar.
        recorder.series_of_unit(self._name).add(ended - self.started, told)
        told.finish(ended)


def fail_unit(
    recorder: Recorder, unit: UserUnit, name: str, error: BaseException
) -> None:
    """End a unit that ``error`` left, and count it."""
    ended = recorder.now()
    cancelled = isinstance(error, _CANCELLED)
    outcome: Literal["failed", "cancelled"] = "cancelled" if cancelled else "failed"
    told = unit.told
    told.set_attribute(semconv.SPANRUN_UNIT_OUTCOME, outcome)
    error_type = "" if cancelled else fail(recorder, told, error, ended)
    series = recorder.series_of_unit(name, outcome, error_type)
    series.add(ended - unit.started, told)
    told.finish(ended)


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


OFF: Final[UserUnit] = cast("Any", OffUnit())
"""What a unit is where telemetry is off."""
