"""`Actor`, which needs no Ray: what it takes, and what it gives."""

import asyncio

from tests.engines import jobs

from spanrun.engines.actor import Actor
from spanrun.engines.replies import message
from spanrun.policies.limit import Limit
from spanrun.runner.core import Policies
from spanrun.runner.engine import Chunk, Item, RunSpec, WorkerSpec
from spanrun.runner.pickled import dumps, loads, where_we_are


async def test_messages_are_taken_in_the_order_in_which_they_were_sent():
    spec = WorkerSpec(
        "remote", Policies(Limit(2)), None, {}, where_we_are(), 60, counted=False
    )
    run = RunSpec(
        "a", dumps(jobs.double), {}, linked=False, shows_times=True, curious=False
    )
    items = [Item(0, dumps(21), None, 0, None)]
    said = [
        message("open", spec),
        message("run", run),
        message("chunk", Chunk(0, "a", items, {})),
        message("close"),
    ]
    actor = Actor(60)
    for number in (2, 1, 0):
        await actor.take(number, said[number])
    replies = actor.replies()
    told = [loads(await anext(replies)) for _ in range(2)]
    await actor.take(3, said[3])
    assert [each async for each in replies] == []
    assert [kind for kind, *_ in told] == ["ready", "reports"]
    (done,) = told[1][1].done
    assert (done.ended, loads(done.payload)) == ("ok", 42)
    await asyncio.sleep(0)
