"""Each system call on the spool fails once, or from then on: nothing is lost unsaid.

The N-th call fails, for each N, until a run comes to its end without a failure.
"""

import itertools
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.faults.disk import CODES, EVER, Faults
from tests.telemetry.export.receiver import (
    OK,
    Answer,
    Got,
    Receiver,
    ids,
    points,
    receiving,
    spans,
    values,
)
from tests.telemetry.queue.sending import eager, to
from tests.waiting import until

from spanrun.telemetry.account import Account
from spanrun.telemetry.queue.frame import Frame
from spanrun.telemetry.queue.message import Message
from spanrun.telemetry.queue.quarantine import quarantined, quarantined_frames
from spanrun.telemetry.queue.queued_exporter import QueuedExporter
from spanrun.telemetry.queue.spool import Spool

LIMIT = 1 << 20

FAILURES = pytest.mark.parametrize("times", [1, EVER], ids=["once", "from then on"])


@pytest.fixture
def faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Faults]:
    with monkeypatch.context() as patched:
        yield Faults(tmp_path / "none", patched)


# --- the spool by itself


class Life:
    """What one process does with a spool, and its accounting."""

    def __init__(self, root: Path) -> None:
        self.lost: Counter[str] = Counter()
        self.delivered: list[int] = []
        self.produced = self.refused = self.given_up = 0
        self.spool = Spool(root, self._lose, segment_bytes=150)

    def _lose(self, signal: Any, items: int, reason: str) -> None:
        self.lost[reason] += items

    def write(self, *numbers: int) -> None:
        messages = [
            Message(Frame("traces", b"%d" % n, 1, keep=n % 3 == 0, order=n))
            for n in numbers
        ]
        self.produced += len(messages)
        for _ in range(3):
            waiting = [p for p in messages if p.location is None and not p.done]
            try:
                self.spool.append(waiting)
            except OSError:
                continue
        self.given_up += sum(p.location is None and not p.done for p in messages)

    def deliver(self, most: int = EVER) -> None:
        for recovered in (True, False):
            for _ in range(100):
                try:
                    found = self.spool.peek("traces", 1, recovered=recovered)
                except OSError:
                    continue
                if not found or len(self.delivered) >= most:
                    break
                self.spool.ack(found)
                self.delivered += [int(message.frame.payload) for message in found]

    def refuse(self, number: int) -> None:
        self.produced += 1
        self.refused += 1
        self.spool.quarantine([Message(Frame("traces", b"%d" % number, 1))], "400")

    def requeue(self) -> None:
        try:
            self.spool.requeue()
        except OSError:
            return

    def is_even(self) -> bool:
        spool = self.spool
        return self.produced + spool.recovered_items["traces"] == (
            len(self.delivered)
            + self.lost.total()
            + self.refused
            + self.given_up
            + spool.waiting("traces")
        )


def two_lives(root: Path) -> list[Life]:
    first = Life(root)
    first.write(0, 1, 2, 3)
    first.deliver(2)
    first.refuse(4)
    first.write(5, 6)
    first.spool.close()
    second = Life(root)
    second.write(7)
    second.spool.recover()
    second.deliver(4)
    second.requeue()
    second.spool.recover()
    second.deliver()
    second.spool.close()
    return [first, second]


def left_in(root: Path) -> set[int]:
    """What is on disk, for whoever comes next."""
    third = Life(root)
    third.spool.recover()
    third.deliver()
    assert third.is_even()
    third.spool.close()
    kept = quarantined(root)
    refused = {int(f.payload) for path in kept for f in quarantined_frames(path)}
    return {*third.delivered, *refused}


def check(faults: Faults, root: Path, at: int, code: int, times: int) -> bool:
    """Run two lives with the call ``at`` failing; whether there was such a call."""
    faults.begin(root)
    faults.fail(at, code, times=times)
    lives = two_lives(root)
    faults.heal()
    if not faults.failed:
        return False
    assert [life.is_even() for life in lives] == [True, True]
    delivered = {number for life in lives for number in life.delivered}
    missing = set(range(8)) - delivered - left_in(root)
    told = sum(life.lost.total() + life.refused + life.given_up for life in lives)
    assert len(missing) <= told, missing
    return True


@pytest.mark.parametrize("code", CODES, ids=lambda code: f"errno {code}")
def test_the_spool_survives_any_call_that_fails(
    faults: Faults, tmp_path: Path, code: int
):
    seen: set[str] = set()
    for at in itertools.count(1):
        if not check(faults, tmp_path / f"{at}", at, code, 1):
            break
        seen.update(faults.failed)
    assert at > 80
    assert seen >= {"open", "write", "pwrite", "pread", "lstat", "unlink", "rename"}
    assert seen >= {"fstat", "listdir", "mkdir", "rmdir", "stat", "flock"}


def test_the_spool_survives_a_disk_that_fails_from_any_call_on(
    faults: Faults, tmp_path: Path
):
    for at in itertools.count(1):
        code = CODES[at % len(CODES)]
        if not check(faults, tmp_path / f"{at}", at, code, EVER):
            break
    assert at > 80


# --- with its threads, and a receiver


class Down:
    """A receiver that takes nothing before it is up, and what it took."""

    def __init__(self) -> None:
        self.is_up = False

    def answer(self, _: Got) -> Answer:
        return OK if self.is_up else Answer(503)


@pytest.fixture
def down() -> Down:
    return Down()


@pytest.fixture
def receiver(down: Down) -> Iterator[Receiver]:
    with receiving(down.answer) as found:
        yield found


Make = Callable[[Path], QueuedExporter]


@pytest.fixture
def make(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> Make:
    monkeypatch.setattr("spanrun.telemetry.queue.message_queue._DISK_AGAIN", 0.005)

    def new(root: Path) -> QueuedExporter:
        soon = lambda: eager(0.002, 0.005)
        options: Any = {"backoff": soon, "linger": 0.0, "recover_every": 0.01}
        return QueuedExporter(root, to(receiver.url), Account(), **options)

    return new


def told(spooled: QueuedExporter) -> int:
    """How many items are counted as lost; the accounting are even."""
    lost = 0
    for signal, found in spooled.status().signals.items():
        dropped = sum(found.dropped.values())
        assert found.produced + found.recovered == (
            found.delivered + dropped + found.in_memory + found.on_disk
        ), (signal, found)
        assert found.in_memory == 0, (signal, found)
        lost += dropped
    return lost


def run(make: Make, down: Down, root: Path) -> int:
    """Two processes, the first of which has no receiver; what they lost."""
    down.is_up = False
    first = make(root)
    for number in range(4):
        first.put("traces", spans([number]), 1, keep=number == 1)
        first.put("metrics", points([number]), 1)
    workers = first._workers
    settle(first)
    assert all(worker.is_alive for worker in workers)
    first.close(0.1)
    assert not any(worker.is_alive for worker in workers)
    down.is_up = True
    second = make(root)
    second.put("traces", spans([9]), 1)
    second.flush(0.2, recovered=True)
    workers = second._workers
    assert all(worker.is_alive for worker in workers)
    second.close(5.0)
    assert not any(worker.is_alive for worker in workers)
    return told(first) + told(second)


def settle(spooled: QueuedExporter) -> None:
    """Until all is on disk, or it is known that it can't be."""

    def settled() -> bool:
        status = spooled.status()
        waiting = any(each.in_memory for each in status.signals.values())
        return bool(status.disk_trouble) or not waiting

    until(settled)


def on_disk(root: Path) -> tuple[set[int], set[int]]:
    """The spans and data points that wait for whoever comes next."""
    spool = Spool(root, lambda *_: None)
    spool.recover()
    found: dict[Any, list[Frame]] = {"traces": [], "metrics": []}
    for signal, frames in found.items():
        while messages := spool.peek(signal, LIMIT, recovered=True):
            spool.ack(messages)
            frames += [message.frame for message in messages]
    spool.close()
    for path in quarantined(root):
        for frame in quarantined_frames(path):
            found[frame.signal].append(frame)
    return (
        {number for frame in found["traces"] for number in ids(frame.payload)},
        {number for frame in found["metrics"] for number in values(frame.payload)},
    )


@FAILURES
def test_the_exporter_survives_any_call_that_fails(
    make: Make,
    down: Down,
    receiver: Receiver,
    faults: Faults,
    tmp_path: Path,
    times: int,
):
    for at in itertools.count(1):
        root = tmp_path / f"{at}"
        faults.begin(root)
        faults.fail(at, CODES[at % len(CODES)], times=times)
        receiver.taken.clear()
        receiver.requests.clear()
        lost = run(make, down, root)
        faults.heal()
        if not faults.failed:
            break
        taken = [
            number
            for got in receiver.requests
            if got.path == "/v1/metrics" and down.is_up
            for number in values(got.body)
        ]
        spans_left, points_left = on_disk(root)
        missing = {0, 1, 2, 3, 9} - set(receiver.taken) - spans_left
        missing |= {-n for n in {0, 1, 2, 3} - set(taken) - points_left}
        assert len(missing) <= lost, (at, faults.failed[0], missing)
    assert at > 50
    assert not [t for t in threading.enumerate() if t.name.startswith("spanrun")]
