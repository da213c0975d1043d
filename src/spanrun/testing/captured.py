"""`capture`: the spans and metrics that spanrun emits, in memory, for tests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, Final

from opentelemetry.context import Context
from opentelemetry.metrics import MeterProvider as MeterProviderApi
from opentelemetry.sdk.metrics import (
    Exemplar,
    MeterProvider,
    TraceBasedExemplarFilter,
)
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import TracerProvider as TracerProviderApi

from spanrun.checks import instance, mapping, optional, text
from spanrun.clock import Clock, SystemClock
from spanrun.runner.checks import clock_of
from spanrun.telemetry import setup
from spanrun.telemetry.account import Account
from spanrun.telemetry.metrics.aggregate import Aggregator
from spanrun.telemetry.span.provider import NativeTracerProvider
from spanrun.telemetry.units.native import NativeRecorder
from spanrun.testing.leaks import keepers
from spanrun.testing.records import CapturedSpan, Point, points_of, span_of

Attributes = Mapping[str, Any]

_SPAN: Final = "captured.span(…)"


class Captured:
    """What `capture` has caught so far; it stays readable afterwards.

    Attributes:
        tracers: The provider that the spans came from, for spans of your own.
        meters: The provider that the metrics came from.
        snapshots: What the metrics were each time spanrun sent them at once, as
            it does when a runner opens and when it closes.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        resource = Resource.get_empty()
        self._processor: Final = _Keep()
        self._reader: Final = InMemoryMetricReader()
        clock, account = clock_of("Captured", clock) or SystemClock(), Account()
        tracers = NativeTracerProvider(
            sampler=ALWAYS_ON,
            resource=resource,
            clock=clock,
            failed=lambda _: account.fault("traces"),
        )
        tracers.add_span_processor(self._processor)
        meters = MeterProvider(
            [self._reader], resource, TraceBasedExemplarFilter(), shutdown_on_exit=False
        )
        self.tracers: Final[TracerProviderApi] = tracers
        self.meters: Final[MeterProviderApi] = meters
        self.snapshots: Final[list[dict[str, list[Point]]]] = []
        self._close: Final = meters.shutdown
        self._last: dict[str, list[Point]] | None = None
        self._aggregator: Final = Aggregator(lambda: resource)
        self._exemplars: Final[dict[tuple[Any, ...], tuple[Exemplar, ...]]] = {}
        self.recorder: Final = NativeRecorder(
            tracers,
            meters,
            self._aggregator,
            clock=clock,
            account=account,
            snapshot=self._snapshot,
        )
        keepers.add(self)

    @property
    def spans(self) -> list[CapturedSpan]:
        """The spans that have ended, in the order in which they began."""
        spans = [span_of(span) for span in self._processor.ended]
        return sorted(spans, key=lambda span: span.started_ns)

    def unfinished(self) -> dict[int, str]:
        """The spans that have not ended: their ids and names."""
        return {key: span.name for key, span in tuple(self._processor.open.items())}

    def find(
        self, name: str | None = None, attributes: Attributes | None = None
    ) -> list[CapturedSpan]:
        """The spans of that name which have at least those attributes."""
        optional(text)("find", "name", name)
        _check(attributes)
        return [span for span in self.spans if span.matches(name, attributes)]

    def span(
        self, name: str | None = None, attributes: Attributes | None = None
    ) -> CapturedSpan:
        """The one span of that name and with those attributes.

        Raises:
            AssertionError: There is none, or more than one.
        """
        found = self.find(name, attributes)
        if len(found) != 1:
            wanted = f"{name!r} {dict(attributes or {})}"
            raise AssertionError(
                f"{len(found)} spans match {wanted}, not one. All spans:\n{self.tree()}"
            )
        return found[0]

    def children(self, parent: CapturedSpan) -> list[CapturedSpan]:
        """The spans directly below ``parent``."""
        instance("children", "parent", parent, CapturedSpan, _SPAN)
        return [span for span in self.spans if span.is_child_of(parent)]

    def parent(self, child: CapturedSpan) -> CapturedSpan | None:
        """The span directly above ``child``; None for a root."""
        instance("parent", "child", child, CapturedSpan, _SPAN)
        above = (span for span in self.spans if child.is_child_of(span))
        return next(above, None)

    def tree(self) -> str:
        """All spans as text, each below its parent."""
        spans = self.spans
        known = {(span.trace_id, span.span_id) for span in spans}
        roots = [span for span in spans if (span.trace_id, span.parent_id) not in known]
        return "\n".join(line for root in roots for line in _tree(root, spans, ""))

    def points(self, metric: str, attributes: Attributes | None = None) -> list[Point]:
        """The series of ``metric`` which have at least those attributes, as now."""
        text("points", "metric", metric)
        _check(attributes)
        points = self._metrics().get(metric, [])
        return [point for point in points if point.matches(attributes)]

    def value(self, metric: str, attributes: Attributes | None = None) -> float:
        """The sum of the series which have at least those attributes.

        Of a histogram it is the sum of the values that were recorded.
        """
        return sum(point.value for point in self.points(metric, attributes))

    def count(self, metric: str, attributes: Attributes | None = None) -> int:
        """How many values a histogram was given, over those series."""
        return sum(point.count for point in self.points(metric, attributes))

    def totals(self, metric: str, by: str) -> dict[Any, float]:
        """The values of ``metric``, added up by one attribute; zeros left out."""
        text("totals", "by", by)
        totals: Counter[Any] = Counter()
        for point in self.points(metric):
            totals[point.attributes.get(by)] += point.value  # type: ignore[assignment]
        return {key: value for key, value in totals.items() if value}

    def close(self) -> None:
        """Read the metrics a last time. Done on leaving `capture`."""
        if self._last is None:
            self._last = self._metrics()
            self._close()
            if not self.unfinished():
                keepers.discard(self)

    def _metrics(self) -> dict[str, list[Point]]:
        if self._last is not None:
            return self._last
        metrics = points_of(self._aggregator.add_to(self._reader.get_metrics_data()))
        return {
            name: [self._with_all_exemplars(name, point) for point in points]
            for name, points in metrics.items()
        }

    def _with_all_exemplars(self, metric: str, point: Point) -> Point:
        """Each collection gives only the newest ones: add those that it gave before."""
        key = (metric, *sorted(point.attributes.items()))
        all_of_them = self._exemplars.get(key, ()) + point.exemplars
        self._exemplars[key] = all_of_them
        return replace(point, exemplars=all_of_them)

    def _snapshot(self) -> None:
        self.snapshots.append(self._metrics())


class capture:  # noqa: N801 -- used like a function: `with capture() as captured:`
    """Catch what spanrun emits meanwhile, with every span and metric of it.

    Telemetry that is configured stays as it is, and sees nothing of this.

    Args:
        clock: What spans are timed with, such as the `FakeClock` of the test.

    Example:
        >>> import asyncio, spanrun
        >>> async def main() -> None:
        ...     async with spanrun.Runner("nap") as runner:
        ...         await runner.map(asyncio.sleep, [0, 0])
        >>> with capture() as captured:
        ...     spanrun.run(main())
        >>> len(captured.find("job nap"))
        2
        >>> captured.value("spanrun.jobs")
        2
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock: Final = clock_of("capture", clock)
        self._stack: Final = ExitStack()

    def __enter__(self) -> Captured:
        captured = Captured(self._clock)
        self._stack.callback(captured.close)
        self._stack.enter_context(setup.use(captured.recorder))
        return captured

    def __exit__(self, *_: object) -> None:
        self._stack.close()


class _Keep(SpanProcessor):
    def __init__(self) -> None:
        self.ended: Final[list[ReadableSpan]] = []
        self.open: Final[dict[int, Span]] = {}

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002 -- OpenTelemetry's signature
        self.open[span.get_span_context().span_id] = span

    def on_end(self, span: ReadableSpan) -> None:
        self.ended.append(span)
        context = span.get_span_context()
        if context is not None:
            self.open.pop(context.span_id, None)


def _check(attributes: object) -> None:
    optional(mapping)("Captured", "attributes", attributes, "names to values")


def _tree(
    span: CapturedSpan, spans: Sequence[CapturedSpan], indent: str
) -> Iterator[str]:
    yield f"{indent}{span}"
    for child in spans:
        if child.is_child_of(span):
            yield from _tree(child, spans, indent + "  ")
