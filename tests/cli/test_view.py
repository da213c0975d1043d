"""`spanrun view`: a server until Ctrl-C."""

import json
import signal
import socket
import subprocess
import sys
import urllib.request
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceStub,
)
from tests import programs
from tests.cli.conftest import Cli
from tests.waiting import PATIENCE

import spanrun as sr
from spanrun import recordings
from spanrun.view.server import HOST


async def main() -> None:
    async with sr.Runner("count") as runner:
        await runner.map(str_of, range(3))


async def str_of(number: int) -> str:
    return str(number)


@pytest.fixture
def recorded(cli: Cli) -> Path:
    sr.configure()
    sr.run(main())
    assert sr.shutdown()
    return cli.folder


@contextmanager
def viewing(folder: Path, *options: str) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "spanrun", "view", *options]
    process = programs.start(command, cwd=folder, stderr=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def line(process: "subprocess.Popen[str]") -> str:
    assert process.stderr is not None
    return process.stderr.readline().strip()


def test_it_says_where_the_page_is_and_ends_by_ctrl_c(recorded: Path) -> None:
    with viewing(recorded) as process:
        url = line(process)
        assert line(process) == "Ctrl-C ends it"
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        with opener.open(url, timeout=60) as answer:
            assert b"<title>spanrun</title>" in answer.read()
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0


def test_a_port_that_is_taken_is_said(cli: Cli, recorded: Path) -> None:
    with socket.socket() as other:
        other.bind((HOST, 0))
        other.listen()
        port = other.getsockname()[1]
        result = cli("view", "--port", str(port), "--store", str(recorded / ".spanrun"))
    assert result.code == 2
    assert f"port {port} can't be used" in result.err
    assert "--port" in result.err


def test_without_a_recording_it_says_so(cli: Cli) -> None:
    result = cli("view")
    assert result.code == 65
    assert "Run something first" in result.err


def request(name: str) -> bytes:
    told = ExportTraceServiceRequest()
    span = told.resource_spans.add().scope_spans.add().spans.add(name=name)
    span.trace_id, span.span_id = b"1" * 16, b"1" * 8
    span.start_time_unix_nano, span.end_time_unix_nano = 10**18, 10**18 + 10**9
    body: bytes = told.SerializeToString()
    return body


@pytest.mark.parametrize("given", ["0", "127.0.0.1:0", "localhost:0", "[::1]:0"])
def test_it_takes_otlp_where_nothing_was_recorded(tmp_path: Path, given: str) -> None:
    with viewing(tmp_path, "--listen", given) as process:
        name, _, endpoint = line(process).partition("=")
        assert name == "OTEL_EXPORTER_OTLP_ENDPOINT"
        url = line(process)
        assert line(process) == "Ctrl-C ends it"
        sent = urllib.request.Request(  # noqa: S310 -- its own address
            f"{endpoint}/v1/traces",
            request("GET /"),
            {"Content-Type": "application/x-protobuf"},
        )
        with urllib.request.urlopen(sent, timeout=60) as answer:  # noqa: S310
            assert answer.status == 200
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        opener.open(url, timeout=60).close()
        data = url.partition("?")[0] + "data"
        with opener.open(data, timeout=60) as answer:
            shown = json.loads(zlib.decompress(answer.read()))
        assert [each["name"] for each in shown["runners"]] == ["GET /"]
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0
        said = "received 1 spans, 0 log records and 0 points of metrics"
        assert line(process) == said
    with recordings.open(tmp_path / ".spanrun") as recording:
        assert len(list(recording.jobs())) == 1


def test_it_takes_http_and_grpc_at_the_same_time(tmp_path: Path) -> None:
    with viewing(tmp_path, "--listen", "0", "--listen-grpc", "0") as process:
        by_http = line(process).partition("=")[2]
        by_grpc, _, protocol = line(process).partition("=")[2].partition(" ")
        assert protocol == "OTEL_EXPORTER_OTLP_PROTOCOL=grpc"
        line(process)
        assert line(process) == "Ctrl-C ends it"
        sent = urllib.request.Request(  # noqa: S310 -- its own address
            f"{by_http}/v1/traces",
            request("GET /"),
            {"Content-Type": "application/x-protobuf"},
        )
        urllib.request.urlopen(sent, timeout=60).close()  # noqa: S310
        with grpc.insecure_channel(by_grpc.removeprefix("http://")) as channel:
            told = ExportTraceServiceRequest.FromString(request("GET /cart"))
            TraceServiceStub(channel).Export(told, timeout=60)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0
        said = "received 2 spans, 0 log records and 0 points of metrics"
        assert line(process) == said


@pytest.mark.parametrize("option", ["--listen", "--listen-grpc"])
def test_it_listens_on_the_loopback_interface_alone(
    tmp_path: Path, option: str
) -> None:
    with viewing(tmp_path, option, "0") as process:
        port = int(line(process).partition(" ")[0].rpartition(":")[2])
        with socket.socket() as other:
            other.bind(("127.0.0.2", port))  # free: nobody has all addresses


def test_another_address_is_warned_of(tmp_path: Path) -> None:
    with viewing(tmp_path, "--listen", "0.0.0.0:0") as process:
        line(process)
        assert line(process).startswith("whoever reaches 0.0.0.0 may send")


@pytest.mark.parametrize("given", ["", "x", "-1", "65536", "a:b", "1.2.3.4:", "²"])
@pytest.mark.parametrize("option", ["--listen", "--listen-grpc"])
def test_nonsense_is_no_port(cli: Cli, recorded: Path, given: str, option: str) -> None:
    result = cli("view", option, given, "--store", str(recorded / ".spanrun"))
    assert result.code == 2
    assert f"{option} {given}" in result.err


@pytest.mark.parametrize("option", ["--listen", "--listen-grpc"])
def test_a_port_to_listen_at_that_is_taken_is_said(
    cli: Cli, recorded: Path, option: str
) -> None:
    with socket.socket() as other:
        other.bind((HOST, 0))
        other.listen()
        port = other.getsockname()[1]
        store = ("--store", str(recorded / ".spanrun"))
        result = cli("view", option, str(port), *store)
    assert result.code == 2
    assert f"port {port} can't be used" in result.err
    away = cli("view", option, "192.0.2.1:0", *store)
    assert away.code == 2
    assert "192.0.2.1, port 0, can't be used" in away.err


def test_a_file_is_shown_and_can_not_be_listened_into(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "traces.bin"
    path.write_bytes(request("GET /"))
    with viewing(tmp_path, str(path)) as process:
        url = line(process)
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        with opener.open(url, timeout=60) as answer:
            assert answer.status == 200
    for option in ("--listen", "--listen-grpc"):
        assert cli("view", str(path), option, "0").code == 2
