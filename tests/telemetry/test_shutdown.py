"""Leaving takes 5 s at most, whatever the collector does, and loses nothing."""

import socket
from contextlib import contextmanager

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceResponse,
)
from tests.telemetry.export.receiver import Answer, receiving
from tests.telemetry.test_variables import Arrived

from spanrun.cli.exits import Exit

pytestmark = pytest.mark.slow

COUNT = 20_000
HOUR = "3600"
PROGRAM = f"""
import logging, time
from spanrun.telemetry import setup
logging.disable(logging.CRITICAL)
sr.configure(store="none")
for number in range({COUNT}):
    with sr.unit("step"): pass
def queued():
    traces = setup.telemetry().status().signals["traces"]
    return traces.in_memory + traces.on_disk
# What isn't in the queue when the time to leave is over is lost, and counted.
while queued() < {COUNT}: time.sleep(0.01)
print(sr.shutdown())
"""
FLUSH = """
from spanrun.cli import main
sys.argv[1:] = ["spool", "flush", ".spanrun/spool"]
main()
"""


@contextmanager
def refusing():
    """A port at which nobody listens, and nobody will meanwhile."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        yield found.getsockname()[1]


@contextmanager
def silent():
    """Takes the connection, and the request as far as it fits, and says nothing."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        found.listen()
        yield found.getsockname()[1]


@contextmanager
def unavailable():
    """Answers each request with 503."""
    with receiving(lambda _: Answer(503)) as receiver:
        yield receiver.url.rpartition(":")[2]


def patience(collector):
    """Who waits longer than it may never ends: a request has an hour."""
    shutdown = "1" if collector is silent else HOUR
    return {"SPANRUN_SHUTDOWN_TIMEOUT": shutdown, "OTEL_EXPORTER_OTLP_TIMEOUT": HOUR}


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
@pytest.mark.parametrize("collector", [refusing, silent, unavailable])
def test_a_collector_that_takes_nothing_holds_nobody_up(
    run_program, collector, protocol
):
    with collector() as port:
        done = run_program(
            PROGRAM,
            OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{port}",
            OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
            **patience(collector),
        )
    assert (done.code, done.out, done.err) == (0, "False\n", "")
    with receiving() as receiver:
        done = run_program(FLUSH, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url)
    assert (done.code, done.err) == (Exit.OK, "")
    assert len(receiver.taken) == COUNT
    assert len(Arrived(receiver.requests).spans()) == COUNT  # and each once


@pytest.mark.parametrize("collector", [refusing, silent])
def test_nor_does_one_together_with_a_disk_that_takes_nothing(run_program, collector):
    (run_program.folder / "file").write_text("")
    with collector() as port:
        done = run_program(
            PROGRAM,
            OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{port}",
            SPANRUN_SPOOL=str(run_program.folder / "file"),
            **patience(collector),
        )
    assert (done.code, done.out, done.err) == (0, "False\n", "")


FEW = """
sr.configure(store="none")
for number in range(3):
    with sr.unit("step"): pass
print(sr.shutdown())
"""


def test_it_is_true_when_everything_was_delivered(run_program):
    with receiving() as receiver:
        done = run_program(FEW, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url)
    assert (done.code, done.out, done.err) == (0, "True\n", "")


PARTIAL = ExportTraceServiceResponse(
    partial_success={"rejected_spans": 1, "error_message": "one is too old"}
).SerializeToString()


@pytest.mark.parametrize(
    ("answer", "lost"),
    [
        (Answer(400), "3 spans (rejected)"),
        (Answer(500), "3 spans (rejected)"),
        (Answer(200, body=PARTIAL), "1 spans (partial_success)"),
    ],
)
def test_it_is_false_when_something_was_refused_and_a_line_says_what(
    run_program, answer, lost
):
    def traces(got):
        return answer if got.path.endswith("traces") else Answer(200)

    with receiving(traces) as receiver:
        done = run_program(FEW, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url)
    assert (done.code, done.out) == (0, "False\n")
    assert f"not all telemetry was delivered: lost: {lost}" in done.err
    assert "kept in" not in done.err


def test_what_is_kept_is_said_with_its_place(run_program):
    with refusing() as port:
        done = run_program(FEW, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{port}")
    assert (done.code, done.out) == (0, "False\n")
    assert "kept in .spanrun/spool for the next process: 3 spans" in done.err
    assert "lost" not in done.err


def test_what_has_no_place_is_lost_and_that_is_said(run_program):
    (run_program.folder / "file").write_text("")
    with refusing() as port:
        done = run_program(
            FEW,
            OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{port}",
            SPANRUN_SPOOL=str(run_program.folder / "file"),
        )
    assert (done.code, done.out) == (0, "False\n")
    assert "lost: " in done.err
    assert "3 spans (disk_full)" in done.err
    assert "kept in" not in done.err


CALLBACK = """
from opentelemetry import metrics
import logging, threading, time
from spanrun.telemetry import setup
class Broken(logging.Handler):
    def emit(self, record): raise RuntimeError("handler")
logging.getLogger().addHandler(Broken())
sr.configure(store="none")
spans = lambda telemetry=setup.telemetry(): telemetry.status().signals["traces"]
def observe(options):
    CALLED
    return []
metrics.get_meter("theirs").create_observable_gauge("theirs", [observe])
with sr.unit("step"): pass
print(sr.shutdown(timeout=TIMEOUT))
"""


def test_a_callback_and_a_log_handler_that_raise_keep_nothing_from_being_sent(
    run_program,
):
    program = CALLBACK.replace("CALLED", "raise ValueError('callback')")
    with receiving() as receiver:
        done = run_program(
            program.replace("TIMEOUT", "60"), OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url
        )
    assert (done.code, done.out) == (0, "False\n")
    assert len(Arrived(receiver.requests).spans()) == 1


def test_a_callback_that_hangs_does_not_hold_up_the_end(run_program):
    program = CALLBACK.replace("CALLED", "threading.Event().wait()")
    with receiving() as receiver:
        done = run_program(
            program.replace("TIMEOUT", "1"), OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url
        )
    assert (done.code, done.out) == (0, "False\n")


def test_at_the_end_the_spans_are_sent_before_a_callback_is_called(run_program):
    called = "while not spans().delivered: time.sleep(0.01)"
    program = CALLBACK.replace("CALLED", called)
    with receiving() as receiver:
        done = run_program(
            program.replace("TIMEOUT", "None"), OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url
        )
    assert (done.code, done.out) == (0, "True\n")
    assert len(Arrived(receiver.requests).spans()) == 1
