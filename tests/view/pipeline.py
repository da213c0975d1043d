"""A program with four runners whose jobs wait, fail, retry, and block the loop.

python pipeline.py JOBS     each of the runners has so many
"""

import asyncio
import random
import sys
import time

import spanrun as sr

JOBS = int(sys.argv[1])
draw = random.Random(7)


class UnavailableError(Exception):
    pass


async def fetch(page):
    await asyncio.sleep(draw.expovariate(200))
    if page % 47 == 5:
        raise ConnectionResetError(104, "Connection reset by peer")


async def parse(page):
    await asyncio.sleep(draw.expovariate(1500))
    if page == JOBS // 3:
        time.sleep(0.4)  # noqa: ASYNC251 -- what the page is to show
    if page % 211 == 9:
        raise ValueError(f"page {page}: <script>alert('x')</script> \x1b[31mno text")


async def embed(page):
    await asyncio.sleep(draw.expovariate(60))
    if draw.random() < 0.04:
        raise UnavailableError(f"503 at page {page}")


async def store(page):
    await asyncio.sleep(draw.expovariate(250))


async def main():
    again = sr.Retry(on=(UnavailableError, ConnectionResetError), attempts=3, base=0.03)
    stages = (
        (fetch, {"limit": 8, "retry": again}),
        (parse, {"limit": 4}),
        (
            embed,
            {
                "limit": 24,
                "rate": sr.RateLimit(130, burst=4),
                "retry": again,
                "timeout": sr.Timeout(attempt=0.25),
            },
        ),
        (store, {"limit": 4}),
    )
    async with asyncio.TaskGroup() as group:
        for work, options in stages:
            group.create_task(stage(work, options))


async def stage(work, options):
    async with sr.Runner(work.__name__, **options) as runner:
        await runner.map(
            work,
            range(JOBS),
            key=lambda page: f"docs/page-{page:04}.html",
            errors="collect",
        )


sr.configure(service_name="ingest")
sr.run(main())
