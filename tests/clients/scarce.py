"""A program that has hardly any file descriptors: ``scarce.py NAME URL``.

It writes what came of it as JSON. Only a program of its own may be treated so.
"""

import asyncio
import json
import os
import resource
import sys
from collections import Counter
from pathlib import Path

import httpx

import spanrun as sr
from spanrun.clients.http import HttpClient
from spanrun.clients.solr import AsyncSolrClient
from spanrun.sandbox import asafe_eval
from spanrun.stores._sqlite_open import connect
from spanrun.testing import capture

JOBS = 300
FEW = 48


def allow(descriptors):
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, most))


def take_all():
    """Open files until there is no descriptor left."""
    allow(FEW)
    held = []
    try:
        while True:
            held.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        return held


def give_back(held):
    for each in held:
        os.close(each)


def told(outcomes):
    """How many ended how."""
    return Counter(
        type(each.error).__name__ if isinstance(each, sr.Err) else "ok"
        for each in outcomes
    )


async def many(send):
    """More jobs at once than there are descriptors."""
    async with sr.Runner("many", limit=JOBS, timeout=30) as runner:
        await runner.map(send, [0])  # what is imported or read only once
        allow(FEW)
        return told(await runner.map(send, range(JOBS), errors="collect"))


async def http(url, **options):
    client = HttpClient(url, **options)
    result = await many(lambda number: client.post("/x", {"number": number}))
    await client.aclose()
    return result


async def by_httpx(url):
    limits = httpx.Limits(max_connections=None)
    return await http(url, transport=httpx.AsyncHTTPTransport(limits=limits))


async def solr(url):
    async with AsyncSolrClient(url, limit=JOBS) as client:
        return await many(lambda _: client.search({"q": "*:*"}))


async def two_clients(url):
    """The connections of one, which nobody uses, take all; then another asks."""
    first, second = HttpClient(url), HttpClient(url)
    async with sr.Runner("two", limit=20, timeout=30) as runner:
        await runner.map(lambda _: first.post("/x", {}), range(20))
        held = take_all()
        outcomes = await runner.map(
            lambda _: second.post("/x", {}), range(3), errors="collect"
        )
        give_back(held)
    await first.aclose()
    await second.aclose()
    return told(outcomes)


async def never(url):
    """No descriptor becomes free before the timeout, but then they do."""
    with capture() as captured:
        client = HttpClient(url)
        async with sr.Runner("never", timeout=3) as runner:  # all wait by then
            held = take_all()
            jobs = runner.map(
                lambda _: client.post("/x", {}), range(5), errors="collect"
            )
            result = told(await jobs)
            give_back(held)
        async with sr.Runner("later", timeout=60) as runner:
            await runner.call(client.post, "/x", {})
        await client.aclose()
    name = "spanrun.http.time."
    times = [s.attributes for s in captured.spans if s.name == "POST"][:5]
    waited = all(t[f"{name}pool"] > t.get(f"{name}connect", 0.0) for t in times)
    return {**result, "waited": waited and len(times) == 5}


async def freed(work):
    """``work`` begins without a descriptor, and is there when it has some."""
    await work(0)
    held = take_all()
    running = asyncio.create_task(work(1))
    ended, _ = await asyncio.wait({running}, timeout=0.2)
    give_back(held)
    return {"early": bool(ended), "result": await running}


async def sandbox(_):
    return await freed(lambda number: asafe_eval("n + 1", {"n": number}))


async def sqlite(folder):
    def opened(number):
        connect(Path(folder) / f"{number}.db", 3, "model").close()
        return number

    return await freed(lambda number: asyncio.to_thread(opened, number))


if __name__ == "__main__":
    _, name, where = sys.argv
    sys.stdout.write(json.dumps(asyncio.run(globals()[name](where))))
