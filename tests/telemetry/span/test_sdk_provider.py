"""The native provider is one of the SDK's, for libraries that demand its class."""

import inspect
import subprocess
import sys
from typing import Any

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import (
    ConcurrentMultiSpanProcessor,
    SpanLimits,
    SpanProcessor,
    SynchronousMultiSpanProcessor,
    TracerProvider,
)
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Sampler
from tests.telemetry.span.tracing import Box

from spanrun.telemetry.span import Span as NativeSpan
from spanrun.telemetry.span.provider import NativeTracerProvider


class Noting(SpanProcessor):
    def __init__(self) -> None:
        self.ended: list[str] = []
        self.calls: list[str] = []

    def on_end(self, span: Any) -> None:
        self.ended.append(span.name)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        self.calls.append("flush")
        return True

    def shutdown(self) -> None:
        self.calls.append("shutdown")


def add_by_the_api(box: Box, noting: Noting) -> None:
    box.add_span_processor(noting)


def add_past_the_provider(box: Box, noting: Noting) -> None:
    box._active_span_processor.add_span_processor(noting)


def set_the_tuple(box: Box, noting: Noting) -> None:
    box._active_span_processor._span_processors = (noting,)


def replace_it_by_the_sdks(box: Box, noting: Noting) -> None:
    box._active_span_processor = SynchronousMultiSpanProcessor()
    box.add_span_processor(noting)


def replace_it_by_a_processor(box: Box, noting: Noting) -> None:
    box._active_span_processor = noting


ways = pytest.mark.parametrize(
    "add",
    [
        add_by_the_api,
        add_past_the_provider,
        set_the_tuple,
        replace_it_by_the_sdks,
        replace_it_by_a_processor,
    ],
)


def test_it_is_a_provider_of_the_sdk() -> None:
    box = Box()

    assert isinstance(box, TracerProvider)
    assert TracerProvider in NativeTracerProvider.__mro__
    assert isinstance(box._active_span_processor, SynchronousMultiSpanProcessor)


def test_the_sdks_constructor_is_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("it registers what nobody unregisters")

    monkeypatch.setattr(TracerProvider, "__init__", refuse)
    box = Box()
    box.start().end()

    assert len(box.ended) == 1


def test_nothing_public_is_left_to_a_constructor_that_did_not_run() -> None:
    theirs = {
        name
        for name, member in vars(TracerProvider).items()
        if not name.startswith("_")
        and (inspect.isfunction(member) or isinstance(member, property))
    }

    assert theirs <= vars(NativeTracerProvider).keys()


def test_it_has_the_attributes_of_the_sdks() -> None:
    theirs = TracerProvider(shutdown_on_exit=False)
    ours = Box()

    for name, kind in {
        "sampler": Sampler,
        "resource": Resource,
        "id_generator": IdGenerator,
        "_span_limits": SpanLimits,
    }.items():
        assert isinstance(getattr(theirs, name), kind)
        assert isinstance(getattr(ours, name), kind)


def test_what_it_was_given_is_what_it_shows() -> None:
    resource, ids = Resource({"service.name": "mine"}), RandomIdGenerator()
    box = Box(sampler=ALWAYS_OFF, resource=resource, id_generator=ids)

    assert (box.sampler, box.resource, box.id_generator) == (ALWAYS_OFF, resource, ids)


@ways
def test_processors_see_spans_of_tracers_that_were_there_before(add: Any) -> None:
    box, noting = Box(), Noting()
    box.start("before").end()
    add(box, noting)
    box.start("after").end()

    assert noting.ended == ["after"]
    assert box.names == ["before", "after"]


@ways
def test_they_are_flushed_and_shut_down(add: Any) -> None:
    box, noting = Box(), Noting()
    add(box, noting)

    assert box.force_flush()
    box.shutdown()
    assert noting.calls == ["flush", "shutdown"]


def test_the_concurrent_collection_of_the_sdk_is_taken_too() -> None:
    box, noting = Box(), Noting()
    box._active_span_processor = ConcurrentMultiSpanProcessor(2)
    box.add_span_processor(noting)
    box.start().end()

    assert noting.ended == ["a"]
    assert box.force_flush()
    box.shutdown()


def test_the_resource_can_be_updated_as_the_sdk_updates_its_own() -> None:
    box = Box()
    box.start().end()
    box._update_resource(Resource({"host.name": "here"}))
    box.start().end()

    assert box.resource.attributes == {"host.name": "here"}
    assert box.ended[-1].resource is box.resource


def test_native_spans_stay_native_with_a_processor() -> None:
    box = Box()
    box.add_span_processor(Noting())

    assert isinstance(box.start(), NativeSpan)


def test_after_configure_the_global_provider_is_one_of_the_sdk() -> None:
    program = """
import sys
import spanrun as sr
assert "opentelemetry.sdk.trace" not in sys.modules  # nobody pays for it before
sr.configure(store="none")
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
assert isinstance(trace.get_tracer_provider(), TracerProvider)
sr.shutdown()
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)
