"""Leaving takes 5 s at most, whatever the collector does, and loses nothing."""

import socket
from contextlib import contextmanager

import pytest
from tests.telemetry.delivery.receiver import Answer, receiving
from tests.telemetry.test_variables import Arrived

from spanrun.cli.exits import Exit

pytestmark = pytest.mark.slow

COUNT = 20_000
LIMIT = 5.0
PROGRAM = f"""
import logging, time
logging.disable(logging.CRITICAL)
sr.configure(store="none")
for number in range({COUNT}):
    with sr.unit("step"): pass
started = time.monotonic()
print(sr.shutdown(), time.monotonic() - started)
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
        )
    assert (done.code, done.err) == (0, "")
    delivered, seconds = done.out.split()
    assert delivered == "False"
    assert float(seconds) < LIMIT
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
        )
    assert (done.code, done.err) == (0, "")
    delivered, seconds = done.out.split()
    assert delivered == "False"
    assert float(seconds) < LIMIT
