"""SIGKILL around send and acknowledge: nothing is lost that was older than 1 s.

Of what hands requests to the spool, and of whole programs after `configure`.
``SPANRUN_SOAK=1`` kills 200 lives instead of 20, of each kind.
"""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
)
from tests.telemetry.export.receiver import OK, Answer, Got, ids, receiving
from tests.telemetry.queue.lives import EACH
from tests.waiting import PATIENCE

from spanrun.telemetry.account import Account
from spanrun.telemetry.export.destination import Destination
from spanrun.telemetry.export.http import HttpExporter
from spanrun.telemetry.queue.queued_exporter import QueuedExporter

KILLS = 200 if os.environ.get("SPANRUN_SOAK") else 20
AT_ONCE = 6
PROMISE = 1.0  # seconds after which nothing may be lost any more
STEP = 0.01  # seconds that a step of a life counts at most, however slow the machine
ROOT = Path(__file__).parents[3]


class Lives:
    """Starts lives, kills them, and knows what each has handed over."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        self.handed: dict[int, float] = {}  # how long its life had lived then
        self.lived: dict[int, float] = {}  # by life, in seconds
        self.pids: dict[int, int] = {}
        self.killed = set[int]()
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.telemetry.queue.lives", kind, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._server.stdout is not None
        last: dict[int, float] = {}
        for line in self._server.stdout:
            first, *rest = line.split()
            if first == b"pid":
                self.pids[int(rest[0])] = int(rest[1])
            else:
                number, moment = int(first) // EACH, float(rest[0])
                step = min(STEP, moment - last.get(number, moment))
                last[number] = moment
                self.lived[number] = self.lived.get(number, 0.0) + step
                self.handed[int(first)] = self.lived[number]

    def start(self, number: int, url: str) -> None:
        assert self._server.stdin is not None
        self._server.stdin.write(f"{number} {url}\n".encode())
        self._server.stdin.flush()

    def has_kept(self, number: int) -> bool:
        """Whether a life has handed something over that may not be lost any more."""
        return self.lived.get(number, 0.0) > PROMISE

    def kill(self, number: int) -> None:
        if number in self.pids and number not in self.killed:
            self.killed.add(number)
            os.kill(self.pids[number], signal.SIGKILL)

    def end(self) -> None:
        for number in self.pids:
            self.kill(number)
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait()
        self._reader.join()
        assert self._server.stdout is not None
        self._server.stdout.close()

    def kept(self) -> set[int]:
        """What may not be lost: handed over 1 s and more before the kill."""
        return {
            at + place
            for at, moment in self.handed.items()
            if moment < self.lived[at // EACH] - PROMISE
            for place in range(5)
        }


@pytest.fixture(params=["spool", "whole"])
def lives(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lives]:
    lives = Lives(request.param, tmp_path / "spool")
    yield lives
    lives.end()


class Fate:
    """Takes requests, is down now and then, and kills who sends when it is time."""

    def __init__(self, lives: Lives) -> None:
        self.lives = lives
        self._read = ids if lives.kind == "spool" else numbers
        self.doomed: dict[int, str] = {}
        self.requests: dict[int, list[list[int]]] = defaultdict(list)
        self._chance = random.Random(5)
        self._lock = threading.Lock()

    def answer(self, got: Got) -> Answer:
        number = int(got.headers.get("x-life", -1))
        how = self.doomed.get(number)
        if how == "before":
            self.lives.kill(number)
        # Down for longer than the promise, so that it takes the disk to keep it.
        if time.monotonic() % 2.5 < 1.6 and number >= 0:
            return Answer(503)
        with self._lock:
            self.requests[number].append(self._read(got.body))
        if how == "answered":
            delay = self._chance.random() * 0.002
            threading.Timer(delay, self.lives.kill, (number,)).start()
        return OK


@pytest.mark.foreign_clock
def test_nothing_old_is_lost_and_one_request_at_most_comes_twice(
    lives: Lives, tmp_path: Path
):
    fate, chance = Fate(lives), random.Random(11)
    with receiving(fate.answer) as receiver:
        ends: dict[int, float] = {}
        for number in range(KILLS):
            while len(ends) >= AT_ONCE:
                reap(lives, fate, ends, chance)
            lives.start(number, receiver.url)
            ends[number] = time.monotonic() + 0.2 + chance.random() * 1.8
        while ends:
            reap(lives, fate, ends, chance)
        lives.end()
        deliver_the_rest(lives, tmp_path / "spool", receiver.url)
    kept = lives.kept()
    taken = {
        one for requests in fate.requests.values() for each in requests for one in each
    }
    assert len(lives.killed) == KILLS
    assert {one // EACH for one in kept} == set(range(KILLS))
    assert kept - taken == set()
    exporters: dict[int, set[int]] = defaultdict(set)
    for number, requests in fate.requests.items():
        seen = [one for request in requests for one in request]
        assert len(seen) == len(set(seen)), "sent twice by one process"
        for one in seen:
            exporters[one].add(number)
    again = {one for one, by in exporters.items() if len(by) > 1}
    lasts = [set(requests[-1]) for requests in fate.requests.values()]
    # Each came again because its exporter was killed before it could note the
    # acknowledgement of its last request.
    assert again <= set().union(*lasts)
    assert not list((tmp_path / "spool").rglob("traces.*"))


def reap(lives: Lives, fate: Fate, ends: dict[int, float], chance: Any) -> None:
    """Bring those whose time has come to an end, one way or another."""
    now = time.monotonic()
    for number, end in list(ends.items()):
        if number in lives.killed:
            del ends[number]
        elif not lives.has_kept(number):
            continue
        elif now > end + 2.0:
            lives.kill(number)
        elif now > end and number not in fate.doomed:
            fate.doomed[number] = chance.choice(["before", "answered", "any time"])
            if fate.doomed[number] == "any time":
                lives.kill(number)
    time.sleep(0.002)


def numbers(body: bytes) -> list[int]:
    """Of the spans in a request of a whole life."""
    return [
        next(pair.value.int_value for pair in span.attributes if pair.key == "number")
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def deliver_the_rest(lives: Lives, folder: Path, url: str) -> None:
    where = Destination("traces", "http/protobuf", url, timeout=2.0)
    last = QueuedExporter(folder, {"traces": HttpExporter(where)}, Account())
    try:
        assert last.flush(PATIENCE, recovered=True)
        status = last.status()
        found = status.signals["traces"]
        # A frame that was being written at the kill, at most one a kill.
        frame = 5 if lives.kind == "spool" else 512
        assert sum(found.dropped.values()) <= frame * status.damaged
        assert found.recovered == found.delivered + sum(found.dropped.values())
    finally:
        last.close()
