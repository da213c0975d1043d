"""`NativeCall`: a call as a native span: the unit in the shortest way.

It does what `CallUnit` does, for a recorder that has a provider of its own: the unit
is the span itself, and encodes itself when it ends, unless something happened that
few calls have.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias

from opentelemetry.context import Context
from opentelemetry.trace import (
    DEFAULT_TRACE_STATE,
    Span,
    SpanKind,
    Status,
    StatusCode,
)

from spanrun import semconv
from spanrun.semconv import Metric
from spanrun.speed import FAST, Calls, Shape
from spanrun.telemetry.current import CURRENT_SPAN, current, go_back_to, make_current
from spanrun.telemetry.forks import tell_after_fork
from spanrun.telemetry.metrics.c_cells import Group, Histogram
from spanrun.telemetry.open_units import CallKind
from spanrun.telemetry.redact import redact
from spanrun.telemetry.span_events import fail
from spanrun.telemetry.spans import template
from spanrun.telemetry.spans.columns import Columns
from spanrun.telemetry.spans.recorded import Recorded
from spanrun.telemetry.spans.span import NativeSpan
from spanrun.telemetry.unit import CallUnit

if TYPE_CHECKING:
    from spanrun.telemetry.native import NativeRecorder

_CLIENT: Final = SpanKind.CLIENT
_MAX_KNOWN: Final = 256

Known: TypeAlias = tuple[template.Encode, Callable[[float, Span], None], Shape | None]
"""How to encode calls with some attributes, what counts them, and both of that in C."""


class NativeCalls(Calls):
    """Opens the units of one kind of calls."""

    def __init__(self, recorder: NativeRecorder, kind: CallKind) -> None:
        self.recorder: Final = recorder
        self.kind: Final = kind
        self.name: Final = kind.name
        self.now: Final = recorder.now
        self.zero: Final = recorder.zero
        self.origin: Final = recorder.tracer.origin
        self.bits: Final = recorder.tracer.bits
        self.row: Final = (
            Columns(few=tuple(kind.attributes)),
            tuple(kind.attributes.values()),
        )
        self.known: Final[dict[tuple[Any, ...], Known]] = {}
        self._tracer: Final = recorder.tracer
        tell_after_fork(self)
        if recorder.is_bound:
            self.arm(
                recorder,
                self.origin,
                self._tracer,
                self.name,
                self.now,
                self.bits,
                self.row,
                self.known,
                self.zero,
            )

    def after_fork(self) -> None:
        """In the child: these are its parent's, as their origin and counts are."""
        self.kind.native = None

    def open(self) -> NativeCall | CallUnit:
        """The unit of a call, to be entered."""
        outside = current()
        above = outside.get(CURRENT_SPAN)
        if self._tracer.follow and isinstance(above, Recorded):
            return NativeCall(self, outside, above)
        return CallUnit(self.recorder, self.kind)

    def learn(self, call: NativeCall, key: tuple[Any, ...]) -> Known | None:
        """How to encode calls with the attributes of ``call``, and where they count.

        None when there are too many: then they are not the same again and again.
        """
        if len(self.known) >= _MAX_KNOWN:
            return None
        ids = template.OWN, template.ABOVE
        raw = dict(call.raw)
        example = template.example(self.origin, *ids, self.name, (), _CLIENT, raw)
        example.row = self.row
        found = template.child_template(example)
        kind = self.kind
        aggregator, labels = self.recorder.aggregator, {**kind.attributes, **call.raw}
        cell = aggregator.series_of(kind.metric, labels)
        count, shape, group = cell.add, None, aggregator.group
        if FAST and isinstance(group, Group):
            histogram = cell if isinstance(cell, Histogram) else None
            shape = Shape(found.text, found.at, group.gate, count, histogram)
        known = self.known[key] = template.child_encoder(found), count, shape
        return known


class NativeCall(NativeSpan):
    """One call to a service."""

    __slots__ = ("_begun", "_calls", "_exact", "_outside")

    raw: dict[str, Any]
    above: bytes

    def __init__(self, calls: NativeCalls, outside: Context, above: Recorded) -> None:
        # Not super().__init__(): see `NativeJob`.
        self._calls = calls
        self._outside = outside
        self._exact = True
        self._begun = begun = calls.now()
        self.origin = calls.origin
        self.trace = above.trace
        self.own = (calls.bits(64) or 1).to_bytes(8)
        self.above = above.own
        self.inherited = above.inherited
        self.span_name = calls.name
        self.span_kind = _CLIENT
        self.start_ns = calls.zero + int(begun * 1e9)
        self.end_ns = None
        self.raw = {}
        self.row = calls.row
        self.raw_links = ()
        self.rare = None
        self._made = None

    @property
    def span(self) -> NativeSpan:
        """Its span: itself."""
        return self

    def set(self, key: str, value: Any) -> None:
        """As `CallUnit.set`."""
        if type(value) is str:
            value = redact(value)
        elif type(value) is not int:
            self._exact = False
        self.raw[key] = value

    def fail(self, error_type: str) -> None:
        """As `CallUnit.fail`."""
        self.set(semconv.ERROR_TYPE, error_type)
        self.set_status(Status(StatusCode.ERROR))

    def record(self, metric: Metric, value: float, **more: Any) -> None:
        """As `CallUnit.record`."""
        calls = self._calls
        attributes = {**calls.kind.attributes, **self.raw, **more}
        calls.recorder.record(metric, value, attributes, self)

    def __enter__(self) -> Self:
        make_current(Context({**self._outside, CURRENT_SPAN: self}))
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if current().get(CURRENT_SPAN) is self:
            go_back_to(self._outside)
        calls = self._calls
        ended = calls.now()
        end_ns = calls.zero + int(ended * 1e9)
        wire = self.origin.wire
        if (
            error is None
            and wire is not None
            and self.end_ns is None
            and self.rare is None
            and self._exact
            and self.span_name is calls.name
            and self.inherited[1] is DEFAULT_TRACE_STATE
        ):
            try:
                key = tuple(self.raw.items())
                known = calls.known.get(key) or calls.learn(self, key)
                if known is not None:
                    encode, count, _ = known
                    self.end_ns = end_ns
                    encoded = encode(
                        self.trace, self.own, self.above, self.start_ns, end_ns
                    )
                    wire((encoded, 1))
                    count(ended - self._begun, self)
                    return
            except Exception as broken:  # noqa: BLE001 -- counted: breaks no call
                calls.recorder.failed("traces", broken)
                return
        if isinstance(error, Exception):
            self.raw[semconv.ERROR_TYPE] = fail(calls.recorder, self, error)
        self.end(end_ns)
        self.record(calls.kind.metric, ended - self._begun)

    def _set(self, key: str, value: Any) -> None:
        # By OpenTelemetry's API: of any type.
        self._exact = False
        super()._set(key, value)
