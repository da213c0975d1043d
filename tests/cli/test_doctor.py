"""`spanrun doctor`: what it finds, what it says to do, and how it ends."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry import trace
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
)
from opentelemetry.sdk.trace import TracerProvider
from tests.cli.conftest import Cli
from tests.cli.test_spool import Leave, closed_port, leave, traces
from tests.telemetry.export.receiver import Answer, Got, Receiver, receiving

from spanrun.cli import checkup
from spanrun.cli.exits import Exit

__all__ = ["leave"]  # a fixture

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


def checks(found: str) -> dict[str, str]:
    """The checks by their names, each as its mark, its fact and its fix."""
    blocks: dict[str, str] = {}
    name = ""
    for line in found.splitlines():
        if line.startswith(" "):
            blocks[name] += " " + line.strip()
        else:
            mark, name, fact = line.split(maxsplit=2)
            blocks[name] = f"{mark} {fact}"
    return blocks


@pytest.fixture
def receiver(cli: Cli) -> Iterator[Receiver]:
    with receiving() as found:
        cli.environ[ENDPOINT] = found.url
        yield found


def test_all_is_well_without_any_endpoint(cli: Cli):
    result = cli("doctor")
    assert (result.code, result.err) == (Exit.OK, "")
    found = checks(result.out)
    assert found["traces"] == "✓ no endpoint is set: kept in the local store"
    assert found["queue"] == "✓ .spanrun/spool: 0 spans and data points wait"
    assert found["store"].startswith("✓ .spanrun can be written")
    assert not (cli.folder / ".spanrun").exists()


def test_a_test_span_and_no_metric_is_sent(cli: Cli, receiver: Receiver):
    result = cli("doctor")
    assert result.code == Exit.OK
    sent: dict[str, Got] = {got.path: got for got in receiver.requests}
    spans = ExportTraceServiceRequest.FromString(sent["/v1/traces"].body)
    ((span,),) = [scope.spans for scope in spans.resource_spans[0].scope_spans]
    assert span.name == "spanrun doctor"
    points = ExportMetricsServiceRequest.FromString(sent["/v1/metrics"].body)
    assert not points.resource_metrics
    assert "took a test span in" in checks(result.out)["traces"]


def test_nothing_is_sent_where_that_is_not_wanted(cli: Cli, receiver: Receiver):
    result = cli("doctor", "--no-send")
    assert result.code == Exit.OK
    assert receiver.requests == []
    assert checks(result.out)["traces"] == f"✓ to {receiver.url}/v1/traces ({ENDPOINT})"


def test_an_endpoint_where_nobody_listens_is_a_fault(cli: Cli):
    cli.environ[ENDPOINT] = closed_port()
    result = cli("doctor")
    assert result.code == Exit.UNREACHABLE
    found = checks(result.out)["traces"]
    assert found.startswith("✕ http://127.0.0.1:")
    assert "ConnectionRefusedError" in found
    assert f"→ Start a Collector there, or correct the endpoint: {ENDPOINT}." in found


def test_an_endpoint_that_refuses_is_a_fault_with_what_it_says(cli: Cli):
    with receiving(lambda _: Answer(404)) as receiver:
        cli.environ[ENDPOINT] = receiver.url
        result = cli("doctor")
    assert result.code == Exit.UNREACHABLE
    assert "did not take it: 404" in checks(result.out)["metrics"]


def test_a_setting_of_a_signal_that_can_not_work_costs_that_check_alone(
    cli: Cli, receiver: Receiver
):
    cli.environ["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT"] = "soon"
    result = cli("doctor")
    assert result.code == Exit.CONFIGURATION
    found = checks(result.out)
    assert found["traces"].startswith("✕ OTEL_EXPORTER_OTLP_TRACES_TIMEOUT='soon'")
    assert found["metrics"].startswith("✓")


def test_a_provider_of_somebody_else_is_named(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", TracerProvider())
    found = checks(cli("doctor").out)["provider"]
    assert found.startswith("! opentelemetry.sdk.trace.TracerProvider is set already")


def test_telemetry_that_is_off_is_said(cli: Cli):
    cli.environ["OTEL_SDK_DISABLED"] = "true"
    result = cli("doctor")
    assert result.code == Exit.OK
    assert checks(result.out)["telemetry"].startswith("! off")


def test_what_waits_and_what_was_refused_is_said(cli: Cli, leave: Leave):
    leave(traces("a", "b"))
    assert ": 2 spans and data points wait" in checks(cli("doctor").out)["queue"]
    leave(traces("c"), refused="400")
    found = checks(cli("doctor").out)["queue"]
    assert found.startswith("! ")
    assert "and some were refused → See spanrun spool inspect --refused." in found


def test_a_folder_that_can_not_be_made_is_a_fault(cli: Cli):
    (cli.folder / "file").write_text("in the way", "utf-8")
    cli.environ["SPANRUN_STORE"] = "file/store"
    result = cli("doctor")
    assert result.code == Exit.DISK
    assert checks(result.out)["store"].startswith("✕ file can't be written: Not a dir")


def test_a_container_that_was_throttled_is_told(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "cpu.max").write_text("50000 100000\n", "ascii")
    (tmp_path / "cpu.stat").write_text("usage_usec 5\nnr_throttled 12\n", "ascii")
    monkeypatch.setattr(checkup, "_CGROUP", tmp_path)
    found = checks(cli("doctor").out)["cpu"]
    assert found.startswith("! 0.5 CPUs, and the container was stopped 12 times")


def test_as_json_it_is_one_object(cli: Cli):
    cli.environ[ENDPOINT] = closed_port()
    result = cli("doctor", "--json")
    assert result.code == Exit.UNREACHABLE
    found = {each["check"]: each for each in result.json["checks"]}
    assert found["traces"]["level"] == "fault"
    assert found["python"] == {
        "check": "python",
        "level": "ok",
        "fact": found["python"]["fact"],
        "fix": "",
        "code": 0,
    }
