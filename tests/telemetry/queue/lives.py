"""Processes that send spans until they are killed, as a module to be run.

Reads ``number url`` from stdin, and forks a life for each. A life sends spans
numbered from ``number`` · 1,000,000 on, and writes after each five that were handed
over: the first one's number, and the time. So it is known what was handed over, and
when, whatever happens to the life.

There are two kinds of them: ``spool`` hands requests to a `QueuedExporter`, ``whole``
ends units after `configure`.
"""

import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.telemetry.export.receiver import spans

import spanrun
from spanrun.telemetry import pipeline  # noqa: F401 -- loaded once, for all lives
from spanrun.telemetry.account import Account
from spanrun.telemetry.export.destination import Destination
from spanrun.telemetry.export.http import HttpExporter
from spanrun.telemetry.queue.queued_exporter import QueuedExporter
from spanrun.telemetry.queue.retry import Backoff

EACH = 1_000_000


def spool(folder: Path, number: int, url: str) -> Callable[[int], None]:
    where = Destination(
        "traces", "http/protobuf", url, {"x-life": str(number)}, timeout=10.0
    )
    spooled = QueuedExporter(
        folder,
        {"traces": HttpExporter(where)},
        Account(),
        linger=0.1,
        recover_every=0.3,
        request_bytes=4096,
        backoff=lambda: Backoff(random.Random(), base=0.02, cap=0.1),
    )
    return lambda at: spooled.put("traces", spans(range(at, at + 5), "x" * 50), 5)


def whole(folder: Path, number: int, url: str) -> Callable[[int], None]:
    os.environ["SPANRUN_SPOOL"] = str(folder)
    os.environ["OTEL_EXPORTER_OTLP_HEADERS"] = f"x-life={number}"
    os.environ["OTEL_EXPORTER_OTLP_TIMEOUT"] = "2"
    os.environ["OTEL_METRICS_EXPORTER"] = "none"
    spanrun.configure(endpoint=url, store="none")

    def put(at: int) -> None:
        for each in range(at, at + 5):
            with spanrun.unit("step", number=each):
                pass

    return put


def live(kind: str, folder: Path, number: int, url: str) -> None:
    put = {"spool": spool, "whole": whole}[kind](folder, number, url)
    at = number * EACH
    while True:
        put(at)
        os.write(1, f"{at} {time.monotonic()}\n".encode())
        at += 5
        time.sleep(0.003)


def main() -> None:
    children: list[int] = []
    # Unbuffered: a child must not inherit a command that was read ahead.
    commands = os.fdopen(0, "rb", buffering=0)
    for line in iter(commands.readline, b""):
        number, url = line.split()
        child = os.fork()
        if child == 0:
            try:
                live(sys.argv[1], Path(sys.argv[2]), int(number), url.decode())
            finally:
                os._exit(1)
        children.append(child)
        os.write(1, f"pid {int(number)} {child}\n".encode())
    for child in children:
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
