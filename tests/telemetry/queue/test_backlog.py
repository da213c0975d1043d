"""What a process does for those that died before it: after its own, and bounded."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests import speed
from tests.telemetry.export.receiver import (
    OK,
    Answer,
    Got,
    Receiver,
    ids,
    points,
    receiving,
    spans,
)
from tests.telemetry.queue.sending import eager, to
from tests.waiting import PATIENCE, until

from spanrun.telemetry.account import Account
from spanrun.telemetry.queue.frame import Frame
from spanrun.telemetry.queue.message import Message
from spanrun.telemetry.queue.message_queue import MessageQueue
from spanrun.telemetry.queue.queued_exporter import QueuedExporter
from spanrun.telemetry.queue.spool import Spool

Make = Callable[[str], QueuedExporter]
LONG = PATIENCE * speed.FACTOR
HOUR = 3600.0
OTHERS = "spanrun.telemetry.queue.queued_exporter._OTHERS"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def make(root: Path) -> Iterator[Make]:
    made: list[QueuedExporter] = []

    def new(url: str) -> QueuedExporter:
        send = to(url, timeout=HOUR)
        options: Any = {"backoff": eager, "request_bytes": 5000}
        made.append(QueuedExporter(root, send, Account(), **options))
        return made[-1]

    yield new
    for spooled in made:
        spooled.close(0.0)


def leave(root: Path, frames: list[Frame]) -> None:
    spool = Spool(root, lambda *_: None)
    spool.append([Message(frame) for frame in frames])
    spool.close()


def traces(*numbers: int) -> Frame:
    return Frame("traces", spans(numbers), len(numbers))


def test_a_short_process_delivers_a_backlog_after_its_own(
    make: Make, root: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(OTHERS, LONG)
    leave(root, [traces(*range(at, at + 500)) for at in range(1, 20_001, 500)])
    with receiving() as receiver:
        spooled = make(receiver.url)
        spooled.put("traces", spans([0]), 1)
        assert spooled.close(LONG)
        assert receiver.taken == dict.fromkeys(range(20_001), 1)
    assert not root.exists()
    found = spooled.status().signals["traces"]
    assert (found.produced, found.recovered, found.delivered) == (1, 20_000, 20_001)


def test_a_process_without_anything_of_its_own_delivers_it_too(
    make: Make, root: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(OTHERS, LONG)
    leave(root, [traces(1), Frame("metrics", points([1]), 1)])
    with receiving() as receiver:
        assert make(receiver.url).close(LONG)
        assert receiver.taken == {1: 1}
        assert len(receiver.requests) == 2
    assert not root.exists()


def test_its_own_comes_first_at_the_end(
    make: Make, root: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(OTHERS, LONG)
    asked, ended = threading.Event(), threading.Event()
    made: list[Any] = []  # the first request may come before `make` is back

    def answer(_: Got) -> Answer:
        asked.set()
        until(lambda: ended.is_set() or (made and made[0]._closing))
        return OK

    leave(root, [traces(*range(at, at + 100)) for at in range(100, 900, 100)])
    with receiving(answer) as receiver:
        spooled = make(receiver.url)
        made.append(spooled)
        until(asked.is_set)  # of the backlog: nothing else is there
        for number in range(10):
            spooled.put("traces", spans([number]), 1)
            spooled.put("metrics", points([number]), 1)
        assert spooled.close(LONG)
        ended.set()
        assert receiver.taken == dict.fromkeys([*range(10), *range(100, 900)], 1)
    first = len(ids(receiver.requests[0].body))
    assert receiver.order[first : first + 10] == list(range(10))
    paths = [got.path for got in receiver.requests]
    last_own = max(at for at, path in enumerate(paths) if path == "/v1/metrics")
    sent = [at for at, got in enumerate(receiver.requests) if 899 in ids(got.body)]
    assert last_own < sent[0]


def test_the_rest_is_left_when_its_time_is_up(
    make: Make, root: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(OTHERS, 0.05)
    leave(root, [traces(*range(100, 200))])
    with holding() as (receiver, asked):
        spooled = make(receiver.url)
        until(asked.is_set)
        spooled.put("metrics", points([1]), 1)
        assert spooled.close(LONG)  # and not after the hour of a request
    found = spooled.status().signals["traces"]
    assert (found.recovered, found.delivered, found.on_disk) == (100, 0, 100)
    assert list(root.rglob("traces.*"))


def test_its_own_is_sent_though_the_rest_was_chosen_just_before_the_end(
    make: Make, root: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(OTHERS, 0.05)
    made: list[QueuedExporter] = []
    chosen = threading.Event()
    peek = Spool.peek

    def late(self: Spool, signal: Any, limit: int, *, recovered: bool) -> list[Message]:
        if recovered:
            chosen.set()
            until(lambda: made and made[0]._closing)
            with made[0]._queue.lock:  # free only once `close` waits
                pass
        return peek(self, signal, limit, recovered=recovered)

    monkeypatch.setattr(Spool, "peek", late)
    leave(root, [traces(*range(100, 200))])
    with holding() as (receiver, asked):
        spooled = make(receiver.url)
        until(chosen.is_set)
        spooled.put("metrics", points([1]), 1)
        made.append(spooled)
        assert spooled.close(LONG)
        assert asked.is_set()
    assert spooled.status().signals["metrics"].delivered == 1


@contextmanager
def holding() -> Iterator[tuple[Receiver, threading.Event]]:
    """A receiver that answers no large request, and whether it has got one."""
    asked, over = threading.Event(), threading.Event()

    def answer(got: Got) -> Answer:
        if len(got.body) > 1000:
            asked.set()
            over.wait(HOUR)
        return OK

    with receiving(answer) as receiver:
        try:
            yield receiver, asked
        finally:
            over.set()


def test_what_others_left_is_not_sent_in_the_place_of_its_own(root: Path):
    leave(root, [traces(1)])
    queue = MessageQueue(
        root, lambda *_: None, memory_bytes=9999, max_bytes=99999, cumulative=True
    )
    queue.spool.recover()
    assert queue.take("traces", 5000, "never") == []
    assert [ids(p.frame.payload) for p in queue.take("traces", 5000, "last")] == [[1]]
    queue.close()


def test_a_dead_receiver_is_asked_once_and_the_backlog_stays(make: Make, root: Path):
    leave(root, [traces(1, 2)])
    with receiving(lambda _: Answer(503)) as receiver:
        assert make(receiver.url).close(LONG)
        asked = len(receiver.requests)
        assert asked <= 3
    assert list(root.rglob("traces.*"))


def test_more_folders_than_may_be_open_are_taken_one_lot_after_the_other(
    make: Make, root: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("spanrun.telemetry.queue.recovery._MOST", 4)
    monkeypatch.setattr(OTHERS, LONG)
    for number in range(30):
        leave(root, [traces(number), Frame("metrics", points([number]), 1)])
    with receiving() as receiver:
        spooled = make(receiver.url)
        assert spooled.flush(LONG, recovered=True)
        assert len(receiver.taken) == 30
        found = spooled.status().signals
        assert found["traces"].recovered == found["metrics"].recovered == 30
        assert spooled.close(LONG)
    assert not root.exists()


def test_metrics_that_nobody_takes_do_not_keep_spans_from_being_taken_over(
    make: Make, root: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("spanrun.telemetry.queue.recovery._MOST", 4)
    for number in range(30):
        leave(root, [traces(number), Frame("metrics", points([number]), 1)])

    def answer(got: Got) -> Answer:
        return Answer(404 if got.path == "/v1/metrics" else 200)

    with receiving(answer) as receiver:
        spooled = make(receiver.url)
        receiver.wait_for(30)
        assert len(spooled._queue.spool._writers()) <= 10
        spooled.close(LONG)
        for signal, found in spooled.status().signals.items():
            assert found.recovered == found.delivered + found.on_disk, signal
    left = Spool(root, lambda *_: None)
    monkeypatch.setattr("spanrun.telemetry.queue.recovery._MOST", 100)
    left.recover()
    assert (left.waiting("traces"), left.waiting("metrics")) == (0, 30)
    left.close()
