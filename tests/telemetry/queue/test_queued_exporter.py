"""Delivery from end to end: each item arrives, or is counted with a reason."""

import errno
import logging
import os
import random
import select
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bench import sink
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceResponse,
)
from tests.forking import forking, needs_fork
from tests.telemetry.export.receiver import (
    OK,
    Answer,
    Got,
    ids,
    points,
    receiving,
    spans,
    values,
)
from tests.telemetry.queue.sending import eager, to
from tests.waiting import PATIENCE, files_below, until

from spanrun.telemetry import log
from spanrun.telemetry.account import Account
from spanrun.telemetry.export.outcome import Exporter, Outcome
from spanrun.telemetry.queue import consumer, message_queue
from spanrun.telemetry.queue.queued_exporter import QueuedExporter
from spanrun.telemetry.queue.retry import Backoff

Make = Callable[..., QueuedExporter]


@pytest.fixture
def account() -> Account:
    return Account()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def make(root: Path, account: Account) -> Iterator[Make]:
    """Make exporters that are closed in the end, whatever happens."""
    made: list[QueuedExporter] = []

    def new(url: str, folder: Path = root, **options: Any) -> QueuedExporter:
        options.setdefault("backoff", eager)
        options.setdefault("linger", 0.05)
        exporters = options.pop("exporters", None) or to(url, timeout=2.0)
        made.append(QueuedExporter(folder, exporters, account, **options))
        return made[-1]

    yield new
    for spooled in made:
        spooled.close(0.5)


HOUR = 3600.0


def dead() -> str:
    """The URL of a port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"


def even(spooled: QueuedExporter) -> None:
    """The accounting come out even, to the item."""
    for signal, found in spooled.status().signals.items():
        assert found.produced + found.recovered == (
            found.delivered
            + sum(found.dropped.values())
            + found.in_memory
            + found.on_disk
        ), (signal, found)


def frames(root: Path) -> list[Path]:
    return [p for p in files_below(root) if p.name.startswith(("traces.", "metrics."))]


# --- the receiver is up


def test_goes_out_at_once_and_never_touches_the_disk(
    make: Make, root: Path, account: Account
):
    with receiving() as receiver:
        spooled = make(receiver.url, linger=5.0)
        for number in range(100):
            spooled.put("traces", spans([number]), 1)
        spooled.put("metrics", points([1]), 1)
        assert spooled.flush(PATIENCE)
        assert not root.exists()
        assert spooled.close()
    assert sorted(receiver.taken) == list(range(100))
    assert receiver.order == sorted(receiver.order)
    assert account.delivered == {"traces": 100, "metrics": 1}
    even(spooled)
    assert not root.exists()


def test_what_has_gathered_goes_in_one_request_up_to_its_limit(make: Make):
    gate = threading.Event()

    def answer(_: Got) -> Answer:
        gate.wait(PATIENCE)
        return OK

    with receiving(answer) as receiver:
        spooled = make(receiver.url, linger=5.0, request_bytes=10_000)
        for number in range(100):
            spooled.put("traces", spans([number], "x" * 500), 1)
            spooled.put("metrics", points([number]), 1)
        gate.set()
        assert spooled.flush(PATIENCE)
    traces = [got for got in receiver.requests if got.path == "/v1/traces"]
    assert 5 <= len(traces) <= 8
    assert all(len(got.body) <= 10_000 for got in traces)
    metrics = [got for got in receiver.requests if got.path == "/v1/metrics"]
    # Two times of one metric in a request aren't taken well everywhere.
    assert [values(got.body) for got in metrics] == [[n] for n in range(100)]


def test_put_never_waits(make: Make):
    gate = threading.Event()

    def answer(_: Got) -> Answer:
        gate.wait()
        return OK

    with receiving(answer) as receiver:
        spooled = make(receiver.url)
        for number in range(1000):
            spooled.put("traces", spans([number]), 1)
        assert not receiver.taken
        gate.set()
        assert spooled.flush(PATIENCE)


# --- it is down


def test_waits_on_disk_and_arrives_when_the_receiver_is_back(
    make: Make, root: Path, account: Account
):
    url = dead()
    spooled = make(url)
    for number in range(50):
        spooled.put("traces", spans([number]), 1, keep=number % 3 == 0)
    until(lambda: spooled.status().signals["traces"].on_disk == 50)
    status = spooled.status()
    assert status.signals["traces"].in_memory == 0
    assert "ConnectionRefusedError" in status.signals["traces"].trouble
    assert status.bytes_on_disk > 0
    with receiving(port=int(url.rpartition(":")[2])) as receiver:
        assert spooled.flush(PATIENCE)
        assert receiver.order == list(range(50))
        assert spooled.status().signals["traces"].trouble == ""
        assert spooled.close()
    even(spooled)
    assert not root.exists()
    assert account.dropped == {}


def test_what_is_written_while_it_is_in_a_request_is_not_sent_again(make: Make):
    gate = threading.Event()

    def answer(_: Got) -> Answer:
        gate.wait(PATIENCE)
        return OK

    with receiving(answer) as receiver:
        spooled = make(receiver.url, linger=0.02)
        spooled.put("traces", spans([0]), 1)
        until(lambda: receiver.requests)
        spooled.put("traces", spans([1]), 1)
        spooled.put("traces", spans([2]), 1)
        until(lambda: spooled.status().signals["traces"].on_disk == 3)
        gate.set()
        assert spooled.flush(PATIENCE)
        even(spooled)
    assert receiver.taken == {0: 1, 1: 1, 2: 1}


def test_close_leaves_it_to_the_next_process_at_once(make: Make, root: Path):
    url = dead()
    first = make(url, linger=60.0)
    for number in range(20):
        first.put("traces", spans([number]), 1)
    assert not first.close(HOUR)
    assert frames(root)
    with receiving(port=int(url.rpartition(":")[2])) as receiver:
        second = make(url)
        assert second.flush(PATIENCE, recovered=True)
        assert receiver.order == list(range(20))
        found = second.status().signals["traces"]
        assert (found.produced, found.recovered, found.delivered) == (0, 20, 20)
        second.close()
    even(second)
    assert not root.exists()


def test_close_is_bounded_when_the_receiver_hangs(make: Make, root: Path):
    over = threading.Event()

    def answer(_: Got) -> Answer:
        over.wait()
        return Answer(0)

    with receiving(answer) as receiver:
        spooled = make(
            receiver.url, linger=60.0, exporters=to(receiver.url, timeout=HOUR)
        )
        spooled.put("traces", spans([1]), 1)
        until(lambda: receiver.requests)
        spooled.put("traces", spans([2]), 1)
        assert not spooled.close(0.3)
        over.set()
    assert len(frames(root)) == 1
    assert not [t for t in threading.enumerate() if t.name == "spanrun-send"]
    even(spooled)


def test_put_after_close_is_counted(make: Make, account: Account):
    with receiving() as receiver:
        spooled = make(receiver.url)
        spooled.close()
        assert spooled.close()
        spooled.put("traces", spans([1]), 1)
    assert account.dropped == {("traces", "shutdown"): 1}
    even(spooled)


def test_two_processes_deliver_what_a_third_left_and_their_own(make: Make, root: Path):
    url = dead()
    gone = make(url)
    gone.put("traces", spans([1, 2, 3]), 3)
    gone.close()
    with receiving(port=int(url.rpartition(":")[2])) as receiver:
        one, other = make(url), make(url)
        for number in range(10, 20):
            one.put("traces", spans([number]), 1)
            other.put("traces", spans([number + 10]), 1)
        assert one.flush(PATIENCE, recovered=True)
        assert other.flush(PATIENCE, recovered=True)
        one.close()
        other.close()
    assert receiver.taken == dict.fromkeys([1, 2, 3, *range(10, 30)], 1)
    assert not root.exists()


# --- what it answers


def scripted(*answers: Answer) -> Callable[[Got], Answer]:
    left = list(answers)
    return lambda _: left.pop(0) if left else OK


def test_retry_after_is_obeyed_also_when_somebody_hurries(make: Make):
    busy = Answer(503, {"retry-after": "3600"})
    with receiving(scripted(busy)) as receiver:
        spooled = make(receiver.url)
        spooled.put("traces", spans([1]), 1)
        until(lambda: receiver.requests)
        until(lambda: spooled.status().signals["traces"].trouble)
        assert not spooled.flush(0.2)
        assert len(receiver.requests) == 1
        assert 3000 < spooled.status().signals["traces"].retry_in <= 3600
        spooled._consumers["traces"].backoff.until = 0.0  # the hour is over
        assert spooled.flush(PATIENCE)
        assert spooled.status().signals["traces"].retry_in == 0


def test_a_receiver_that_asks_for_an_hour_does_not_hold_up_the_end(
    make: Make, root: Path
):
    with receiving(lambda _: Answer(429, {"retry-after": "3600"})) as receiver:
        spooled = make(receiver.url)
        spooled.put("traces", spans([1]), 1)
        until(lambda: spooled.status().signals["traces"].trouble)
        assert not spooled.close(HOUR)
        assert len(receiver.requests) == 1
    assert frames(root)


def test_a_receiver_that_comes_and_goes_is_said_once_and_counted(
    make: Make,
    root: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
):
    now = 0.0
    monkeypatch.setattr(
        consumer, "Seldom", lambda pause: log.Seldom(pause, now=lambda: now)
    )
    with receiving() as receiver:
        spooled = make(receiver.url)
        for number in range(4):
            now += 50
            receiver.answer = lambda _: Answer(503)
            spooled.put("traces", spans([number]), 1)
            until(lambda: spooled.status().signals["traces"].trouble)
            receiver.answer = lambda _: OK
            assert spooled.flush(PATIENCE)
    told = [each for each in caplog.records if "doesn't take" in each.getMessage()]
    assert {each.levelno for each in told} == {logging.WARNING}
    first, second = [each.getMessage() for each in told]
    assert f"/v1/traces doesn't take traces, which wait for it in {root}: 503" in first
    assert "more since" not in first
    assert second.endswith("; 1 more since the last line")


@pytest.mark.parametrize("status", [301, 401, 404])
def test_a_misconfigured_receiver_costs_nothing_and_is_said_once(
    make: Make, root: Path, caplog: pytest.LogCaptureFixture, status: int
):
    caplog.set_level(logging.INFO, "spanrun")
    with receiving(lambda _: Answer(status)) as receiver:
        spooled = make(
            receiver.url,
            exporters=to(receiver.url, timeout=2.0, headers={"k": "hunter2"}),
        )
        spooled.put("traces", spans([1]), 1)
        until(lambda: spooled.status().signals["traces"].on_disk == 1)
        assert not spooled.flush(0.1)
        assert 1 <= len(receiver.requests) <= 2
        receiver.answer = lambda _: OK
        assert spooled.flush(PATIENCE)
    errors = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert len(errors) == 1
    assert str(status) in errors[0].getMessage()
    assert "takes traces again" in caplog.text
    assert "hunter2" not in caplog.text


@pytest.mark.parametrize("status", [400, 500])
def test_a_refused_request_is_put_aside_and_does_not_take_its_neighbours_along(
    make: Make, root: Path, account: Account, status: int
):
    gate = threading.Event()

    def answer(got: Got) -> Answer:
        gate.wait(PATIENCE)
        return Answer(status if 7 in ids(got.body) else 200)

    with receiving(answer) as receiver:
        spooled = make(receiver.url)
        for number in range(20):
            spooled.put("traces", spans([number, 100 + number]), 2)
        gate.set()
        assert spooled.flush(PATIENCE)
        even(spooled)
        expected = {n for n in range(20) if n != 7} | {100 + n for n in range(20)}
        assert set(receiver.taken) == expected - {107}
        assert account.dropped == {("traces", "rejected"): 2}
        (kept,) = root.rglob("*.frames")
        assert str(status) in kept.name
        receiver.answer = lambda _: OK
        assert spooled.requeue() == 2
        assert spooled.flush(PATIENCE)
        assert set(receiver.taken) == expected | {7, 107}
        even(spooled)


@pytest.mark.parametrize("wait", [False, True], ids=["memory", "disk"])
def test_413_is_cut_until_it_fits(make: Make, account: Account, wait: Any):
    def answer(got: Got) -> Answer:
        if wait and spooled.status().signals["traces"].on_disk == 0:
            return Answer(503)
        return Answer(413 if len(got.body) > 20_000 else 200)

    with receiving(answer) as receiver:
        spooled = make(receiver.url)
        for number in range(4):
            numbers = range(number * 100, number * 100 + 100)
            spooled.put("traces", spans(numbers, "x" * 600), 100)
        assert spooled.flush(PATIENCE)
        even(spooled)
        assert receiver.taken == dict.fromkeys(range(400), 1)
        sizes = [len(got.body) for got in receiver.requests]
        # It is remembered: the later ones aren't made so long any more.
        spooled.put("traces", spans([1000], "x" * 9000), 1)
        spooled.put("traces", spans([1001], "x" * 9000), 1)
        spooled.put("traces", spans([1002], "x" * 9000), 1)
        assert spooled.flush(PATIENCE)
    assert max(len(g.body) for g in receiver.requests[len(sizes) :]) <= 20_000
    assert account.dropped == {}


def test_a_single_span_that_is_too_large_is_put_aside(make: Make, account: Account):
    def answer(got: Got) -> Answer:
        return Answer(413 if len(got.body) > 20_000 else 200)

    with receiving(answer) as receiver:
        spooled = make(receiver.url)
        spooled.put("traces", spans([1], "x" * 30_000), 1)
        spooled.put("traces", spans([2]), 1)
        assert spooled.flush(PATIENCE)
        assert list(receiver.taken) == [2]
    assert account.dropped == {("traces", "rejected"): 1}
    even(spooled)


def test_metrics_are_cut_at_data_points(make: Make):
    def answer(got: Got) -> Answer:
        return Answer(413 if len(got.body) > 20_000 else 200)

    with receiving(answer) as receiver:
        spooled = make(receiver.url)
        spooled.put("metrics", points(range(5000)), 5000)
        assert spooled.flush(PATIENCE)
        taken = [g for g in receiver.requests if len(g.body) <= 20_000]
        assert sorted(n for g in taken for n in values(g.body)) == list(range(5000))
        assert spooled.status().signals["metrics"].delivered == 5000
        even(spooled)


def test_partial_success_is_counted_and_said(
    make: Make, account: Account, caplog: pytest.LogCaptureFixture
):
    response = ExportTraceServiceResponse()
    response.partial_success.rejected_spans = 3
    response.partial_success.error_message = "too old"
    body = response.SerializeToString()
    with receiving(lambda _: Answer(200, body=body)) as receiver:
        spooled = make(receiver.url)
        spooled.put("traces", spans(range(10)), 10)
        assert spooled.flush(PATIENCE)
    assert account.delivered == {"traces": 7}
    assert account.dropped == {("traces", "partial_success"): 3}
    assert "rejected 3 of 10" in caplog.text
    assert "too old" in caplog.text
    even(spooled)


def test_delta_temporality_is_named_as_the_cause(
    make: Make, caplog: pytest.LogCaptureFixture
):
    with receiving(lambda _: Answer(500)) as receiver:
        spooled = make(receiver.url)
        spooled.put("metrics", points([1], temporality=1), 1)
        assert spooled.flush(PATIENCE)
        assert "delta temporality" in spooled.status().signals["metrics"].trouble
    assert "TEMPORALITY_PREFERENCE=cumulative" in caplog.text


def test_one_signal_in_trouble_does_not_hold_up_the_other(make: Make):
    def answer(got: Got) -> Answer:
        return Answer(404 if got.path == "/v1/metrics" else 200)

    with receiving(answer) as receiver:
        spooled = make(receiver.url)
        for number in range(10):
            spooled.put("metrics", points([number]), 1)
            spooled.put("traces", spans([number]), 1)
        receiver.wait_for(10)
        assert not spooled.close(HOUR)
    even(spooled)


# --- the disk won't


def test_a_read_only_disk_is_replaced_by_memory_and_counted(
    make: Make, account: Account, tmp_path: Path
):
    (tmp_path / "file").write_text("no folder can be made below this")
    url = dead()
    spooled = make(url, tmp_path / "file" / "spool", memory_bytes=4000)
    for number in range(100):
        spooled.put("traces", spans([number], "x" * 100), 1)
    until(lambda: spooled.status().disk_trouble)
    for number in range(100, 200):
        spooled.put("traces", spans([number], "x" * 100), 1, keep=number < 110)
    status = spooled.status().signals["traces"]
    assert status.on_disk == 0
    assert status.in_memory + sum(status.dropped.values()) == 200
    assert account.dropped["traces", "disk_full"] > 50
    with receiving(port=int(url.rpartition(":")[2])) as receiver:
        assert spooled.flush(PATIENCE)
        assert set(range(100, 110)) <= set(receiver.taken)
        assert 199 in receiver.taken
        assert len(receiver.taken) == status.in_memory
    even(spooled)


def test_at_the_end_without_disk_and_receiver_all_is_counted(
    make: Make, account: Account, tmp_path: Path
):
    (tmp_path / "file").write_text("no folder can be made below this")
    spooled = make(dead(), tmp_path / "file" / "spool")
    spooled.put("traces", spans([1, 2]), 2)
    assert not spooled.close(0.3)
    assert account.dropped == {("traces", "disk_full"): 2}
    even(spooled)


def test_a_disk_that_fills_up_for_a_while(
    make: Make, account: Account, monkeypatch: pytest.MonkeyPatch
):
    full = threading.Event()
    write = os.write

    def scarce(fd: int, data: Any) -> int:
        if full.is_set():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(fd, data)

    monkeypatch.setattr("spanrun.telemetry.queue.segment_log.os.write", scarce)
    monkeypatch.setattr("spanrun.telemetry.queue.message_queue._DISK_AGAIN", 0.05)
    url = dead()
    spooled = make(url)
    spooled.put("traces", spans([1]), 1)
    until(lambda: spooled.status().signals["traces"].on_disk == 1)
    full.set()
    spooled.put("traces", spans([2]), 1)
    until(lambda: "No space left" in spooled.status().disk_trouble)
    even(spooled)
    full.clear()
    until(lambda: spooled.status().signals["traces"].on_disk == 2)
    assert spooled.status().disk_trouble == ""
    with receiving(port=int(url.rpartition(":")[2])) as receiver:
        assert spooled.flush(PATIENCE)
        assert receiver.order == [1, 2]
    assert account.dropped == {}


def test_a_budget_too_small_for_an_outage_keeps_the_failed_spans(
    make: Make, account: Account
):
    url = dead()
    spooled = make(url, max_bytes=40_000, linger=0.0)
    for number in range(1000):
        spooled.put("traces", spans([number], "x" * 100), 1, keep=number % 20 == 0)
    until(lambda: spooled.status().signals["traces"].in_memory == 0)
    status = spooled.status()
    assert status.bytes_on_disk <= 40_000
    even(spooled)
    with receiving(port=int(url.rpartition(":")[2])) as receiver:
        assert spooled.flush(PATIENCE)
        assert set(range(0, 1000, 20)) <= set(receiver.taken)
        assert len(receiver.taken) == 1000 - account.dropped["traces", "queue_full"]
    even(spooled)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch):
    """Whoever makes more than the disk takes waits for it, be it as slow as it may."""
    monkeypatch.setattr(message_queue, "_PATIENCE", HOUR)


@pytest.mark.usefixtures("patient")
def test_a_busy_interpreter_does_not_keep_things_from_the_disk(
    make: Make, account: Account
):
    # Each time that the writing thread lets the interpreter lock go, it has it
    # back after 5 ms. Once a frame was too often: 15 MB/s.
    payload = os.urandom(512 * 150)
    spooled = make(dead(), memory_bytes=8 * 1024 * 1024)
    for _ in range(400):
        busy_until = time.perf_counter() + 0.003
        while time.perf_counter() < busy_until:
            pass
        spooled.put("traces", payload, 512)
    assert account.dropped == {}
    spooled.close(1.0)
    even(spooled)


def test_a_busy_loop_does_not_keep_things_from_the_receiver(make: Make):
    # A loop that asks for events lets the lock go for microseconds, and as it does so
    # more often than each 5 ms, nobody who waits for the lock insists on it.
    payload, poll, puts = os.urandom(256 * 1024), select.poll(), 200
    with sink.running() as where:
        spooled = make(f"{where}/v1/traces")
        for _ in range(puts):
            for _ in range(4):
                busy_until = time.perf_counter() + 0.002
                while time.perf_counter() < busy_until:
                    pass
                poll.poll(0)
            spooled.put("traces", payload, 512)
        assert spooled.status().signals["traces"].delivered > puts * 512 / 2
        spooled.close(5.0)
    even(spooled)


@pytest.mark.usefixtures("patient")
def test_who_makes_more_than_the_disk_takes_waits_for_it(make: Make, account: Account):
    payload = os.urandom(512 * 1024)
    spooled = make(dead())
    for _ in range(400):  # 200 MB as fast as can be: the memory holds 16 MB
        spooled.put("traces", payload, 512)
    assert account.dropped == {}
    spooled.close(1.0)
    even(spooled)


def test_it_does_not_wait_for_a_disk_that_hangs_for_longer_than_said(
    make: Make, account: Account
):
    payload = os.urandom(512 * 1024)
    spooled = make(dead())
    with spooled._queue._writing:  # pyright: ignore[reportPrivateUsage]
        for _ in range(40):
            spooled.put("traces", payload, 512)
        assert account.dropped["traces", "queue_full"] > 0
        in_memory = spooled.status().signals["traces"].in_memory
        assert in_memory <= 512 * 32
    spooled.close(1.0)
    even(spooled)


# --- fork, faults


FORKS = """
from pathlib import Path
from spanrun.telemetry.account import Account
from spanrun.telemetry.queue.queued_exporter import QueuedExporter
from tests.telemetry.export.receiver import spans
from tests.telemetry.queue.sending import eager, to
from tests.telemetry.queue.test_queued_exporter import PATIENCE, even

url, folder = sys.argv[1:]
spooled = QueuedExporter(
    Path(folder), to(url, timeout=2.0), Account(), backoff=eager, linger=0.05
)

def work():
    spooled.put("traces", spans([3]), 1)
    print("the child sends")
    return spooled.close(PATIENCE)

spooled.put("traces", spans([1]), 1)
input()
spooled.put("traces", spans([2]), 1)
assert status_of(child_of(work)) == 0
assert spooled.flush(PATIENCE)
even(spooled)
assert spooled.close()
"""


@needs_fork
def test_a_child_sends_its_own_and_none_of_its_parents(root: Path):
    gate = threading.Event()

    def answer(_: Got) -> Answer:
        gate.wait(PATIENCE)
        return OK

    with (
        receiving(answer) as receiver,
        forking(FORKS, receiver.url, root) as program,
    ):
        until(lambda: receiver.requests)
        program.go_on()
        program.says("the child sends")
        gate.set()
    assert receiver.taken == {1: 1, 2: 1, 3: 1}


class Broken:
    """An exporter with a fault."""

    def __init__(self, inner: Exporter, times: int) -> None:
        self._inner, self.times = inner, times

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def send(self, payload: bytes) -> Outcome:
        if self.times:
            self.times -= 1
            raise RuntimeError("a fault in the exporter")
        return self._inner.send(payload)


def test_a_fault_of_our_own_loses_nothing(make: Make, caplog: pytest.LogCaptureFixture):
    with receiving() as receiver:
        exporters: Any = {"traces": Broken(to(receiver.url, timeout=2.0)["traces"], 3)}
        spooled = make(receiver.url, exporters=exporters)
        spooled.put("traces", spans([1]), 1)
        assert spooled.flush(PATIENCE)
    assert receiver.taken == {1: 1}
    assert "a fault in the exporter" in caplog.text
    even(spooled)


class Raising(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise RuntimeError("this handler is broken")


def test_a_log_handler_that_raises_ends_no_delivery(
    make: Make, root: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(logging.getLogger("spanrun"), "handlers", [Raising()])
    answers = scripted(Answer(503), Answer(503), Answer(400), OK)
    with receiving(answers) as receiver:
        spooled = make(receiver.url)
        for number in range(20):
            spooled.put("traces", spans([number]), 1)
            assert spooled.flush(PATIENCE)
        even(spooled)
    assert len(receiver.taken) == 19  # one was refused, with 400


@pytest.mark.parametrize("raised", [SystemExit(1), MemoryError(), RuntimeError("x")])
def test_whatever_an_exporter_raises_its_thread_goes_on(
    make: Make, raised: BaseException
):
    class Exits(Broken):
        def send(self, payload: bytes) -> Outcome:
            if self.times:
                self.times -= 1
                raise raised
            return self._inner.send(payload)

    with receiving() as receiver:
        spooled = make(
            receiver.url,
            exporters={"traces": Exits(to(receiver.url, timeout=2.0)["traces"], 2)},
        )
        spooled.put("traces", spans([1]), 1)
        assert spooled.flush(PATIENCE)
    assert receiver.taken == {1: 1}
    even(spooled)


@pytest.mark.parametrize("status", [400, 500])
def test_what_was_refused_is_not_delivered(make: Make, status: int):
    with receiving(lambda _: Answer(status)) as receiver:
        spooled = make(receiver.url)
        spooled.put("traces", spans([1]), 1)
        assert spooled.flush(PATIENCE)
        assert not spooled.close()
        assert not spooled.close()


def test_without_a_disk_a_dead_receiver_is_not_waited_for(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "file").write_text("no folder can be made below this")
    spooled = make(dead(), tmp_path / "file" / "spool")
    spooled.put("traces", spans([1, 2]), 2)
    assert not spooled.close(HOUR)
    assert "can't be written, so what waits is in memory only" in caplog.text
    assert "kept" not in caplog.text


def test_what_is_given_up_is_said(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "file").write_text("no folder can be made below this")
    spooled = make(dead(), tmp_path / "file" / "spool", memory_bytes=4000)

    def said() -> bool:
        spooled.put("traces", spans([1], "x" * 500), 1)
        return "given up: " in caplog.text

    until(said)
    assert " spans (disk_full)" in caplog.text or " spans (queue_full)" in caplog.text


def test_what_the_garbage_collector_ends_can_be_handed_over_anywhere(make: Make):
    with receiving() as receiver:
        spooled = make(receiver.url)

        def work() -> None:
            with spooled._queue.lock, spooled._accounting._lock:
                spooled.put("traces", spans([1]), 1)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        thread.join(PATIENCE)
        assert not thread.is_alive()
        assert spooled.flush(PATIENCE)


def test_each_request_can_be_watched(make: Make):
    seen: list[Any] = []
    with receiving(scripted(Answer(503))) as receiver:
        spooled = make(receiver.url, watch=lambda *each: seen.append(each))
        spooled.put("traces", spans([1]), 1)
        assert spooled.flush(PATIENCE)
    assert [(signal, outcome.verdict) for signal, _, outcome in seen] == [
        ("traces", "retry"),
        ("traces", "delivered"),
    ]
    assert all(seconds > 0 for _, seconds, _ in seen)


def test_backoff_grows_to_its_cap_with_jitter():
    backoff = Backoff(random.Random(3))
    waits = []
    for _ in range(12):
        backoff.fail(Outcome("retry", "x"), 100.0)
        waits.append(backoff.until - 100.0)
    for wait, full in zip(waits, [0.5, 1, 2, 4, 8, *[10] * 7], strict=True):
        assert full / 2 <= wait <= full
    assert len(set(waits)) == 12
    backoff.fail(Outcome("retry", "x", after=99.0), 100.0)
    assert backoff.until == 199.0
    backoff.succeed()
    assert backoff.until == 0
    backoff.fail(Outcome("misconfigured", "404"), 100.0)
    assert backoff.until == 160.0


def test_under_fire_from_many_threads_the_books_are_even(make: Make, account: Account):
    answers = [OK, OK, Answer(503), OK, Answer(500), Answer(0), OK]
    chance = random.Random(7)
    lock = threading.Lock()

    def answer(_: Got) -> Answer:
        with lock:
            return chance.choice(answers)

    with receiving(answer) as receiver:
        spooled = make(receiver.url, linger=0.001)
        taken: Counter[int] = receiver.taken

        def work(part: int) -> None:
            for number in range(part * 1000, part * 1000 + 200):
                spooled.put("traces", spans([number]), 1)
                if number % 50 == 0:
                    time.sleep(0)  # to another thread

        threads = [threading.Thread(target=work, args=(n,)) for n in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert spooled.flush(PATIENCE)
        even(spooled)
        found = spooled.status().signals["traces"]
        assert found.delivered + found.dropped.get("rejected", 0) == 1000
        assert len(taken) >= found.delivered
