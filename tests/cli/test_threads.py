"""An executor whose calls keep no program from ending."""

import threading

import pytest
from tests.waiting import until

from spanrun.cli.threads import Threads


def alive() -> list[threading.Thread]:
    found = threading.enumerate()
    return [each for each in found if each.name.startswith("spanrun-job-")]


def test_calls_are_made_at_once_up_to_the_limit() -> None:
    threads, both, third = Threads(2), threading.Barrier(3), threading.Event()
    first, second = threads.submit(both.wait), threads.submit(both.wait)
    last = threads.submit(third.set)
    assert not third.is_set()
    assert threads.running == 3
    both.wait()  # both run
    threads.wait()
    assert all(each.done() for each in (first, second, last))
    assert threads.running == 0
    assert len(alive()) == 2
    threads.shutdown()
    until(lambda: not alive())


def test_what_a_call_gives_or_raises_comes_out() -> None:
    threads = Threads(1)
    assert threads.submit(max, 1, 2).result() == 2
    with pytest.raises(ZeroDivisionError):
        threads.submit(lambda: 1 / 0).result()
    threads.shutdown()


def test_a_cancelled_call_is_not_made() -> None:
    threads, release, made = Threads(1), threading.Event(), threading.Event()
    threads.submit(release.wait)
    waiting = threads.submit(made.set)
    assert waiting.cancel()
    release.set()
    threads.wait()
    assert not made.is_set()
    threads.shutdown()
