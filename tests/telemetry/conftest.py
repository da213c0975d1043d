"""A collector that keeps what arrives over OTLP, and programs that send to it."""

import shutil
import subprocess
import sys
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
)
from tests.programs import UNBLOCKED, plain_environ
from tests.waiting import PATIENCE

PRELUDE = """
import asyncio, sys

import spanrun as sr

async def double(number):
    await asyncio.sleep(0)
    return number * 2

async def work(items=20):
    async with sr.Runner("work", limit=4) as runner:
        return await runner.map(double, range(items))
"""


class Collector:
    """An OTLP/HTTP endpoint on loopback."""

    def __init__(self):
        self.traces = []
        self.metrics = []
        self.logs = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    import gzip  # noqa: PLC0415

                    body = gzip.decompress(body)
                collector.take(self.path, body)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.01}
        )

    def take(self, path, body):
        if path == "/v1/traces":
            self.traces.append(ExportTraceServiceRequest.FromString(body))
        elif path == "/v1/logs":
            self.logs.append(ExportLogsServiceRequest.FromString(body))
        else:
            assert path == "/v1/metrics"
            self.metrics.append(ExportMetricsServiceRequest.FromString(body))

    def spans(self, name=None):
        return [
            span
            for request in self.traces
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
            if name in (None, span.name)
        ]

    def services(self):
        requests = [r.resource_spans for r in self.traces]
        requests += [r.resource_metrics for r in self.metrics]
        return {
            attribute.value.string_value
            for resources in requests
            for resource in resources
            for attribute in resource.resource.attributes
            if attribute.key == "service.name"
        }

    def points(self, name):
        """The points of a metric, oldest first: labels and point."""
        return [
            ({a.key: a.value.string_value for a in point.attributes}, point)
            for request in self.metrics
            for resource in request.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in (metric.sum.data_points or metric.histogram.data_points)
        ]


@pytest.fixture
def collector():
    collector = Collector()
    collector.thread.start()
    yield collector
    collector.server.shutdown()
    collector.server.server_close()
    collector.thread.join()


@dataclass
class Ended:
    """A program that has ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def run_program(tmp_path):
    """Run Python text in a process of its own, in an empty folder."""

    def run(text, **environ):
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", PRELUDE + text],
            cwd=tmp_path,
            env={**plain_environ(), **UNBLOCKED, **environ},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    run.folder = Path(tmp_path)
    return run


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl on the path to make certificates with")
    folder = tmp_path_factory.mktemp("tls")
    for name in ("server", "client"):
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "ec", "-nodes"),
                *("-pkeyopt", "ec_paramgen_curve:prime256v1", "-days", "2"),
                *("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"),
                *("-keyout", f"{name}.key", "-out", f"{name}.pem"),
            ],
            cwd=folder,
            check=True,
            capture_output=True,
        )
    return folder
