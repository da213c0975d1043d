"""A thread of telemetry's own goes on whatever is raised in it, and makes no spans."""

import contextvars
import threading

import pytest
from opentelemetry import context, trace
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY

from spanrun.telemetry import threads
from spanrun.telemetry.suppression import suppressed
from spanrun.telemetry.threads import Worker

SOON = 10.0


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(threads, "_PAUSE", 0.001)


@pytest.mark.parametrize(
    "raised", [RuntimeError("x"), SystemExit(1), KeyboardInterrupt(), MemoryError()]
)
def test_work_that_raises_begins_again_and_is_counted(raised, caplog):
    before = threads.restarts["spanrun-test"]
    calls = []

    def work():
        calls.append(threading.current_thread())
        if len(calls) < 4:
            raise raised

    worker = Worker("test", work)
    worker._thread.join(SOON)
    assert not worker.is_alive
    assert len(calls) == 4
    assert len(set(calls)) == 1
    assert threads.restarts["spanrun-test"] - before == 3
    assert type(raised).__name__ in caplog.text
    assert "thread spanrun-test failed" in caplog.text


def test_work_that_always_raises_ends_with_its_owner(monkeypatch):
    failed = threading.Event()
    monkeypatch.setattr(threads, "_PAUSE", 3600)

    def work():
        failed.set()
        raise RuntimeError("again")

    worker = Worker("test", work)
    assert failed.wait(SOON)
    worker.join(SOON)
    assert not worker.is_alive


def test_its_context_is_its_own_and_switches_instrumentation_off():
    seen = []
    variable = contextvars.ContextVar("variable", default="nothing")
    variable.set("of the starter")
    span = trace.NonRecordingSpan(trace.SpanContext(1, 2, is_remote=False))

    def work():
        seen.extend(
            (
                variable.get(),
                trace.get_current_span(),
                context.get_value(_SUPPRESS_INSTRUMENTATION_KEY),
            )
        )

    with trace.use_span(span):
        Worker("test", work).join(SOON)
    assert seen == ["nothing", trace.INVALID_SPAN, True]


def test_instrumentation_is_on_again_behind_it():
    with suppressed():
        assert context.get_value(_SUPPRESS_INSTRUMENTATION_KEY)
    assert not context.get_value(_SUPPRESS_INSTRUMENTATION_KEY)
