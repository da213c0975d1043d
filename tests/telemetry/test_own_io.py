"""The export of telemetry is never traced itself, whatever the application traces."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.telemetry.export.receiver import Answer, Got, receiving
from tests.telemetry.export.test_exporters import grpc_server
from tests.telemetry.test_variables import Arrived

from spanrun import recordings

pytestmark = pytest.mark.slow

INSTRUMENT = """
import sqlite3
from opentelemetry.instrumentation import dbapi
from opentelemetry.instrumentation.grpc import GrpcInstrumentorClient
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.instrumentation.logging import LoggingInstrumentor
from opentelemetry.instrumentation.requests import RequestsInstrumentor

for instrumentor in (
    GrpcInstrumentorClient, HTTPXClientInstrumentor, LoggingInstrumentor,
    RequestsInstrumentor,
):
    instrumentor().instrument()
dbapi.wrap_connect("sqlite3", sqlite3, "connect", "sqlite")
"""
ROUNDS = """
from spanrun.telemetry import setup

def rounds(count=5):
    "Export again and again: a span of an export would be in the next one."
    for number in range(count):
        setup.telemetry().flush(30.0)
"""
WORK = """
sr.configure()
with sr.unit("mine"):
    pass
rounds()
assert sr.shutdown(30.0)
"""


class Collector:
    """What arrived, over one protocol."""

    def __init__(self, protocol: str, url: str, got: list[Got]) -> None:
        self.environ = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": url,
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
            "OTEL_METRICS_EXPORTER": "none",
        }
        self._got = got

    def names(self) -> list[str]:
        spans = {span.span_id: span.name for span in Arrived(self._got).spans()}
        return sorted(spans.values())


@pytest.fixture(params=["http/protobuf", "grpc"])
def collector(request: pytest.FixtureRequest) -> Iterator[Collector]:
    """It refuses the first request for the moment, and takes the others."""
    if request.param == "grpc":
        got: list[Got] = []
        refused: list[bytes] = []

        def export(payload: bytes, context: Any) -> bytes:
            if not refused:
                refused.append(payload)
                context.abort(grpc.StatusCode.UNAVAILABLE, "not yet")
            got.append(Got("/v1/traces", {}, payload))
            return b""

        with grpc_server(export) as url:
            yield Collector(request.param, url, got)
        return
    answers = iter([Answer(503)])
    with receiving(lambda _: next(answers, Answer())) as receiver:
        found = Collector(request.param, receiver.url, receiver.requests)
        yield found


@pytest.fixture
def run(run_program: Any, collector: Collector) -> Callable[[str], None]:
    def ran(text: str, **environ: str) -> None:
        program = INSTRUMENT + ROUNDS + text
        done = run_program(program, **collector.environ, **environ)
        assert done.code == 0, done.err

    return ran


def stored(folder: Path) -> list[str]:
    with recordings.open(folder / ".spanrun") as recording:
        return sorted(span.name for span in recording.spans())


def test_the_local_store_makes_no_spans(run_program: Any):
    done = run_program(INSTRUMENT + ROUNDS + WORK)
    assert done.code == 0, done.err
    assert stored(run_program.folder) == ["mine"]


def test_an_export_makes_none(run: Any, run_program: Any, collector: Collector):
    run(WORK, SPANRUN_STORE=".spanrun")
    assert collector.names() == ["mine"]
    assert stored(run_program.folder) == ["mine"]


def test_what_runs_inside_of_a_span_makes_none_either(run: Any, collector: Collector):
    """As threads are started, and the store is opened, where there is one."""
    run(
        """
from opentelemetry import trace
sr.configure(store=".spanrun")
with trace.get_tracer("app").start_as_current_span("mine"):
    sr.configure(store=".spanrun")
    with sr.unit("inner"):
        pass
    rounds()
rounds()
assert sr.shutdown(30.0)
"""
    )
    assert collector.names() == ["inner", "mine"]


def test_the_application_is_traced_as_before(run: Any, collector: Collector):
    run(
        """
sr.configure(store=".spanrun")
with sr.unit("mine"):
    sqlite3.connect(":memory:").cursor().execute("SELECT 1")
rounds()
sqlite3.connect(":memory:").cursor().execute("SELECT 1")
assert sr.shutdown(30.0)
"""
    )
    assert collector.names() == ["SELECT", "SELECT", "mine"]
