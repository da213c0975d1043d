"""`NativeSpan`: a span that records into slots and leaves the work for later."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Final

from opentelemetry.semconv.attributes.exception_attributes import EXCEPTION_ESCAPED
from opentelemetry.trace import Link, Span, SpanContext, Status, StatusCode
from opentelemetry.util.types import AnyValue, Attributes

from spanrun import semconv
from spanrun.telemetry.log import Log
from spanrun.telemetry.span.plain import IMMUTABLE, clean, frozen, text_of
from spanrun.telemetry.spans.recorded import (
    NOTHING_RARE,
    RECORD_EXCEPTION,
    SET_STATUS,
    Happened,
    Rare,
    Recorded,
    lasting,
)
from spanrun.text import excerpt

_log: Final = Log(__name__)


class NativeSpan(Span, Recorded):
    """A recording span. Made by a `NativeTracer`.

    It behaves as the specification of OpenTelemetry's tracing API says under
    "Span operations", and where that leaves a choice, as the Python SDK does.
    What is recorded is validated, cut and counted when it is read or encoded;
    only what may change until then is copied at once.

    All methods may be called from any thread, and change nothing after `end`.
    There is no lock: where a check and its act must not be torn apart, there is
    no call between them, so the interpreter doesn't switch threads there.
    """

    __slots__ = ()

    def get_span_context(self) -> SpanContext:
        """Its identity, made when it is first asked for."""
        return self._made or self.make_context()

    def is_recording(self) -> bool:
        """Whether it has not ended."""
        return self.end_ns is None

    def end(self, end_time: int | None = None) -> None:
        """End it, at ``end_time`` or now. Only the first call counts."""
        end_ns = self.origin.now() if end_time is None else end_time
        if self.end_ns is not None:
            self._too_late("end")
            return
        self.end_ns = end_ns
        try:
            self.origin.ended(self)
        except Exception as error:  # noqa: BLE001 -- told to `failed`: breaks no program
            self.origin.failed(error)

    def set_attribute(self, key: str, value: AnyValue) -> None:
        """Set one attribute, in the place of one with the same key."""
        if self._open("set_attribute"):
            if not key or not isinstance(key, str):  # pyright: ignore[reportUnnecessaryIsInstance] -- users
                self.drop_attributes(1)
                return
            self._set(key, value)

    def set_attributes(self, attributes: Mapping[str, AnyValue]) -> None:
        """Set several attributes."""
        if self._open("set_attributes"):
            given, dropped = frozen(attributes, self.origin.limits.length)
            for key, value in given.items():
                self._set(key, value)
            self.drop_attributes(dropped)

    def add_event(
        self,
        name: str,
        attributes: Attributes = None,
        timestamp: int | None = None,
    ) -> None:
        """Add an event, which happened at ``timestamp`` or now."""
        if self._open("add_event"):
            origin = self.origin
            self._happened(
                Happened(
                    name,
                    origin.now() if timestamp is None else timestamp,
                    *frozen(attributes, origin.limits.inner_length),
                )
            )

    def add_link(self, context: SpanContext, attributes: Attributes = None) -> None:
        """Link it to another span."""
        if self._open("add_link") and valid_link(context, attributes):
            self._link(lasting(Link(context, attributes), self.origin.limits))

    def update_name(self, name: str) -> None:
        """Call it ``name`` from now on."""
        if self._open("update_name"):
            self.span_name = name

    def set_status(
        self, status: Status | StatusCode, description: str | None = None
    ) -> None:
        """Say how it went. OK is final, and UNSET is ignored."""
        if not self._open("set_status"):
            return
        if isinstance(status, StatusCode):
            status = Status(status, description)
        before = (self.rare or NOTHING_RARE).status
        if before.status_code is StatusCode.OK or status.is_unset:
            return
        self._ensure_rare().status = status

    def record_exception(
        self,
        exception: BaseException,
        attributes: Attributes = None,
        timestamp: int | None = None,
        escaped: bool = False,  # noqa: FBT001, FBT002 -- OpenTelemetry's signature
    ) -> None:
        """Add an event ``exception``, by OpenTelemetry's conventions."""
        kind = type(exception)
        builtin = kind.__module__ in ("builtins", "")
        prefix = "" if builtin else f"{kind.__module__}."
        self.add_event(
            semconv.EVENT_EXCEPTION,
            {
                semconv.EXCEPTION_TYPE: f"{prefix}{kind.__qualname__}",
                semconv.EXCEPTION_MESSAGE: text_of(exception),
                semconv.EXCEPTION_STACKTRACE: "".join(
                    traceback.format_exception(exception)
                ),
                EXCEPTION_ESCAPED: str(escaped),
                **frozen(attributes, self.origin.limits.inner_length)[0],
            },
            timestamp,
        )

    def drop_attributes(self, unusable: int = 0) -> None:
        """Drop the oldest of too many, and count them and so many others."""
        raw, limit = self.raw, self.origin.limits.attributes
        if not unusable and (limit is None or len(raw) <= limit):
            return
        dropped = unusable
        with suppress(KeyError, RuntimeError, StopIteration):  # another thread helped
            while limit is not None and len(raw) > limit:
                del raw[next(iter(raw))]
                dropped += 1
        if dropped:
            self._ensure_rare().dropped_attributes += dropped

    def on_exception(self, *, record: bool, status: bool) -> None:
        """Say what leaving its ``with`` block by an exception does; at first, both."""
        if not (record and status):
            wanted = (RECORD_EXCEPTION if record else 0) | (SET_STATUS if status else 0)
            self._ensure_rare().on_exception = wanted

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        """Record what was raised, unless told otherwise, and end."""
        if exc_val is not None and self.is_recording():
            wanted = (self.rare or NOTHING_RARE).on_exception
            if wanted & RECORD_EXCEPTION:
                self.record_exception(exc_val, escaped=True)
            if wanted & SET_STATUS:
                text = f"{type(exc_val).__name__}: {text_of(exc_val)}"
                self.set_status(Status(StatusCode.ERROR, text))
        self.end()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.span_name!r}, {self.get_span_context()!r})"

    def _open(self, method: str) -> bool:
        if self.end_ns is None:
            return True
        self._too_late(method)
        return False

    def _too_late(self, method: str) -> None:
        name = excerpt(self.name)
        _log.warning("%s was called on span '%s', which has ended", method, name)

    def _ensure_rare(self) -> Rare:
        if self.rare is None:
            fresh = Rare()
            if self.rare is None:
                self.rare = fresh
        return self.rare

    def _set(self, key: str, value: Any) -> None:
        """The newest attribute is the last; when there are too many, the first goes."""
        raw, limits = self.raw, self.origin.limits
        if type(value) not in IMMUTABLE:
            value = clean(value, limits.length)
        raw.pop(key, None)
        raw[key] = value
        self.drop_attributes()

    def _happened(self, happened: Happened) -> None:
        rare, limit = self._ensure_rare(), self.origin.limits.events
        rare.events.append(happened)
        if limit is not None and len(rare.events) > limit:
            del rare.events[:1]
            rare.dropped_events += 1

    def _link(self, link: Link) -> None:
        rare, limit = self._ensure_rare(), self.origin.limits.links
        rare.links.append(link)
        if limit is not None and len(rare.links) > limit:
            del rare.links[:1]
            rare.dropped_links += 1


def valid_link(context: SpanContext, attributes: Mapping[str, Any] | None) -> bool:
    """Whether a link says anything.

    By the specification, one with an invalid context counts when it has
    attributes or tracestate.
    """
    return bool(context and (context.is_valid or attributes or context.trace_state))
