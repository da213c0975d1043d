"""Jobs for workers, which import this module by its name."""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path
from typing import NamedTuple

from opentelemetry import baggage

import spanrun as sr


def first(folder, name):
    """Whether this is the first time in any process."""
    try:
        Path(folder, name).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


class Once(NamedTuple):
    """An item whose worker is killed the first ``times`` times that it runs there."""

    number: int
    folder: str
    times: int = 1


async def double(number):
    return number * 2


async def double_all(numbers):
    return [number * 2 for number in numbers]


async def killing(item):
    """Double the number, unless its worker has to be killed."""
    for again in range(item.times):
        if first(item.folder, f"{item.number}-{again}"):
            os.kill(os.getpid(), signal.SIGKILL)
    return item.number * 2


async def suspended(item):
    """Double the number, but the first time stop the whole process for ever."""
    if item.times and first(item.folder, str(item.number)):
        os.kill(os.getpid(), signal.SIGSTOP)
    return item.number * 2


async def double_or_raise(number):
    if number % 10 == 7:
        raise KeyError(number)
    await asyncio.sleep(0)
    return number * 2


async def poisoned(numbers):
    if 13 in numbers:
        raise ValueError("13 is poison")
    return [number * 2 for number in numbers]


class Stubborn(Exception):  # noqa: N818
    """Can be pickled, and not read again."""

    def __init__(self, what, why):
        super().__init__(f"{what} because {why}")


async def raise_stubborn(_):
    raise Stubborn("no", "so")


async def raise_from(number):
    raise ValueError(f"number {number}") from OSError(5, "the disk")


async def give_lambda(_):
    return lambda: None


async def leave(_):
    sys.exit(3)


async def hang(folder):
    """Say that it runs, then wait for its cancellation, and say that it came."""
    first(folder, f"{os.getpid()}.begun")
    try:
        await asyncio.Event().wait()
    finally:
        first(folder, f"{os.getpid()}.cancelled")


async def where(_):
    return os.getpid()


async def told(_):
    """What the context tells of its caller."""
    with sr.unit("inside"):
        return baggage.get_baggage("tenant")


async def at_second(item):
    """Refuse an item the first time that it is tried."""
    if first(item.folder, str(item.number)):
        raise ConnectionError("not yet")
    return item.number


async def hang_or_raise(item):
    what, told = item
    if what == "raise":
        raise KeyError(told)
    first(told, f"{id(item)}-{os.getpid()}.begun")
    try:
        await asyncio.Event().wait()
    finally:
        first(told, f"{id(item)}-{os.getpid()}.cancelled")


async def logged(item):
    """Write a line before and after, in the order in which all processes do that."""
    log, number = item
    file = os.open(log, os.O_APPEND | os.O_CREAT | os.O_WRONLY)
    os.write(file, b"+\n")
    await asyncio.sleep(0.01 * (number % 7))
    os.write(file, b"-\n")
    os.close(file)


async def blocking(_):
    """Hold the event loop for longer than a step may."""
    time.sleep(0.3)  # noqa: ASYNC251 -- that is the fault


async def node(_):
    """The node of the cluster that this is on; slow, so that each worker has some."""
    import ray  # noqa: PLC0415 -- on Ray alone

    await asyncio.sleep(0.05)
    return ray.get_runtime_context().get_node_id()
