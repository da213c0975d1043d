"""When outcomes are sent: some together, an error and the last one at once."""

import asyncio
import threading

import pytest
from tests.waiting import becomes

from spanrun.engines import replies as module
from spanrun.engines.replies import Replies
from spanrun.runner.engine import Done
from spanrun.runner.pickled import loads

_NOTHING = (0.0,) * 7


def done(place, ended="ok"):
    return Done(place, ended, b"", 1, _NOTHING, 0, 0, None)


class Link:
    """Takes messages, when it is let."""

    def __init__(self):
        self.is_free = threading.Event()
        self.is_free.set()
        self.begun = 0
        self.places = []

    def send(self, message):
        self.begun += 1
        self.is_free.wait()
        _, *self.reports = loads(message)
        ended = [done.place for each in self.reports for done in each.done]
        self.places.append(ended)


@pytest.fixture
def link():
    return Link()


@pytest.fixture
def made(link, monkeypatch):
    """One of a worker with more to do, where nothing is sent for want of others."""
    monkeypatch.setattr(module, "GROUP", 3600.0)

    def make():
        made = Replies(asyncio.get_running_loop(), link.send, None, lambda: 1)
        made.busy = lambda: True
        return made

    return make


async def test_an_error_and_what_is_last_are_sent_at_once(made, link):
    replies = made()
    replies.add(0, done(0))
    replies.add(0, done(1, "failed"))
    await becomes(lambda: link.places == [[0, 1]])
    replies.add(0, done(2))
    replies.busy = lambda: False
    replies.add(0, done(3))
    await becomes(lambda: link.places == [[0, 1], [2, 3]])
    await replies.close()


async def test_what_ends_while_others_are_sent_waits_for_company(made, link):
    """Else each message of a slow transport has the one or two jobs of its time."""
    replies = made()
    link.is_free.clear()
    replies.add(0, done(0, "failed"))
    await becomes(lambda: link.begun)
    replies.add(0, done(1))
    sending = replies._sending
    link.is_free.set()
    await sending
    assert link.places == [[0]]
    replies.add(0, done(2))
    await replies.close()
    assert link.places == [[0], [1, 2]]


async def test_outcomes_of_many_chunks_are_one_message(made, link):
    replies = made()
    for place in range(3):
        replies.add(place, done(place))
    replies.retried["OSError"] = 1
    await replies.close()
    assert link.places == [[0, 1, 2]]
    assert [dict(each.retried) for each in link.reports] == [{"OSError": 1}, {}, {}]


async def test_an_error_that_comes_while_others_are_sent_is_the_next(made, link):
    replies = made()
    link.is_free.clear()
    replies.add(0, done(0, "failed"))
    await becomes(lambda: link.begun)
    replies.add(0, done(1))
    replies.add(0, done(2, "failed"))
    link.is_free.set()
    await becomes(lambda: link.places == [[0], [1, 2]])
    await replies.close()
