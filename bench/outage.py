"""What an outage costs: the stock SDK and spanrun's spool, side by side.

    python -m bench.outage            # 30 s down, then up: about a minute
    python -m bench.outage --quick    # 8 s down: about 35 s

All contestants send at the same time, each from a process of its own, to the same
receiver, which counts distinct span ids and is down at first. ``burst`` makes its
spans at once, ``spread`` over the outage and a third of it more. ``dead`` meets a
receiver that never comes up with a few spans, to see how long the end takes; there
spanrun leaves its spans on disk, and a second process brings them to a living
receiver.

Both contestants make the same spans with the SDK and encode them with its encoder.
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
)
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from spanrun.telemetry.account import Account
from spanrun.telemetry.export.destination import Destination
from spanrun.telemetry.export.exporters import exporter
from spanrun.telemetry.queue.queued_exporter import QueuedExporter

ROOT = Path(__file__).parent.parent
SHAPES = ("burst", "spread", "dead")
CONTESTANTS = ("stock", "spanrun")
SETTLE = 2.0  # seconds between the receiver's return, or the last span, and the end


# --- the receiver


class Receiver:
    """Counts distinct span ids by the first part of the path. In its own process."""

    def __init__(self) -> None:
        self.port = free_port()
        self._bodies: dict[str, list[bytes]] = defaultdict(list)
        self._server: ThreadingHTTPServer | None = None

    def up(self) -> None:
        bodies = self._bodies

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                bodies[self.path.split("/")[1]].append(body)
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def count(self) -> dict[str, dict[str, int]]:
        found: dict[str, dict[str, int]] = {}
        for name, bodies in self._bodies.items():
            seen = [
                span.span_id
                for body in bodies
                for resource in ExportTraceServiceRequest.FromString(
                    body
                ).resource_spans
                for scope in resource.scope_spans
                for span in scope.spans
            ]
            found[name] = {"spans": len(set(seen)), "again": len(seen) - len(set(seen))}
        return found

    def serve(self) -> None:
        """Do what stdin says: ``up``, ``count``."""
        print(self.port, flush=True)
        for line in sys.stdin:
            if line.strip() == "up":
                self.up()
                print("up", flush=True)
            else:
                print(json.dumps(self.count()), flush=True)


# --- the contestants


def stock(url: str, _: Path) -> tuple[Any, Callable[[], Any]]:
    """What OpenTelemetry's documentation tells to do, with its defaults."""
    provider = TracerProvider(shutdown_on_exit=False)
    exporter = OTLPSpanExporter(endpoint=f"{url}/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider.get_tracer("bench"), provider.shutdown


def spanrun(url: str, folder: Path) -> tuple[Any, Callable[[], Any]]:
    """The same spans through the outbox and the spool."""
    where = Destination("traces", "http/protobuf", f"{url}/v1/traces")
    spooled = QueuedExporter(folder, {"traces": exporter(where)}, Account())

    class Batches(SpanProcessor):
        """Encodes each 512 spans at once: no queue, so what is lost is the spool's."""

        spans: list[ReadableSpan] = []  # noqa: RUF012 -- there is one of it

        def on_end(self, span: ReadableSpan) -> None:
            self.spans.append(span)
            if len(self.spans) == 512:
                self.send()

        def send(self) -> None:
            payload = encode_spans(self.spans).SerializeToString()
            spooled.put("traces", payload, len(self.spans))
            self.spans.clear()

    batches = Batches()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(batches)

    def shutdown() -> bool:
        batches.send()
        return spooled.close(5.0)

    return provider.get_tracer("bench"), shutdown


def contend(options: argparse.Namespace) -> None:
    """Make the spans, wait until the outage is over, and end. In its own process."""
    set_up = stock if options.contestant == "stock" else spanrun
    tracer, shutdown = set_up(options.url, Path(options.folder))
    began = time.monotonic()
    pause = 0.0
    if options.shape == "spread":
        pause = options.seconds * 4 / 3 / options.spans
    for number in range(options.spans):
        with tracer.start_as_current_span("job") as span:
            span.set_attribute("index", number)
        if pause:
            time.sleep(max(0.0, began + pause * number - time.monotonic()))
    made = time.monotonic() - began
    if options.shape != "dead":
        time.sleep(max(0.0, began + 2 + options.seconds - time.monotonic()) + SETTLE)
    leaving = time.monotonic()
    shutdown()
    result = {"made": made, "shutdown": time.monotonic() - leaving}
    print(json.dumps(result), flush=True)


def bring(options: argparse.Namespace) -> None:
    """The next process: deliver what a dead one left."""
    _, shutdown = spanrun(options.url, Path(options.folder))
    time.sleep(1.0)
    shutdown()
    print(json.dumps({}))


# --- the run


@dataclass
class Row:
    contestant: str
    shape: str
    spans: int
    delivered: int = 0
    again: int = 0
    made: float = 0.0
    shutdown: float = 0.0

    @property
    def lost(self) -> float:
        return 100 * (1 - self.delivered / self.spans)


def run(options: argparse.Namespace) -> list[Row]:
    with subprocess.Popen(
        [sys.executable, "-m", "bench.outage", "--role", "receiver"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as receiver:
        assert receiver.stdin is not None
        assert receiver.stdout is not None
        base = f"http://127.0.0.1:{int(receiver.stdout.readline())}"
        dead = f"http://127.0.0.1:{free_port()}"
        rows = entries(options.spans)
        with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(9) as pool:

            def start(row: Row) -> None:
                name = f"{row.contestant}-{row.shape}"
                url = dead if row.shape == "dead" else f"{base}/{name}"
                result = ask(options, row, url, f"{folder}/{name}", "contend")
                row.made, row.shutdown = result["made"], result["shutdown"]

            began = time.monotonic()
            running = [pool.submit(start, row) for row in rows]
            # They need a moment to begin: down for them a bit longer, not shorter.
            time.sleep(max(0.0, began + 2 + options.seconds - time.monotonic()))
            say(receiver, "up")
            for each in running:
                each.result()
            last = rows[-1]
            ask(
                options, last, f"{base}/spanrun-dead", f"{folder}/spanrun-dead", "bring"
            )
        counts = json.loads(say(receiver, "count"))
        for row in rows:
            found = counts.get(f"{row.contestant}-{row.shape}", {})
            row.delivered, row.again = found.get("spans", 0), found.get("again", 0)
        receiver.stdin.close()
        return rows


def entries(spans: int) -> list[Row]:
    return [
        Row(contestant, shape, min(2000, spans) if shape == "dead" else spans)
        for shape in SHAPES
        for contestant in CONTESTANTS
    ]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def say(receiver: subprocess.Popen[str], word: str) -> str:
    assert receiver.stdin is not None
    assert receiver.stdout is not None
    receiver.stdin.write(f"{word}\n")
    receiver.stdin.flush()
    return receiver.stdout.readline()


def ask(
    options: argparse.Namespace, row: Row, url: str, folder: str, role: str
) -> dict[str, float]:
    command = [
        *(sys.executable, "-m", "bench.outage", "--role", role),
        *("--contestant", row.contestant, "--shape", row.shape, "--url", url),
        *("--spans", str(row.spans), "--seconds", str(options.seconds)),
        *("--folder", folder),
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=300
    )
    if done.returncode:  # what the stock SDK logs is of interest only then
        print(done.stderr, file=sys.stderr)
        done.check_returncode()
    return json.loads(done.stdout)


def show(rows: list[Row], seconds: float) -> None:
    print(f"receiver down {seconds:g} s, then up; {rows[0].spans:,} spans each\n")
    print(f"{'':18}{'delivered':>11}{'lost':>9}{'twice':>8}{'made in':>10}{'end':>9}")
    for row in rows:
        name = f"{row.shape:7} {row.contestant}"
        print(
            f"{name:18}{row.delivered:>11,}{row.lost:>8.1f}%{row.again:>8,}"
            f"{row.made:>8.1f} s{row.shutdown:>7.2f} s"
        )
    print("\n'dead': spanrun's spans are those that the next process delivered.")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--spans", type=int, default=50_000)
    parser.add_argument("--seconds", type=float, default=30.0, help="of the outage")
    parser.add_argument("--quick", action="store_true", help="an outage of 8 s")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--role", default="run", help=argparse.SUPPRESS)
    for name in ("contestant", "shape", "url", "folder"):
        parser.add_argument(f"--{name}", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role == "receiver":
        Receiver().serve()
        return 0
    if options.role != "run":
        (contend if options.role == "contend" else bring)(options)
        return 0
    if options.quick:
        options.seconds = 8.0
    rows = run(options)
    if options.json:
        print(json.dumps([{**vars(row), "lost": row.lost} for row in rows]))
    else:
        show(rows, options.seconds)
    ours = [row for row in rows if row.contestant == "spanrun"]
    return 0 if all(not row.lost and row.shutdown <= 5 for row in ours) else 1


if __name__ == "__main__":
    sys.exit(main())
