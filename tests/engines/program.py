"""Programs that run jobs in workers, and are looked at or ended from outside."""

import json
import sys
from pathlib import Path

from tests.engines import jobs
from tests.engines.jobs import Once

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
    elif what == "drained-ray":
        sr.run(drained(arguments[0], RayEngine(2, lost_after=60)))
