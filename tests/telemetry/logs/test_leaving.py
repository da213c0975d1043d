"""Log records by what arrives over OTLP, from programs of their own."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.telemetry.export.receiver import Answer, Receiver, receiving
from tests.telemetry.logs.arrived import records, scopes, values
from tests.telemetry.test_variables import Arrived

pytestmark = pytest.mark.slow

LOGGING = """
import logging
logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
log = logging.getLogger("app")

async def logged(number):
    log.info("number %d", number)
    if number == 3:
        log.error("three: token=hunter2hunter2", extra={"password": "hunter2hunter2"})
    return await double(number)

async def jobs(items=5):
    async with sr.Runner("work", limit=4) as runner:
        await runner.map(logged, range(items), key=lambda number: f"n{number}")
"""
WORK = LOGGING + (
    "sr.configure(service_name='mine', logs='INFO')\n"
    "log.info('outside')\n"
    "sr.run(jobs())\n"
    "assert sr.shutdown()\n"
)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


@pytest.fixture
def ran(run_program: Any, receiver: Receiver) -> Any:
    def run(text: str = WORK, **environ: str) -> list[Any]:
        environ.setdefault("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        done = run_program(text, **environ)
        assert (done.code, done.err) == (0, ""), done.err
        return records(receiver.requests)

    return run


def bodies(found: list[Any]) -> list[str]:
    return [record.body.string_value for record in found]


def test_records_arrive_with_their_trace_run_and_job(ran: Any, receiver: Receiver):
    found = ran()
    assert sorted(bodies(found)) == [
        *(f"number {number}" for number in range(5)),
        "outside",
        "three: token=[redacted]",
    ]
    arrived = Arrived(receiver.requests)
    jobs = {span.span_id: span for span in arrived.spans("job work")}
    assert len(jobs) == 5
    for record in found:
        told = values(record)
        if record.body.string_value == "outside":
            code = {name for name in told if name.startswith("code.")}
            assert (record.trace_id, told.keys()) == (b"", code)
            continue
        job = values(jobs[record.span_id])
        assert record.trace_id == jobs[record.span_id].trace_id
        assert record.flags & 1
        for key in ("run.id", "runner.name", "job.index", "job.key"):
            assert told[f"spanrun.{key}"] == job[f"spanrun.{key}"]
    (error,) = [record for record in found if record.severity_text == "ERROR"]
    assert set(values(error).values()) >= {"[redacted]"}
    for resource, logger, _ in scopes(receiver.requests):
        assert (resource["service.name"], logger) == ("mine", "app")


def test_without_the_argument_logging_is_left_alone(ran: Any, receiver: Receiver):
    text = WORK.replace(", logs='INFO'", "").replace(
        "sr.run(", "assert logging.Logger.callHandlers.__module__ == 'logging'\nsr.run("
    )
    assert ran(text, OTEL_LOGS_EXPORTER="otlp") == []


def test_the_variable_asks_for_logs_too(ran: Any):
    text = WORK.replace(", logs='INFO'", "")
    assert bodies(ran(text, SPANRUN_LOGS="error")) == ["three: token=[redacted]"]


@pytest.mark.parametrize("exporter", ["none", "console"])
def test_the_exporter_is_chosen_by_its_variable(
    run_program: Any, receiver: Receiver, exporter: str
):
    done = run_program(
        WORK,
        OTEL_LOGS_EXPORTER=exporter,
        OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url,
    )
    assert (done.code, done.err) == (0, "")
    assert records(receiver.requests) == []
    lines = [json.loads(line) for line in done.out.splitlines() if line[:1] == "{"]
    printed = [
        record["body"]["stringValue"]
        for line in lines
        for resource in line["resourceLogs"]
        for scope in resource["scopeLogs"]
        for record in scope["logRecords"]
    ]
    assert len(printed) == (7 if exporter == "console" else 0)


def test_their_endpoint_protocol_and_headers_are_their_own(
    ran: Any, receiver: Receiver
):
    own = "OTEL_EXPORTER_OTLP_LOGS_"
    found = ran(
        OTEL_EXPORTER_OTLP_ENDPOINT="",
        **{
            f"{own}ENDPOINT": f"{receiver.url}/here/logs",
            f"{own}HEADERS": "key=mine",
            f"{own}COMPRESSION": "gzip",
        },
    )
    assert len(found) == 7
    for got in receiver.requests:
        assert got.path == "/here/logs"
        assert (got.headers["key"], got.headers["content-encoding"]) == ("mine", "gzip")


def test_batches_are_as_large_as_their_variable_says(ran: Any, receiver: Receiver):
    text = WORK.replace("jobs()", "jobs(100)")
    found = ran(
        text,
        OTEL_BLRP_MAX_EXPORT_BATCH_SIZE="1",
        OTEL_BLRP_MAX_QUEUE_SIZE="10",
        OTEL_BLRP_SCHEDULE_DELAY="1",
    )
    assert len(found) == 102


def test_limits_are_those_of_the_variables(ran: Any):
    found = ran(
        OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT="0",
        OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT="3",
    )
    told = [record for record in found if record.trace_id]
    # The run, the runner, index and key are always there, and the line that made it.
    assert {len(record.attributes) for record in told} == {7}
    assert sum(record.dropped_attributes_count for record in told) == 1
    assert all(len(record.body.string_value) <= 3 for record in told)


def test_what_cannot_be_delivered_is_kept_for_the_next_process(
    run_program: Any, tmp_path: Any
):
    spool = str(tmp_path / "spool")
    dead = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "SPANRUN_SPOOL": spool}
    text = WORK.replace("assert sr.shutdown()", "sr.shutdown(1.0)")
    done = run_program(text, **dead)
    assert done.code == 0
    assert "kept in" in done.out
    assert "7 log records" in done.out
    with receiving() as receiver:
        later = "sr.configure(logs='INFO')\nassert sr.shutdown(30.0)\n"
        done = run_program(
            later, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url, SPANRUN_SPOOL=spool
        )
        assert (done.code, done.err) == (0, "")
        assert len(records(receiver.requests)) == 7


def test_a_request_that_is_too_large_is_cut_in_two(run_program: Any):
    def answer(got: Any) -> Answer:
        too_large = got.path == "/v1/logs" and len(got.body) > 20_000
        return Answer(413) if too_large else Answer()

    with receiving(answer) as receiver:
        text = WORK.replace("jobs()", "jobs(400)")
        done = run_program(text, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url)
        assert (done.code, done.err) == (0, ""), done.out[-2000:]
        taken = [got for got in receiver.requests if answer(got).status == 200]
        assert len(taken) < len(receiver.requests)
        assert len({record.span_id for record in records(taken)}) == 401
        assert len(records(taken)) == 402


def test_sending_them_makes_none(ran: Any):
    text = WORK.replace(
        "assert sr.shutdown()",
        "from spanrun.telemetry import setup\n"
        "for _ in range(5): setup.telemetry().flush(30.0)\n"
        "assert sr.shutdown()",
    )
    loud = text.replace("level=logging.INFO", "level=logging.DEBUG").replace(
        "logs='INFO'", "logs='DEBUG'"
    )
    found = bodies(ran(loud))
    assert len(found) == len(set(found))
    assert {body for body in found if "number" not in body} == {
        "outside",
        "three: token=[redacted]",
        "Using selector: EpollSelector",
    }


PROVIDER = """
from opentelemetry._logs import set_logger_provider
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import (
    InMemoryLogRecordExporter, SimpleLogRecordProcessor,
)
theirs = InMemoryLogRecordExporter()
provider = LoggerProvider()
provider.add_log_record_processor(SimpleLogRecordProcessor(theirs))
set_logger_provider(provider)
"""
HANDLER = """
from opentelemetry.instrumentation.logging.handler import LoggingHandler
logging.getLogger().addHandler(LoggingHandler(logger_provider=provider))
"""
TOLD = """
found = [each.log_record for each in theirs.get_finished_logs()]
print(len(found), sum(each.trace_id != 0 for each in found))
print(sorted({str(each.attributes.get("spanrun.job.index")) for each in found}))
print([dict(e.attributes)["password"] for e in found if "password" in e.attributes])
"""


def test_an_applications_own_provider_gets_them(run_program: Any, receiver: Receiver):
    text = WORK.replace("sr.configure", f"{PROVIDER}\nsr.configure")
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url}
    done = run_program(text + TOLD, **environ)
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[-3:] == [
        "7 6",
        "['0', '1', '2', '3', '4', 'None']",
        "['[redacted]']",
    ]
    assert records(receiver.requests) == []


def test_what_its_own_handler_gives_it_is_not_doubled(
    run_program: Any, receiver: Receiver
):
    text = WORK.replace("sr.configure", f"{PROVIDER}{HANDLER}\nsr.configure")
    done = run_program(text + TOLD, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url)
    assert (done.code, done.err) == (0, "")
    assert "\n7 6\n" in done.out
    assert records(receiver.requests) == []


def test_they_go_to_the_providers_of_the_application_alone(
    run_program: Any, receiver: Receiver
):
    """With a TracerProvider of its own, nothing of ours is sent."""
    text = (
        "from opentelemetry import trace\n"
        "from opentelemetry.sdk.trace import TracerProvider\n"
        "trace.set_tracer_provider(TracerProvider())\n"
    ) + WORK.replace('format="%(message)s"', 'format="%(message)s %(spanrun_runner)s"')
    text = text.replace("log.info('outside')\n", "")
    done = run_program(text, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url)
    assert (done.code, done.err) == (0, "")
    assert done.out.count(" work\n") == 6
    assert receiver.requests == []


def test_a_forked_child_sends_its_own_records_once(ran: Any):
    text = LOGGING + (
        "import os\n"
        "sr.configure(logs='INFO')\n"
        "log.info('parent')\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    log.info('child')\n"
        "    sr.shutdown()\n"
        "    os._exit(0)\n"
        "os.waitpid(child, 0)\n"
        "assert sr.shutdown()\n"
    )
    assert sorted(bodies(ran(text))) == ["child", "parent"]
