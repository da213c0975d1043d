"""A program with a run of each size and kind that a page may be wrong about."""

import asyncio

import spanrun as sr

HOSTILE = (
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(2)>",
    "\x1b[31mred\x1b[0m \u202egnp.exe\u202c",
    "=HYPERLINK(1)",
    "long " * 2_000,
    "\udc80 a lone surrogate",
    "{{constructor}} ${7*7} %s &lt;b&gt;",
)


async def work(number):
    await asyncio.sleep(0)


async def fail(number):
    raise ValueError(f"item {number} is 'wrong'")


async def hostile(name):
    with sr.unit(name[:200], note=name):
        await asyncio.sleep(0)
    raise ValueError(name)


async def cancelled():
    running = asyncio.Semaphore(0)

    async def hang(number):
        running.release()
        await asyncio.Event().wait()

    async with sr.Runner("all cancelled") as runner:
        task = asyncio.ensure_future(runner.map(hang, range(5)))
        for _ in range(5):
            await running.acquire()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def main():
    for size in (0, 1, 39, 40):
        async with sr.Runner(f"size {size}") as runner:
            await runner.map(work, range(size))
    async with sr.Runner("all failed") as runner:
        await runner.map(fail, range(50), errors="collect")
    async with sr.Runner("</script>&\u202e") as runner:
        await runner.map(hostile, HOSTILE, key=str, errors="collect")
    await cancelled()


sr.configure(service_name="sizes")
sr.run(main())
