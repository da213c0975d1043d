"""`configure` and `shutdown`, each in a process of its own: what arrives, and when."""

import socket

import pytest

pytestmark = pytest.mark.slow

RESULT = str([2 * number for number in range(20)])
"""Seconds, at most, for the interpreter and its imports on a busy machine."""
WORK = "print(sr.run(work()))\n"


def test_spans_and_metrics_arrive(run_program, collector):
    done = run_program(
        f"sr.configure(service_name='mine', endpoint={collector.url!r})\n"
        + WORK
        + "print(sr.shutdown())"
    )
    assert (done.code, done.err) == (0, "")
    assert done.out.split("\n")[:2] == [RESULT, "True"]
    assert len(collector.spans("job work")) == 20
    (run,) = collector.spans("run work")
    assert {job.parent_span_id for job in collector.spans("job work")} == {run.span_id}
    assert collector.services() == {"mine"}
    values = [
        point.as_int or point.as_double
        for labels, point in collector.points("spanrun.jobs")
        if labels["spanrun.job.outcome"] == "ok"
    ]
    assert values[0] == 0  # the zero point came first
    assert values[-1] == 20


def test_leaving_without_shutdown_delivers_too(run_program, collector):
    done = run_program(WORK, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url)
    assert collector.spans() == []  # nobody configured it
    done = run_program(
        "sr.configure()\n" + WORK, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url
    )
    assert (done.code, done.err) == (0, "")
    assert len(collector.spans("job work")) == 20


def test_what_was_recorded_last_arrives(run_program, collector):
    done = run_program(
        f"sr.configure(endpoint={collector.url!r})\n"
        "with sr.unit('last thing'): pass\n"
        "sr.shutdown()"
    )
    assert (done.code, done.err) == (0, "")
    assert len(collector.spans("last thing")) == 1
    ((labels, point),) = collector.points("spanrun.unit.duration")[-1:]
    assert labels["spanrun.unit.name"] == "last thing"
    assert point.count == 1


def test_spans_of_other_libraries_arrive_in_the_same_trace(run_program, collector):
    done = run_program(
        f"sr.configure(endpoint={collector.url!r})\n"
        "from opentelemetry import trace\n"
        "tracer = trace.get_tracer('theirs')\n"
        "async def job(_):\n"
        "    with tracer.start_as_current_span('theirs'): pass\n"
        "async def main():\n"
        "    async with sr.Runner('work') as runner: await runner.map(job, [1])\n"
        "sr.run(main())"
    )
    assert (done.code, done.err) == (0, "")
    (theirs,) = collector.spans("theirs")
    (job,) = collector.spans("job work")
    assert theirs.parent_span_id == job.span_id


def test_a_second_configure_takes_over(run_program, collector):
    done = run_program(
        "import threading\n"
        f"sr.configure(service_name='first', endpoint={collector.url!r})\n"
        "sr.run(work(3))\n"
        f"sr.configure(service_name='second', endpoint={collector.url!r})\n"
        "sr.run(work(5))\n"
        "from opentelemetry import trace\n"
        "print(sr.shutdown())\n"
        "print([t.name for t in threading.enumerate() if 'spanrun' in t.name])"
    )
    assert (done.code, done.err) == (0, "")
    assert done.out.split("\n")[:2] == ["True", "[]"]
    assert len(collector.spans("job work")) == 8
    assert collector.services() == {"first", "second"}


def test_after_a_second_configure_spans_of_other_libraries_arrive(
    run_program, collector
):
    done = run_program(
        f"sr.configure(endpoint={collector.url!r})\n"
        f"sr.configure(endpoint={collector.url!r})\n"
        "from opentelemetry import trace\n"
        "with trace.get_tracer('theirs').start_as_current_span('theirs'): pass\n"
        "sr.shutdown()"
    )
    assert (done.code, done.err) == (0, "")
    assert len(collector.spans("theirs")) == 1


def test_after_shutdown_nothing_is_recorded_and_all_goes_on(run_program, collector):
    done = run_program(
        f"sr.configure(endpoint={collector.url!r})\n"
        "sr.run(work(3))\n"
        "print(sr.shutdown(), sr.shutdown())\n" + WORK
    )
    assert (done.code, done.err) == (0, "")
    assert done.out.split("\n")[:2] == ["True True", RESULT]
    assert len(collector.spans("job work")) == 3


def test_after_shutdown_nobody_asks_for_telemetry_any_more(run_program):
    program = """
from spanrun.telemetry import setup
sr.configure(store="none")
assert setup.recorder() is not None
sr.shutdown()
print(setup.recorder())
"""
    assert run_program(program).out.split()[-1] == "None"


def test_switched_off_it_starts_nothing(run_program, collector):
    done = run_program(
        "import threading\n"
        f"sr.configure(endpoint={collector.url!r})\n"
        + WORK
        + "print(threading.active_count())",
        OTEL_SDK_DISABLED="true",
    )
    assert (done.code, done.err) == (0, "")
    assert done.out.split("\n")[:2] == [RESULT, "1"]
    assert not collector.traces
    assert not collector.metrics


FOREIGN = """
from opentelemetry import trace, metrics
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
kept, reader = InMemorySpanExporter(), InMemoryMetricReader()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(kept))
trace.set_tracer_provider(provider)
metrics.set_meter_provider(MeterProvider([reader]))
"""


@pytest.mark.parametrize("configured", [False, True])
def test_an_applications_own_providers_are_used_and_kept(
    run_program, collector, configured
):
    configure = f"sr.configure(endpoint={collector.url!r})\n" if configured else ""
    done = run_program(
        FOREIGN
        + configure
        + "sr.run(work(5))\n"
        + "sr.shutdown()\n"
        + "assert trace.get_tracer_provider() is provider\n"
        + "with trace.get_tracer('theirs').start_as_current_span('after'): pass\n"
        + "print(sorted({span.name for span in kept.get_finished_spans()}))\n"
        + "found = [m.name for r in reader.get_metrics_data().resource_metrics\n"
        + "         for s in r.scope_metrics for m in s.metrics]\n"
        + "print('spanrun.jobs' in found)\n"
    )
    assert (done.code, done.err) == (0, "")
    assert done.out.split("\n")[:2] == ["['after', 'job work', 'run work']", "True"]
    assert not collector.traces


def refusing():
    """A port at which nobody listens."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
@pytest.mark.parametrize("kind", ["refuses", "never answers"])
def test_a_dead_collector_changes_no_result_and_holds_nobody_up(
    run_program, protocol, kind
):
    with socket.socket() as mute:
        if kind == "never answers":
            mute.bind(("127.0.0.1", 0))
            mute.listen()
            port = mute.getsockname()[1]
        else:
            port = refusing()
        program = (
            "import logging\n"
            "logging.disable(logging.CRITICAL)\n"
            f"sr.configure(endpoint='http://127.0.0.1:{port}', protocol={protocol!r})\n"
            + WORK
            + "print(sr.shutdown())\n"
        )
        # Who waits longer than it may never ends: a request has an hour.
        done = run_program(
            program, SPANRUN_SHUTDOWN_TIMEOUT="1", OTEL_EXPORTER_OTLP_TIMEOUT="3600"
        )
    assert (done.code, done.err) == (0, "")
    assert done.out.split("\n")[:2] == [RESULT, "False"]


def test_a_dead_collector_holds_up_no_exit_without_shutdown(run_program):
    done = run_program(
        "import logging\n"
        "logging.disable(logging.CRITICAL)\n"
        f"sr.configure(endpoint='http://127.0.0.1:{refusing()}')\n" + WORK,
        SPANRUN_SHUTDOWN_TIMEOUT="3600",
    )
    assert (done.code, done.err, done.out.strip()) == (0, "", RESULT)


def test_no_http_stack_is_imported_by_who_configures(run_program):
    """The thread that sends imports it: 250 ms, for which nothing is to wait."""
    ended = run_program(
        """
from spanrun.telemetry.export.destination import Destination
from spanrun.telemetry.export.exporters import exporter
made = exporter(Destination("traces", "http/protobuf", "http://127.0.0.1:1"))
before = {"httpcore", "h11", "h2", "anyio"} & sys.modules.keys()
print(before, made.send(b"").verdict, "httpcore" in sys.modules)
"""
    )
    assert ended.out.strip() == "set() retry True", ended
