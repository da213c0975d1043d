"""What is asked of the open units of a job and of a call, whoever keeps their spans."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

from opentelemetry.trace import Span

from spanrun.outcome import CancelledBy, Timings
from spanrun.semconv import Metric, SpanrunJobOutcome
from spanrun.telemetry.redact import redact, redact_attributes

if TYPE_CHECKING:  # it needs the SDK, which only `configure` loads
    from spanrun.telemetry.native_call import NativeCalls


class Submitted(Protocol):
    """A job, as far as its unit has to know it."""

    @property
    def index(self) -> int:
        """Its place among the items of its run."""
        ...

    @property
    def key(self) -> Any:
        """The user's name for it."""
        ...

    @property
    def submitted(self) -> float:
        """When, on the runner's clock."""
        ...


class OpenJob(Protocol):
    """A job's span and metrics, and its attempts' spans."""

    @property
    def trace_id(self) -> int:
        """The trace that they belong to."""
        ...

    def begin_attempt(self, number: int) -> None:
        """An attempt begins, from 1: its span is the current one."""
        ...

    def end_attempt(self, number: int, error: BaseException | None) -> None:
        """It is over, by ``error`` if there is one."""
        ...

    def event(self, name: str, **attributes: Any) -> None:
        """Add an event to the job's span, at this moment."""
        ...

    def retried(self, error: Exception, delay: float) -> None:
        """Another attempt follows ``error`` after ``delay`` seconds."""
        ...

    def hedged(self, after: float) -> None:
        """A second call was sent, ``after`` seconds of waiting for the first."""
        ...

    def succeed(self, timings: Timings, attempts: int) -> None:
        """The job has its value: end its span, and count it."""
        ...

    def conclude(
        self,
        timings: Timings,
        outcome: SpanrunJobOutcome,
        attempts: int,
        error: BaseException | None,
        cancelled_by: CancelledBy | None,
    ) -> None:
        """The job has its outcome: end its span, and count it."""
        ...


class CallKind:
    """What calls of one kind to one service have in common. Make it once.

    Args:
        name: Of the span.
        metric: Recorded with the duration.
        attributes: Of the span and, as far as the metric has them, of that.
    """

    __slots__ = ("attributes", "metric", "name", "native")

    def __init__(
        self, name: str, metric: Metric, attributes: Mapping[str, Any]
    ) -> None:
        self.name: Final = redact(name)
        self.metric: Final = metric
        self.attributes: Final = redact_attributes(attributes)
        self.native: NativeCalls | None = None


class OpenCall(Protocol):
    """One call to a service, by OTel's client conventions.

    A context manager: current inside, ended on leaving. The metric of its kind is
    recorded with the call's duration and those of its attributes that the registry
    lists for it.
    """

    @property
    def span(self) -> Span:
        """Its span."""
        ...

    def set(self, key: str, value: Any) -> None:
        """Set an attribute of the span and, where it belongs there, the metric."""
        ...

    def fail(self, error_type: str) -> None:
        """The call has failed by what it answered, though nothing was raised."""
        ...

    def record(self, metric: Metric, value: float, **more: Any) -> None:
        """Record another metric of the call, with its attributes and ``more``."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None: ...
