"""A buffer says when it begins to fill and when it is full, and loses nothing."""

import gc
import threading
from typing import Any

from opentelemetry.trace import StatusCode
from tests.telemetry.span.making import Box, by_failed, names


def test_it_says_once_that_it_is_not_empty_any_more(box: Box) -> None:
    assert box.buffer.waiting == 0
    for number in range(1, 4):
        box.start().end()
        assert box.buffer.waiting == number
    assert box.begun == 1
    box.take()
    assert box.buffer.waiting == 0
    box.start().end()
    assert box.begun == 2


def test_there_is_nothing_in_an_empty_one(box: Box) -> None:
    assert box.buffer.take() == []


def test_failed_spans_are_a_batch_of_their_own(box: Box) -> None:
    for number in range(4):
        span = box.start(str(number))
        if number % 2:
            span.set_status(StatusCode.ERROR)
        span.end()
    fine, failed = by_failed(box.buffer.take())
    assert (failed.failed, failed.spans) == (True, 2)
    assert (fine.failed, fine.spans) == (False, 2)
    assert failed.scope is fine.scope is box.ours
    assert len(failed.headers) == len(fine.headers) == 64


def test_room_is_made_by_those_alone_that_are_too_many(part: Any) -> None:
    box = Box(part, most=10_000)
    for number in range(1_000):
        span = box.start(f"{number} {'x' * 100}")
        if number % 20 == 0:
            span.set_status(StatusCode.ERROR)
        span.end()
        if box.full:
            break
    some = box.buffer.waiting
    (fine,) = box.buffer.take(for_room=True)
    left = some - fine.spans
    assert not fine.failed
    assert left > 1
    assert box.buffer.take(for_room=True) == []
    assert box.buffer.waiting == left
    box.start().end()
    assert box.begun == 1, "who was told of them has not taken them yet"
    fine, failed = by_failed(box.buffer.take())
    assert (fine.spans, failed.spans) == (1, left)
    assert box.buffer.waiting == 0
    box.start().end()
    assert box.begun == 2


def test_the_garbage_collector_has_no_work_with_what_waits(box: Box) -> None:
    box.start().end()
    gc.collect()
    before = len(gc.get_objects())
    for _ in range(1_000):
        box.start().end()
    gc.collect()
    assert len(gc.get_objects()) - before < 100
    assert box.buffer.waiting == 1_001


def test_it_says_when_too_much_waits(part: Any) -> None:
    box = Box(part, most=1_000)
    while not box.full:
        box.start("x" * 100).end()
    (batch,) = box.buffer.take()
    assert 1_000 < len(batch.data) < 1_300
    box.start("x" * 100).end()
    assert box.full == 1


def test_whoever_fills_it_may_take_from_it(part: Any) -> None:
    box = Box(part)
    taken: list[Any] = []

    def full(buffer: Any) -> None:
        taken.extend(buffer.take())

    box.ours.buffer = part.Buffer(lambda _: None, full, 1_000)
    for _ in range(100):
        box.start("x" * 100).end()
    taken.extend(box.ours.buffer.take())
    assert sum(batch.spans for batch in taken) == 100


def test_what_it_tells_may_end_spans_itself(part: Any) -> None:
    box = Box(part)
    box.ours.buffer = part.Buffer(lambda _: box.start("inner").end(), print, 1_000)
    box.start("outer").end()
    (batch,) = box.ours.buffer.take()
    assert batch.spans == 2


def test_what_it_tells_and_raises_breaks_no_program(part: Any) -> None:
    box = Box(part)

    def fails(_: Any) -> None:
        raise RuntimeError("a sink")

    box.ours.buffer = part.Buffer(fails, fails, 10)
    box.start().end()
    assert {str(error) for error in box.failures} == {"a sink"}
    (batch,) = box.ours.buffer.take()
    assert batch.spans == 1


def test_threads_lose_nothing_and_each_fill_is_told(part: Any) -> None:
    box = Box(part)
    begun, done = threading.Semaphore(0), threading.Event()
    taken: list[Any] = []
    buffer = part.Buffer(lambda _: begun.release(), lambda _: None, 1 << 30)
    box.ours.buffer = buffer

    def end_spans(number: int) -> None:
        for each in range(500):
            box.start(f"{number}.{each}").end()

    def take() -> None:
        while True:
            begun.acquire()
            taken.extend(buffer.take())
            if done.is_set():
                return

    taker = threading.Thread(target=take)
    taker.start()
    enders = [threading.Thread(target=end_spans, args=(n,)) for n in range(8)]
    for thread in enders:
        thread.start()
    for thread in enders:
        thread.join()
    done.set()
    begun.release()
    taker.join()
    assert buffer.waiting == 0, "whoever adds to an empty one says so"
    assert sum(batch.spans for batch in taken) == 8 * 500
    assert not box.failures


def test_batches_keep_the_order_of_the_ends(box: Box) -> None:
    for number in range(100):
        box.start(str(number)).end()
    assert names(box.take()) == [str(number) for number in range(100)]


def test_a_child_that_is_forked_while_it_is_emptied_begins_anew(part: Any) -> None:
    box, begun, full = Box(part), list[Any](), list[Any]()

    def fork(buffer: Any) -> None:
        # As if this were the child, in which the thread that empties it isn't.
        full.append(buffer)
        buffer.after_fork()
        assert buffer.waiting == 0
        box.start("of the child").end()

    box.ours.buffer = part.Buffer(begun.append, fork, 1_000)
    while not full:
        box.start("x" * 100).end()
    assert len(begun) == 2
