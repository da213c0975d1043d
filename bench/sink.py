"""A loopback OTLP receiver in a process of its own: takes everything, counts spans.

Bodies are kept as they came, and decoded when the count is asked for: so the
sink takes as little as it can of the machine while a contestant is measured.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
GZIP = b"\x1f\x8b"


class Sink(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self.bodies: list[bytes] = []
        self.delay = 0.0
        self.keeps = True

    def spans(self) -> int:
        """How many different ones have come since this was asked last."""
        return len({span.span_id for span in self._taken()})

    def faults(self) -> dict[str, int]:
        """How many came since the last look, came twice, or have no parent here."""
        spans = self._taken()
        ids = {span.span_id for span in spans}
        orphans = sum(
            bool(span.parent_span_id) and span.parent_span_id not in ids
            for span in spans
        )
        return {"spans": len(spans), "twice": len(spans) - len(ids), "orphans": orphans}

    def _taken(self) -> list[Any]:
        from opentelemetry.proto.collector.trace.v1 import (  # noqa: PLC0415 -- when asked
            trace_service_pb2,
        )

        bodies, self.bodies = self.bodies, []
        plain = (gzip.decompress(each) if each[:2] == GZIP else each for each in bodies)
        parse = trace_service_pb2.ExportTraceServiceRequest.FromString
        return [
            span
            for request in map(parse, plain)
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


class _Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Sink

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/v1/traces":
            time.sleep(self.server.delay)
            if self.server.keeps:
                self.server.bodies.append(body)
        self._answer(b"")

    def do_GET(self) -> None:
        asked = self.server.faults if self.path == "/faults" else self.server.spans
        self._answer(json.dumps(asked()).encode())

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def running(delay: float = 0.0, *, keeps: bool = True) -> Generator[str]:
    """A sink in another process, each answer ``delay`` seconds late; its address.

    One that ``keeps`` no bodies has no spans to count, and doesn't grow.
    """
    command = [sys.executable, "-m", "bench.sink", str(delay), str(int(keeps))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.communicate()


def faults(address: str) -> dict[str, int]:
    with urllib.request.urlopen(f"{address}/faults", timeout=120) as answer:
        return dict(json.loads(answer.read()))


def spans(address: str) -> int:
    with urllib.request.urlopen(f"{address}/spans", timeout=120) as answer:
        return int(answer.read())


if __name__ == "__main__":
    with Sink() as sink:
        sink.delay = float(sys.argv[1])
        sink.keeps = sys.argv[2] == "1"
        print(sink.server_port, flush=True)
        sink.serve_forever()
