"""`Outbox`: each item is sent or lost, and which of the two is known."""

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.waiting import PATIENCE, until

from spanrun.telemetry.outbox import Outbox

SOON = PATIENCE


class Sink:
    """Takes batches; can be slow (held) or broken."""

    def __init__(self):
        self.sent = []
        self.lost = []
        self.broken = None
        self.holding = threading.Event()
        self.free = threading.Event()
        self.free.set()

    def send(self, batch):
        self.holding.set()
        self.free.wait()
        if self.broken:
            raise self.broken
        self.sent.append(list(batch))

    def lose(self, batch, reason):
        self.lost += [(item, reason) for item in batch]

    @property
    def items(self):
        return [item for batch in self.sent for item in batch]


@pytest.fixture
def sink():
    sink = Sink()
    yield sink
    sink.free.set()


@pytest.fixture
def outbox(sink, no_threads_left):
    boxes = []

    def make(**options):
        box = Outbox(
            "test", sink.send, sink.lose, **{"delay": 0.0, "batch": 10, **options}
        )
        boxes.append(box)
        return box

    yield make
    sink.free.set()
    for box in boxes:
        box.close(SOON)


@pytest.fixture
def no_threads_left():
    before = set(threading.enumerate())
    yield
    until(lambda: not set(threading.enumerate()) - before, "the threads' end")


def test_all_that_is_put_is_sent_in_order(outbox, sink):
    box = outbox()
    for number in range(95):
        box.put(number)
    assert box.flush(SOON)
    assert sink.items == list(range(95))
    assert sink.lost == []


def test_batches_are_no_larger_than_said(outbox, sink):
    box = outbox(delay=3600.0)
    for number in range(95):
        box.put(number)
    assert box.flush(SOON)
    assert max(map(len, sink.sent)) <= 10


def test_a_full_queue_loses_the_newest_and_says_so(outbox, sink):
    sink.free.clear()
    box = outbox(capacity=10)
    box.put("in hand")
    assert sink.holding.wait(SOON)
    for number in range(15):
        box.put(number)
    assert sink.lost == [(number, "queue_full") for number in range(10, 15)]
    sink.free.set()
    assert box.flush(SOON)
    assert sink.items == ["in hand", *range(10)]


def test_put_never_waits_for_the_sink(outbox, sink):
    sink.free.clear()
    box = outbox(capacity=10)
    for number in range(100):
        box.put(number)
    assert not sink.sent


def test_a_sink_that_fails_loses_its_batch_and_goes_on(outbox, sink):
    box = outbox()
    sink.broken = ConnectionError("no")
    box.put(1)
    assert box.flush(SOON)
    sink.broken = None
    box.put(2)
    assert box.flush(SOON)
    assert sink.lost == [(1, "export_failed")]
    assert sink.items == [2]


def test_a_sink_that_wants_to_end_the_program_ends_no_thread(outbox, sink):
    box = outbox()
    sink.broken = SystemExit(1)
    box.put(1)
    assert box.flush(SOON)
    assert sink.lost == [(1, "export_failed")]
    sink.broken = None
    box.put(2)
    assert box.flush(SOON)
    assert sink.sent == [[2]]


def test_flush_gives_up_when_its_time_is_up(outbox, sink):
    sink.free.clear()
    box = outbox()
    box.put(1)
    assert not box.flush(0.01)
    sink.free.set()
    assert box.flush(SOON)


def test_flush_of_an_empty_box_waits_for_nothing(outbox):
    box = outbox(delay=3600.0)
    for _ in range(3):
        assert box.flush(3600.0)


def test_close_sends_what_is_left(outbox, sink):
    box = outbox(delay=3600.0)
    for number in range(25):
        box.put(number)
    assert box.close(SOON)
    assert sink.items == list(range(25))
    assert not box._worker.is_alive


def test_what_could_not_be_sent_in_time_is_lost_and_counted(outbox, sink):
    sink.free.clear()
    box = outbox()
    for number in range(25):
        box.put(number)
    assert sink.holding.wait(SOON)
    assert not box.close(0.01)
    assert len(sink.lost) >= 15
    assert {reason for _, reason in sink.lost} == {"shutdown"}
    sink.free.set()
    box._worker.join(SOON)
    assert sorted(sink.items + [item for item, _ in sink.lost]) == list(range(25))


def test_put_after_close_is_lost_and_counted(outbox, sink):
    box = outbox()
    assert box.close(SOON)
    box.put(1)
    assert sink.lost == [(1, "shutdown")]


def test_closing_twice_is_closing_once(outbox, sink):
    box = outbox()
    box.put(1)
    assert box.close(SOON)
    assert box.close(SOON)
    assert sink.items == [1]


def test_many_threads_put_and_flush_at_once(outbox, sink):
    box = outbox(capacity=100)

    def work(first):
        for number in range(first, first + 200):
            box.put(number)
        box.flush(SOON)

    threads = [threading.Thread(target=work, args=(1000 * n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert box.close(SOON)
    expected = [1000 * n + number for n in range(4) for number in range(200)]
    lost = [item for item, _ in sink.lost]
    assert sorted(sink.items + lost) == sorted(expected)


operations = st.lists(
    st.sampled_from(["put", "put", "put", "flush", "break", "mend", "close"]),
    max_size=30,
)


@settings(max_examples=60, deadline=None)
@given(operations=operations, capacity=st.integers(1, 5), batch=st.integers(1, 4))
def test_in_every_order_sent_and_lost_are_what_was_put(operations, capacity, batch):
    sink = Sink()
    box = Outbox(
        "test", sink.send, sink.lose, capacity=capacity, batch=batch, delay=0.0
    )
    put = 0
    for operation in operations:
        match operation:
            case "put":
                box.put(put)
                put += 1
            case "flush":
                assert box.flush(SOON)
                assert len(sink.items) + len(sink.lost) == put
            case "break":
                sink.broken = ConnectionError("no")
            case "mend":
                sink.broken = None
            case "close":
                assert box.close(SOON)
    assert box.close(SOON)
    assert not box._worker.is_alive
    assert sorted(sink.items + [item for item, _ in sink.lost]) == list(range(put))
    assert sink.items == sorted(sink.items)
