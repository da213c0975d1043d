"""What log records cost while the collector is down: `make bench-logs`.

    python -m bench.logs              # the collector is down for 30 s: about 4 minutes
    python -m bench.logs --quick      # for 3 s

Each contestant is a process of its own that makes 100,000 records in 1,000 jobs. The
receiver isn't there when it begins, and comes up later; then the process ends in peace.
``none`` has a handler that does nothing, ``stream`` a plain `StreamHandler` with time,
level and name, which writes to a file; ``spanrun`` sends the records over OTLP. What
counts is CPU time with all threads, less that of ``none``: the cost of the handler.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
if __package__ in {None, ""}:  # run as a script
    sys.path.insert(0, str(ROOT))

from bench import report  # noqa: E402 -- after the path is set

CONTESTANTS = ("none", "stream", "spanrun")
JOBS = 1_000
RECORDS = 100_000
FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"
PATIENCE = 120.0  # seconds for the delivery, once the receiver is there
RATIO = 3.0


def contend(kind: str, port: int, spool: str) -> None:
    """Make the records, and wait until they are where they should be."""
    import spanrun as sr  # noqa: PLC0415 -- measured from here on
    from spanrun.telemetry import setup  # noqa: PLC0415 -- the same

    root, log = logging.getLogger(), logging.getLogger("app")
    root.setLevel(logging.INFO)
    handler: logging.Handler = logging.NullHandler()
    if kind == "stream":
        handler = logging.FileHandler(Path(spool, "log"))  # a `StreamHandler`
    handler.setFormatter(logging.Formatter(FORMAT))
    root.addHandler(handler)
    os.environ["OTEL_METRICS_EXPORTER"] = "none"
    os.environ["SPANRUN_SPOOL"] = spool
    sr.configure(
        endpoint=f"http://127.0.0.1:{port}",
        store="none",
        logs="INFO" if kind == "spanrun" else None,
    )

    async def job(number: int) -> None:
        for each in range(RECORDS // JOBS):
            log.info("record %d of job %d was made", each, number)
        await asyncio.sleep(0)

    async def main() -> None:
        async with sr.Runner("work", limit=8) as runner:
            await runner.map(job, range(JOBS))

    began, cpu = time.perf_counter(), time.process_time()
    sr.run(main())
    made = time.perf_counter() - began
    telemetry = setup.telemetry()
    assert telemetry is not None
    while not telemetry.flush(1.0) and time.perf_counter() - began < PATIENCE:
        pass
    delivered = sr.shutdown(5.0)
    handler.close()
    cpu = time.process_time() - cpu
    print(json.dumps({"cpu": cpu, "made": made, "delivered": delivered}))


class Receiver:
    """Takes what comes to one port, and counts the records that are different."""

    def __init__(self) -> None:
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port: int = found.getsockname()[1]
        self.bodies: list[bytes] = []

    @contextlib.contextmanager
    def up_after(self, seconds: float) -> Generator[None]:
        """Be there when so much time is over, and until the block ends."""
        bodies = self.bodies

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.path == "/v1/logs":
                    bodies.append(body)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Nothing."""

        ended = threading.Event()

        def serve() -> None:
            if ended.wait(seconds):
                return
            with ThreadingHTTPServer(("127.0.0.1", self.port), Handler) as server:
                server.timeout = 0.05
                server.daemon_threads = True
                while not ended.is_set():
                    server.handle_request()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def taken(self) -> dict[str, int]:
        """How many came, how many came twice, and how many have no trace or job."""
        from opentelemetry.proto.collector.logs.v1 import (  # noqa: PLC0415 -- when asked
            logs_service_pb2,
        )

        found = [
            record
            for body in self.bodies
            for each in logs_service_pb2.ExportLogsServiceRequest.FromString(
                body
            ).resource_logs
            for scope in each.scope_logs
            for record in scope.log_records
        ]
        different = {(record.span_id, record.body.string_value) for record in found}
        alone = sum(
            len(record.trace_id) != 16
            or not any(at.key == "spanrun.job.index" for at in record.attributes)
            for record in found
        )
        twice = len(found) - len(different)
        return {"taken": len(different), "twice": twice, "without a job": alone}


def measure(kind: str, down: float) -> dict[str, Any]:
    """Run a contestant; what it cost, and what came."""
    receiver = Receiver()
    with receiver.up_after(down), tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, __file__, "--contend", kind, str(receiver.port), folder],
            check=True,
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE,
        )
    return {**json.loads(done.stdout), **receiver.taken()}


def main() -> None:
    """Measure, and say it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--contend", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=2)
    asked = parser.parse_args()
    if asked.contend:
        kind, port, folder = asked.contend
        contend(kind, int(port), folder)
        return
    print(report.machine())
    down = 3.0 if asked.quick else 30.0
    rounds = 1 if asked.quick else asked.rounds
    ratios: list[float] = []
    for number in range(rounds):
        found = {kind: measure(kind, down) for kind in CONTESTANTS}
        cost = {
            kind: (found[kind]["cpu"] - found["none"]["cpu"]) / RECORDS * 1e6
            for kind in CONTESTANTS
        }
        ratios.append(cost["spanrun"] / cost["stream"])
        ours = found["spanrun"]
        print(
            f"round {number + 1}: stream {cost['stream']:.1f} µs a record, spanrun "
            f"{cost['spanrun']:.1f} µs, {ratios[-1]:.2f} times as much; "
            f"{ours['taken']:,} of {RECORDS:,} arrived, {ours['twice']} twice, "
            f"{ours['without a job']} without their job; down for {down:.0f} s"
        )
        if ours["taken"] < RECORDS or ours["without a job"]:
            sys.exit("records are missing, or have no job")
    ratio = statistics.median(ratios)
    print(f"{ratio:.2f} times a StreamHandler's cost (at most {RATIO:.0f})")
    sys.exit(ratio > RATIO)


if __name__ == "__main__":
    main()
