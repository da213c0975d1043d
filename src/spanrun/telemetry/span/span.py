"""`Span`: one span in plain Python, where the compiled one isn't there."""

from __future__ import annotations

from traceback import format_exception
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self, TypeAlias, cast

from opentelemetry.semconv.attributes.exception_attributes import EXCEPTION_ESCAPED
from opentelemetry.trace import (
    Link,
    SpanContext,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
)

from spanrun import semconv
from spanrun.telemetry.span import encode
from spanrun.telemetry.span.buffer import ERROR, EXEMPLAR, RETRIED, ROOT
from spanrun.telemetry.span.tail import Ended, LocalTrace
from spanrun.telemetry.span.values import (
    newest,
    nanoseconds,
    plain_attributes,
    plain_items,
    plain_name,
)
from spanrun.telemetry.spans.values import Plain, text_of

if TYPE_CHECKING:  # it makes spans
    from spanrun.telemetry.span.scope import Scope

_SAMPLED: Final = 1
_RECORD: Final = 1
_STATUS: Final = 2
_KINDS: Final = range(5)
_OK: Final = StatusCode.OK.value
_ERROR: Final = StatusCode.ERROR.value


Linked: TypeAlias = tuple[SpanContext, dict[str, Plain], int]
"""A link: where to, attributes, and how many of these were dropped."""


class Limits(NamedTuple):
    """Of a `Scope`; None means: as many as there are."""

    attributes: int | None
    events: int | None
    links: int | None
    event_attributes: int | None
    link_attributes: int | None
    length: int
    inner_length: int


class Event(NamedTuple):
    """An event of a span; ``stamped`` when nobody said when it was."""

    name: str
    time: int
    attributes: dict[str, Plain]
    dropped: int
    stamped: bool


class Span:
    """One span: open, and then bytes. Made by a `Scope`; see ``_core.pyi``.

    There is no lock, and no call of users' code between a check and its act. Of several
    that end it at once, the one that takes the only element out of a list does.
    """

    # What few spans have stands here until a span has it.
    _dropped = 0
    _dropped_events = 0
    _dropped_links = 0
    _status: tuple[int, str | None] = 0, None
    _marks = 0
    _on_exception = _RECORD | _STATUS
    _context: SpanContext | None = None
    _end_ns: int | None = None
    _trace: LocalTrace | None = None

    def __init__(
        self,
        scope: Scope,
        name: str,
        kind: int,
        ids: tuple[int, int],
        parent: Span | SpanContext | None,
        inherited: tuple[int, TraceState],
    ) -> None:
        self.scope = scope
        self.trace_id, self.span_id = ids
        self.inherited = inherited
        self.start_time = 0
        self._name = plain_name(name)
        self._kind = kind if kind in _KINDS else -1
        self._anchor = 0
        self._parent: int | SpanContext | None
        self._attributes: dict[str, Plain] = {}
        self._events: list[Event] = []
        self._links: list[Linked] = []
        self._open = [True]
        if type(parent) is Span:
            handed_down = parent.inherited
            same = handed_down is inherited or handed_down == inherited
            self._parent = parent.span_id if same else parent.get_span_context()
            self._trace = parent._trace
            self._is_top = False
        else:
            self._parent = cast("SpanContext | None", parent)
            self._is_top = True

    def begin(
        self,
        begun: float | None,
        start_ns: int | None,
        parent: Span | SpanContext | None,
        anchored: Span | None,
    ) -> None:
        """Take its place in time and in a trace. See `Scope.make`."""
        scope = self.scope
        above = parent if type(parent) is Span else anchored
        self._anchor = scope.anchor() if above is None else above._anchor
        if start_ns is not None:
            self.start_time = nanoseconds(start_ns)
        else:
            moment = scope.now() if begun is None else begun
            self.start_time = self._anchor + int(moment * 1e9)
        if self.inherited[0] & _SAMPLED:
            self._trace = None
        elif self._trace is None and scope.tail is not None:
            self._is_top = True
            self._trace = scope.tail.begin(
                self.trace_id, is_remote=self._parent is not None
            )

    def fill(self, attributes: Mapping[str, Any], links: Sequence[Link]) -> None:
        """Set what it has from the start."""
        scope = self.scope
        limits = scope.limits
        if attributes:
            plain, dropped = plain_attributes(attributes, scope.clean, limits.length)
            self._attributes, over = newest(plain, limits.attributes)
            if dropped or over:
                self._dropped += dropped + over
        for link in links:
            self._link(link.context, link.attributes, link.dropped_attributes)

    @property
    def name(self) -> str:
        """What it is called."""
        return self._name

    @property
    def end_time(self) -> int | None:
        """In nanoseconds since the Unix epoch."""
        return self._end_ns

    @property
    def is_local_root(self) -> bool:
        """Nothing above it was recorded in this process."""
        parent = self._parent
        if parent is None:
            return True
        return isinstance(parent, SpanContext) and parent.is_remote

    @property
    def has_ended(self) -> bool:
        """Nothing changes any more."""
        return not self._open

    def is_recording(self) -> bool:
        """Whether it has not ended."""
        return bool(self._open)

    def get_span_context(self) -> SpanContext:
        """Its identity, made when it is first asked for."""
        if self._context is None:
            flags, state = self.inherited
            self._context = SpanContext(
                self.trace_id,
                self.span_id,
                is_remote=False,
                trace_flags=TraceFlags(flags),
                trace_state=state,
            )
        return self._context

    def wall_ns(self, moment: float) -> int:
        """A reading of the monotonic clock in nanoseconds since the Unix epoch."""
        return self._anchor + int(moment * 1e9)

    def set_attribute(self, key: str, value: Any) -> None:
        """Set one attribute; it is now the newest one."""
        if self._is_open("set_attribute"):
            scope = self.scope
            self._store(
                *plain_items(((key, value),), scope.clean, scope.limits.length)
            )

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Set several attributes."""
        if self._is_open("set_attributes"):
            scope = self.scope
            self._store(
                *plain_attributes(attributes, scope.clean, scope.limits.length)
            )

    def add_event(
        self,
        name: str,
        attributes: Mapping[str, Any] | None = None,
        timestamp: int | None = None,
    ) -> None:
        """Add an event, which happened at ``timestamp`` or now."""
        if not self._is_open("add_event"):
            return
        limits = self.scope.limits
        stamped = timestamp is None
        time = self.wall_ns(self.scope.now()) if stamped else nanoseconds(timestamp)
        plain, dropped = self._inner(attributes, limits.event_attributes)
        event = Event(plain_name(name), time, plain, dropped, stamped)
        if self._open:  # users' code may have ended it meanwhile
            self._events.append(event)
            self._dropped_events += _drop_oldest(self._events, limits.events)

    def add_link(
        self, context: SpanContext, attributes: Mapping[str, Any] | None = None
    ) -> None:
        """Link it to another span."""
        if self._is_open("add_link"):
            self._link(context, attributes, 0)

    def update_name(self, name: str) -> None:
        """Call it ``name`` from now on."""
        if self._is_open("update_name"):
            shown = plain_name(name)
            if self._open:
                self._name = shown

    def set_status(
        self, status: Status | StatusCode, description: str | None = None
    ) -> None:
        """Say how it went. OK is final, and UNSET is ignored."""
        if not self._is_open("set_status"):
            return
        try:
            if isinstance(status, StatusCode):
                status = Status(status, description)
            code, said = status.status_code.value, status.description
            shown = plain_name(said) if said else None
        except Exception as error:  # noqa: BLE001 -- whatever users give as a status
            self.scope.failed(error)
            return
        if code and self._status[0] != _OK and self._open:
            self._status = code, shown

    def record_exception(
        self,
        exception: BaseException,
        attributes: Mapping[str, Any] | None = None,
        timestamp: int | None = None,
        escaped: bool = False,  # noqa: FBT001, FBT002 -- OpenTelemetry's signature
    ) -> None:
        """Add an event ``exception``, by OpenTelemetry's conventions."""
        if not self._is_open("record_exception"):
            return
        try:
            kind = type(exception)
            builtin = kind.__module__ in ("builtins", "")
            prefix = "" if builtin else f"{kind.__module__}."
            described = {
                semconv.EXCEPTION_TYPE: f"{prefix}{kind.__qualname__}",
                semconv.EXCEPTION_MESSAGE: text_of(exception),
                semconv.EXCEPTION_STACKTRACE: "".join(
                    format_exception(exception)
                ),
                EXCEPTION_ESCAPED: str(escaped),
                **(attributes or {}),
            }
        except Exception as error:  # noqa: BLE001 -- whatever users' errors do
            self.scope.failed(error)
            return
        self.add_event(semconv.EVENT_EXCEPTION, described, timestamp)

    def on_exception(self, *, record: bool, status: bool) -> None:
        """Say what leaving its ``with`` block by an exception does; at first, both."""
        self._on_exception = (record and _RECORD) | (status and _STATUS)

    def mark(self, flag: int) -> None:
        """Set `RETRIED` for its trace, which is a reason to keep it."""
        self._marks |= flag & RETRIED

    def pin(self) -> bool:
        """Keep its trace for an exemplar; whether it is kept."""
        trace = self._trace
        is_kept = trace is None or trace.tail.pin(trace)
        if is_kept:
            self._marks |= EXEMPLAR
        return is_kept

    def end(self, end_time: int | None = None) -> None:
        """End it, at ``end_time`` or now. Only the first call counts."""
        if end_time is None:
            self._end(self.wall_ns(self.scope.now()))
        else:
            self._end(nanoseconds(end_time))

    def finish(self, ended: float) -> None:
        """End it, at a reading of the monotonic clock."""
        self._end(self.wall_ns(ended))

    def snapshot(
        self,
    ) -> tuple[
        dict[str, Any],
        int,
        list[tuple[str, int, dict[str, Any], int]],
        int,
        list[tuple[SpanContext, dict[str, Any], int]],
        int,
        int,
        str | None,
        SpanContext | None,
        int,
    ]:
        """All that is recorded by now, for a view."""
        parent = self._parent
        if isinstance(parent, int):
            own = self.get_span_context()
            flags, state = own.trace_flags, own.trace_state
            parent = SpanContext(self.trace_id, parent, False, flags, state)  # noqa: FBT003 -- OpenTelemetry's signature
        return (
            self._attributes.copy(),
            self._dropped,
            [event[:4] for event in self._events.copy()],
            self._dropped_events,
            self._links.copy(),
            self._dropped_links,
            *self._status,
            parent,
            self._kind,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Record what was raised, unless told otherwise, and end."""
        if error is not None and self._open:
            wanted = self._on_exception
            if wanted & _RECORD:
                self.record_exception(error, escaped=True)
            if wanted & _STATUS:
                text = f"{type(error).__name__}: {text_of(error)}"
                self.set_status(StatusCode.ERROR, text)
        self.end()

    def __getattr__(self, name: str) -> Any:
        if name == "scope" or name.startswith("__"):
            raise AttributeError(f"{type(self).__name__!r} has no {name!r}")
        return getattr(self.scope.view(self), name)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._name!r}, {self.get_span_context()!r})"

    def _is_open(self, method: str) -> bool:
        if self._open:
            return True
        self.scope.too_late(method, self._name)
        return False

    def _store(self, plain: dict[str, Plain], dropped: int) -> None:
        if not self._open:  # users' code has ended it meanwhile
            return
        kept, limit = self._attributes, self.scope.limits.attributes
        for name in plain:
            if name in kept:
                kept.pop(name, None)
        kept.update(plain)
        with suppress(KeyError, RuntimeError, StopIteration):  # another thread helped
            while limit is not None and len(kept) > limit:
                del kept[next(iter(kept))]
                dropped += 1
        if dropped:
            self._dropped += dropped

    def _inner(
        self, attributes: Mapping[str, Any] | None, limit: int | None
    ) -> tuple[dict[str, Plain], int]:
        """Attributes of an event or a link, and how many were dropped."""
        if not attributes:
            return {}, 0
        scope = self.scope
        length = scope.limits.inner_length
        plain, dropped = plain_attributes(attributes, scope.clean, length)
        kept, over = newest(plain, limit)
        return kept, dropped + over

    def _link(
        self, context: SpanContext, attributes: Mapping[str, Any] | None, dropped: int
    ) -> None:
        """By the specification, one with an invalid context may still say something."""
        if context and (context.is_valid or attributes or context.trace_state):
            limits = self.scope.limits
            plain, more = self._inner(attributes, limits.link_attributes)
            if self._open:
                self._links.append((context, plain, dropped + more))
                self._dropped_links += _drop_oldest(self._links, limits.links)

    def _end(self, end_ns: int) -> None:
        scope = self.scope
        try:
            self._open.pop()
        except IndexError:
            scope.too_late("end", self._name)
            return
        self._end_ns = end_ns
        # Another thread may be about to write: that is too late.
        self._attributes = self._attributes.copy()
        if self._events:
            self._events = [
                event._replace(time=end_ns)
                if event.stamped and event.time > end_ns
                else event
                for event in self._events.copy()
            ]
        if scope.disowned:
            return
        try:
            if scope.on_end is not None:
                scope.on_end(scope.view(self))
        except Exception as error:  # noqa: BLE001 -- a processor breaks no program
            scope.failed(error)
        finally:
            try:
                self._commit(end_ns)
            except Exception as error:  # noqa: BLE001 -- a sink breaks no program
                scope.failed(error)

    def _commit(self, end_ns: int) -> None:
        scope, trace, name = self.scope, self._trace, self._name
        buffer, tail = scope.buffer, scope.tail
        duration = max(0, end_ns - self.start_time)
        flags = self._marks
        if self._status[0] == _ERROR:
            flags |= ERROR
        if self._is_top and self.is_local_root:
            flags |= ROOT
        root = name if self._is_top else None
        trace_id = encode.trace_bytes(self.trace_id)
        if trace is not None:
            span = self._encode(end_ns)
            trace.tail.end(
                Ended(scope, span, trace, trace_id, duration, flags, root)
            )
            return
        if tail is not None and root is not None:
            tail.end(Ended(scope, b"", None, trace_id, duration, flags, root))
        if buffer is not None:
            field = encode.field(self._encode(end_ns))
            buffer.put(scope, field, trace_id, duration, flags)

    def _encode(self, end_ns: int) -> bytes:
        times = self.start_time, end_ns
        ids = self.trace_id, self.span_id
        parts = [encode.head(ids, self._parent, times, self._kind, self._name)]
        encode.attributes(parts, self._attributes)
        state = self.inherited[1]
        if state:
            parts.append(encode.state(state))
        for event in self._events:
            parts.append(encode.event(*event[:4]))
        for link in self._links:
            parts.append(encode.link(*link))
        dropped = self._dropped, self._dropped_events, self._dropped_links
        if any(dropped):
            parts.append(encode.counts(*dropped))
        parts.append(encode.status(*self._status))
        return b"".join(parts)


def _drop_oldest(items: list[Any], limit: int | None) -> int:
    """Drop the first of too many; returns how many."""
    if limit is None or len(items) <= limit:
        return 0
    del items[:1]
    return 1
