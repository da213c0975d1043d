"""A provider for tests, with a buffer from which its ended spans can be read."""

import itertools
from collections.abc import Sequence
from typing import Any

from opentelemetry.context import Context
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, Span, SpanKind, TraceState, set_span_in_context

from spanrun.telemetry.span import Batch, Buffer
from spanrun.telemetry.span.decode import readable
from spanrun.telemetry.span.provider import NativeTracerProvider
from spanrun.telemetry.span.tracer import NativeTracer

START, END = 1_700_000_000_000_000_000, 1_700_000_001_000_000_000
MOST = 1 << 20


class Numbers(IdGenerator):
    """The same ids each time."""

    def __init__(self) -> None:
        self._next = itertools.count(1).__next__

    def generate_span_id(self) -> int:
        return self._next() << 40

    def generate_trace_id(self) -> int:
        return self._next() << 90

    def is_trace_id_random(self) -> bool:
        return True


class Ended:
    """A buffer, and all that came out of it since the beginning, failed spans first.

    Attributes:
        buffer: To be given to a provider.
    """

    def __init__(self) -> None:
        self.buffer = Buffer(lambda _: None, lambda _: None, MOST)
        self._batches: list[Batch] = []

    @property
    def batches(self) -> list[Batch]:
        self._batches += self.buffer.take()
        return self._batches

    @property
    def spans(self) -> list[ReadableSpan]:
        return [span for batch in self.batches for span in readable(batch)]

    @property
    def names(self) -> list[str]:
        return [span.name for span in self.spans]

    @property
    def messages(self) -> list[Any]:
        """As OTLP."""
        return [
            span
            for batch in self.batches
            for span in ScopeSpans.FromString(batch.data).spans
        ]


class Box(NativeTracerProvider):
    """A provider whose ended spans can be read."""

    def __init__(self, **options: Any) -> None:
        self.box = Ended()
        super().__init__(
            self.box.buffer, **{"resource": Resource.get_empty(), **options}
        )

    @property
    def ended(self) -> list[ReadableSpan]:
        """All spans that have ended, as they are read from their bytes."""
        return self.box.spans

    @property
    def names(self) -> list[str]:
        return self.box.names

    @property
    def native(self) -> NativeTracer:
        tracer = self.get_tracer("test")
        assert isinstance(tracer, NativeTracer)
        return tracer

    def start(
        self, name: str = "a", context: Context | None = None, **more: Any
    ) -> Any:
        """A span that was started by the API: native, or none when not recording."""
        return self.native.start_span(name, context, **more)

    def below(self, parent: Span, name: str = "child") -> Any:
        return self.start(name, set_span_in_context(parent))


class Scripted(Sampler):
    """Decides as it is told, and notes what it was asked."""

    def __init__(self, decision: Decision, **result: Any) -> None:
        self.asked: list[dict[str, Any]] = []
        self._result = SamplingResult(decision, **result)

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Any = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        self.asked.append({"name": name, "attributes": dict(attributes or {})})
        return self._result

    def get_description(self) -> str:
        return "scripted"


def same(one: Any, other: Any) -> bool:
    """Whether both are the same span, however they are shown."""
    return bool(one.get_span_context()[:2] == other.get_span_context()[:2])
