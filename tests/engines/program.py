"""Programs that run jobs in workers, and are looked at or ended from outside."""

import asyncio
import json
import os
import sys
from pathlib import Path

from tests.engines import jobs
from tests.engines.cluster import ADDRESS
from tests.engines.jobs import Once
from tests.waiting import becomes

import spanrun as sr
from spanrun.engines import ProcessEngine, RayEngine


async def killed(folder, count):
    """A run in the store, some of whose jobs kill their worker once."""
    items = [Once(n, folder, n % (count // 2) == 10) for n in range(count)]
    engine = ProcessEngine(2, lost_after=60)
    async with sr.Runner("remote", limit=8, engine=engine) as runner:
        with sr.unit("around"):
            outcomes = await runner.map(jobs.killing, items, errors="collect")
    told = [[each.index, each.value, f"{each.trace_id:032x}"] for each in outcomes]
    sys.stdout.write(json.dumps(told))


async def waiting(folder):
    """Hang, with a job in each worker."""
    engine = ProcessEngine(2, lost_after=60)
    async with sr.Runner("remote", limit=2, engine=engine) as runner:
        await runner.map(jobs.hang, [folder] * 2)


async def of_main(number):
    """A job of the program itself."""
    return number + 1


class Item:
    """An item, and a result, of a class of the program itself."""

    def __init__(self, number):
        self.number = number


async def next_item(item):
    return Item(item.number + 1)


async def main_module():
    """Functions, items and results of ``__main__``."""
    engine = ProcessEngine(1, lost_after=60)
    async with sr.Runner("remote", engine=engine) as runner:
        numbers = await runner.map(of_main, range(3))
        items = await runner.map(next_item, [Item(1)])
    told = numbers, items[0].number, isinstance(items[0], Item)
    sys.stdout.write(f"{told}")


async def on_ray(folder):
    """What a run does, with its jobs in actors."""
    engine = on_cluster()
    offset = 4

    async def by_value(number):
        return number + offset

    async with sr.Runner("remote", limit=8, engine=engine) as runner:
        values = await runner.map(jobs.double, range(300))
        say("map", "same" if values == list(range(0, 600, 2)) else values)
        try:
            await runner.map(jobs.double_or_raise, range(5, 9))
        except KeyError as error:
            told = "in double_or_raise" in "\n".join(error.__notes__)
            say("error", f"{error}, with{'' if told else 'out'} its traceback")
        values = await runner.map_batches(jobs.double_all, range(20), size=8)
        say("batches", "same" if values == list(range(0, 40, 2)) else values)
        async with runner.stream(jobs.double, range(100)) as outcomes:
            values = [each.value async for each in outcomes]
        say("stream", "same" if values == list(range(0, 200, 2)) else values)
        say("by value", (await runner.map(by_value, [1]))[0])
    import ray  # noqa: PLC0415 -- of this program alone

    say("cluster", "lives on" if ray.is_initialized() else "ended")


async def killed_on_ray(folder):
    """A worker is killed, and what runs then is cancelled."""
    engine = on_cluster()
    async with sr.Runner("remote", limit=8, engine=engine) as runner:
        items = [Once(n, folder, n == 100) for n in range(400)]
        outcomes = await runner.map(jobs.killing, items, errors="collect")
        values = [(each.index, each.value) for each in outcomes]
        same = values == [(n, 2 * n) for n in range(400)]
        say("killed", "each once" if same else outcomes)
        task = asyncio.create_task(runner.map(jobs.hang, [folder] * 8))
        await becomes(lambda: count(folder, "begun"))
        task.cancel()
        await asyncio.wait({task})
        same = count(folder, "cancelled") == count(folder, "begun")
        say("cancelled", "all that began" if same else "not all")


async def on_nodes():
    """On which nodes the workers are."""
    async with sr.Runner("remote", limit=2, engine=on_cluster()) as runner:
        found = await runner.map(jobs.node, range(20))
    say("nodes", len(set(found)))


def on_cluster():
    """Two workers: on the cluster that there is, or on one of its own."""
    return RayEngine(2, address=os.environ.get(ADDRESS), lost_after=60)


def count(folder, kind):
    return len(list(Path(folder).glob(f"*.{kind}")))


def say(what, told):
    sys.stdout.write(f"{what}: {told}\n")
    sys.stdout.flush()


async def drained(folder, engine):
    """Run until SIGTERM; what runs by then has its grace."""

    def numbers():
        for number in range(10**9):
            if number == 1_000:
                Path(folder, "begun").touch()
            yield number

    async with (
        sr.Runner("remote", limit=8, engine=engine) as runner,
        runner.stream(jobs.double, numbers()) as outcomes,
    ):
        last = -1
        try:
            async for each in outcomes:
                assert each.value == 2 * each.index
                last = each.index
        finally:
            sys.stdout.write(f"the last one was {last > 0}\n")


if __name__ == "__main__":
    what, *arguments = sys.argv[1:]
    if what == "killed":
        sr.configure(service_name="driver")
        sr.run(killed(arguments[0], int(arguments[1])))
    elif what == "main":
        sr.run(main_module())
    elif what == "waiting":
        sr.run(waiting(arguments[0]))
    elif what == "drained":
        sr.run(drained(arguments[0], ProcessEngine(2, lost_after=60)))
    elif what == "ray":
        sr.run(on_ray(arguments[0]))
    elif what == "nodes-ray":
        sr.run(on_nodes())
    elif what == "killed-ray":
        sr.run(killed_on_ray(arguments[0]))
    elif what == "drained-ray":
        sr.run(drained(arguments[0], on_cluster()))
