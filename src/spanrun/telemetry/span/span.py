"""`Span`: one span in plain Python, where the compiled one isn't there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from traceback import format_exception
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from opentelemetry.semconv.attributes.exception_attributes import EXCEPTION_ESCAPED
from opentelemetry.trace import Link, SpanContext, Status, StatusCode

from spanrun import semconv
from spanrun.telemetry.current import inside
from spanrun.telemetry.span.buffer import ERROR, EXEMPLAR, RETRIED, ROOT
from spanrun.telemetry.span.ids import draw
from spanrun.telemetry.span.local import ANY, LocalTrace
from spanrun.telemetry.span.plain import text_of
from spanrun.telemetry.span.record import Inherited, Rare, Record
from spanrun.telemetry.span.values import items_of, nanoseconds, plain_name
from spanrun.telemetry.units.recorder import RUN, fail
from spanrun.text import harmless

if TYPE_CHECKING:  # it makes spans
    from spanrun.telemetry.span.scope import Scope

_SAMPLED: Final = 1
_KINDS: Final = 5
_RECORD: Final = 1
_STATUS: Final = 2
_OK: Final = StatusCode.OK.value
_ERROR: Final = StatusCode.ERROR.value


def _shown(name: str) -> property:
    """What the SDK's class has by that name, of a view of the span."""
    return property(lambda span: getattr(span.scope.view(span), name))


class Span(Record):
    """One span: open, and then bytes. Made by a `Scope`; see ``_core.pyi``.

    There is no lock, and no call of users' code between a check and its act. Of several
    that end it at once, the one that deletes `is_open` does. There is no
    ``__getattr__`` either: it would make each look at an attribute four times as long.

    Attributes:
        anchor: Nanoseconds since the Unix epoch when its monotonic clock was at 0.
    """

    _on_exception = _RECORD | _STATUS

    def begin(
        self,
        scope: Scope,
        name: Any,
        kind: int,
        trace_id: int,
        parent: Span | SpanContext | None,
        inherited: Inherited,
        begun: float | None,
        attributes: Mapping[str, Any] | None,
        links: Sequence[Link],
        start_ns: int | None,
        anchored: Span | None,
        role: int,
    ) -> None:
        """Start it. This is no ``__init__``, the call of which costs twice as much."""
        self.is_open = True
        self._end_ns = self._fields = self._context = None
        self.duration = 0
        self.scope = scope
        known = type(name) is str and name in harmless
        self._name = name if known else plain_name(name)
        self._kind = kind if 0 <= kind < _KINDS else -1
        self._attributes = {}
        self._links = ()
        self.flags = 0
        self._generation = scope.generation
        self.trace_id = trace_id
        self.span_id = (scope.bits or draw)(64) or 1
        self.inherited = inherited
        if isinstance(parent, Span):
            same = parent.inherited is inherited or parent.inherited == inherited
            self._parent = parent.span_id if same else parent.get_span_context()
            self.trace_bytes = parent.trace_bytes
            self.is_top = False
            self.anchor: int = parent.anchor
            self.trace = parent.trace
            if role != ANY:
                self._part_from(parent, role)
        else:
            self._parent = parent
            self.trace_bytes = trace_id.to_bytes(16, "big")
            self.is_top = True
            # A run that a sampler dropped has no anchor.
            zero: int | None = getattr(anchored, "anchor", None)
            self.anchor = scope.anchor() if zero is None else zero
            self.trace = None
            if parent is None or parent.is_remote:
                self.flags = ROOT
        if scope.tail is not None or self.trace is not None:
            self._wait(parent, inherited, anchored, role)
        if start_ns is not None:
            self.start_time = nanoseconds(start_ns)
        else:
            moment = scope.now() if begun is None else begun
            self.start_time = self.anchor + int(moment * 1e9)
        if attributes:
            self._set(items_of(attributes))
        if links:
            self._begin_linked(links)

    inside = inside
    fail = fail
    context = property(Record.get_span_context)
    attributes = _shown("attributes")
    dropped_attributes = _shown("dropped_attributes")
    events = _shown("events")
    dropped_events = _shown("dropped_events")
    links = _shown("links")
    dropped_links = _shown("dropped_links")
    status = _shown("status")
    parent = _shown("parent")
    kind = _shown("kind")
    resource = _shown("resource")
    instrumentation_scope = _shown("instrumentation_scope")
    instrumentation_info = _shown("instrumentation_info")
    to_json = _shown("to_json")

    def _part_from(self, parent: Span, role: int) -> None:
        """Be decided on apart from its parent, where that is a run's."""
        trace = parent.trace
        apart = None if trace is None else trace.apart(role, parent.span_id)
        self.is_top = trace is None or apart is not None
        self.trace = apart or trace

    def _wait(
        self,
        parent: Span | SpanContext | None,
        inherited: Inherited,
        anchored: Span | None,
        role: int,
    ) -> None:
        """Say where it waits if it isn't drawn, and keep what it hangs on."""
        run: LocalTrace | None = getattr(anchored, "trace", None)
        above = None if run is None or anchored is None else (run, anchored.span_id)
        tail = self.scope.tail
        if inherited[0] & _SAMPLED:
            self.trace = None
            if above is not None and parent is None:
                above[0].tail.want(*above)
            return
        if self.trace is None and tail is not None:
            self.is_top = True
            joins = parent is not None and role != RUN
            self.trace = tail.begin(self.trace_id, role, above, is_remote=joins)
        if role == RUN and self.is_top and self.trace is not None:
            self.trace.tail.want(self.trace, self.span_id, is_run=True)

    @property
    def otel(self) -> Span:
        """Itself: what a context has as the current span."""
        return self

    @property
    def end_time(self) -> int | None:
        """In nanoseconds since the Unix epoch."""
        return self._end_ns

    @property
    def is_local_root(self) -> bool:
        """Nothing above it was recorded in this process."""
        return bool(self.flags & ROOT)

    @property
    def has_ended(self) -> bool:
        """Nothing changes any more."""
        return not self.is_open

    def is_recording(self) -> bool:
        """Whether it has not ended."""
        return self.is_open

    def wall_ns(self, moment: float) -> int:
        """A reading of the monotonic clock in nanoseconds since the Unix epoch."""
        return self.anchor + int(moment * 1e9)

    def set_attribute(self, key: str, value: Any) -> None:
        """Set one attribute; it is now the newest one."""
        if self.is_open:
            self._set(((key, value),))
        else:
            self._too_late("set_attribute")

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Set several attributes."""
        if self.is_open:
            self._set(items_of(attributes))
        else:
            self._too_late("set_attributes")

    def add_event(
        self,
        name: str,
        attributes: Mapping[str, Any] | None = None,
        timestamp: int | None = None,
    ) -> None:
        """Add an event, which happened at ``timestamp`` or now."""
        if not self.is_open:
            self._too_late("add_event")
        elif timestamp is None:
            now = self.wall_ns(self.scope.now())
            self._add_event(name, now, attributes, stamped=True)
        else:
            self._add_event(name, nanoseconds(timestamp), attributes, stamped=False)

    def add_link(
        self, context: SpanContext, attributes: Mapping[str, Any] | None = None
    ) -> None:
        """Link it to another span."""
        if self.is_open:
            self._add_link(context, attributes, 0)
        else:
            self._too_late("add_link")

    def update_name(self, name: str) -> None:
        """Call it ``name`` from now on."""
        if not self.is_open:
            self._too_late("update_name")
            return
        shown = plain_name(name)
        if self.is_open:  # users' code may have ended it meanwhile
            self._name = shown

    def set_status(
        self, status: Status | StatusCode, description: str | None = None
    ) -> None:
        """Say how it went. OK is final, and UNSET is ignored."""
        if not self.is_open:
            self._too_late("set_status")
            return
        try:
            if isinstance(status, StatusCode):
                status = Status(status, description)
            code, said = status.status_code.value, status.description
            shown = plain_name(said) if said else None
        except Exception as error:  # noqa: BLE001 -- whatever users give as a status
            self.scope.failed(error)
            return
        if code and self._more().status[0] != _OK and self.is_open:
            self._more().status = code, shown

    def record_exception(
        self,
        exception: BaseException,
        attributes: Mapping[str, Any] | None = None,
        timestamp: int | None = None,
        escaped: bool = False,  # noqa: FBT001, FBT002 -- OpenTelemetry's signature
    ) -> None:
        """Add an event ``exception``, by OpenTelemetry's conventions."""
        if not self.is_open:
            self._too_late("record_exception")
            return
        try:
            kind = type(exception)
            builtin = kind.__module__ in ("builtins", "")
            prefix = "" if builtin else f"{kind.__module__}."
            described = {
                semconv.EXCEPTION_TYPE: f"{prefix}{kind.__qualname__}",
                semconv.EXCEPTION_MESSAGE: text_of(exception),
                semconv.EXCEPTION_STACKTRACE: "".join(format_exception(exception)),
                EXCEPTION_ESCAPED: str(escaped),
                **(attributes or {}),
            }
        except Exception as error:  # noqa: BLE001 -- whatever users' errors do
            self.scope.failed(error)
            return
        self.add_event(semconv.EVENT_EXCEPTION, described, timestamp)

    def on_exception(self, *, record: bool, status: bool) -> None:
        """Say what leaving its ``with`` block by an exception does; at first, both."""
        self._on_exception = (_RECORD if record else 0) | (_STATUS if status else 0)

    def mark(self, flag: int) -> None:
        """Set `RETRIED` for its trace, which is a reason to keep it."""
        self.flags |= flag & RETRIED

    def pin(self) -> bool:
        """Keep its trace for an exemplar; whether it is kept."""
        trace = self.trace
        is_kept = trace is None or trace.tail.pin(trace)
        if is_kept:
            self.flags |= EXEMPLAR
        return is_kept

    def end(self, end_time: int | None = None) -> None:
        """End it, at ``end_time`` or now. Only the first call counts."""
        if end_time is None:
            self._end(self.anchor + int(self.scope.now() * 1e9))
        else:
            self._end(nanoseconds(end_time))

    def finish(self, ended: float) -> None:
        """End it, at a reading of the monotonic clock."""
        self._end(self.anchor + int(ended * 1e9))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Record what was raised, unless told otherwise, and end."""
        if error is not None and self.is_open:
            if self._on_exception & _RECORD:
                self.record_exception(error, escaped=True)
            if self._on_exception & _STATUS:
                text = f"{type(error).__name__}: {text_of(error)}"
                self.set_status(StatusCode.ERROR, text)
        self.end()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._name!r}, {self.get_span_context()!r})"

    def _too_late(self, method: str) -> None:
        self.scope.too_late(method, self._name)

    def _end(self, end_ns: int) -> None:
        try:
            del self.is_open
        except AttributeError:
            self._too_late("end")
            return
        self._end_ns = end_ns
        duration = end_ns - self.start_time
        if duration > 0:
            self.duration = duration
        # From now on, a thread that is about to set one is too late.
        self._fields = b"".join(self._attributes.values())
        self._attributes.clear()
        scope, rare = self.scope, self._rare
        if rare is not None:
            rare.freeze(end_ns)
        if scope.generation != self._generation:
            return
        try:
            if scope.on_end is not None:
                scope.on_end(scope.view(self))
        except Exception as error:  # noqa: BLE001 -- a processor breaks no program
            scope.failed(error)
        finally:
            self._commit(scope, rare)

    def _commit(self, scope: Scope, rare: Rare | None) -> None:
        """Hand it to the buffer or to the tail."""
        if rare is not None and rare.status[0] == _ERROR:
            self.flags |= ERROR
        try:
            if self.trace is not None:
                self.trace.tail.end(self)
                return
            buffer = scope.buffer  # another thread may take it away
            if buffer is not None and self.inherited[0] & _SAMPLED:
                buffer.put(self, self.encoded())
            if self.is_top and scope.tail is not None:
                scope.tail.end(self)
        except Exception as error:  # noqa: BLE001 -- a sink breaks no program
            scope.failed(error)
