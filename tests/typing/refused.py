"""Code that must not pass: each line marked so is refused, and no other is.

Checked by pyright and mypy, both strict; never run.
"""

from collections.abc import AsyncIterator, Callable, Sequence

import spanrun as sr
from spanrun import clients, stores
from spanrun.async_utils import asyncio_run, batch_gather, chunks, run_jobs


async def embed(text: str, *, model: str = "small") -> list[float]:
    return [float(len(text + model))]


async def embed_many(texts: list[str]) -> Sequence[list[float]]:
    return [await embed(text) for text in texts]


def length(text: str) -> int:
    return len(text)


async def numbers() -> AsyncIterator[int]:
    yield 1


async def calls(runner: sr.Runner) -> None:
    await runner.call(embed)  # refused
    await runner.call(embed, 3)  # refused
    await runner.call(embed, "a", size=3)  # refused
    await runner.call(embed, "a", model=3)  # refused
    await runner.call(length, "a")  # refused
    await runner.call(embed, "a", priority="high")  # refused
    await runner.call(embed, 3, priority=1)  # refused
    wrong: str = await runner.call(embed, "a")  # refused
    assert wrong


async def maps(runner: sr.Runner) -> None:
    await runner.map(embed, [1, 2])  # refused
    await runner.map(embed, numbers())  # refused
    await runner.map(embed, 3)  # refused
    await runner.map(length, ["a"])  # refused
    await runner.map(embed, ["a"], errors="ignore")  # refused
    await runner.map(embed, ["a"], trace="always")  # refused
    await runner.map(embed, ["a"], limit=3)  # refused
    raised: list[sr.Outcome[list[float]]] = await runner.map(embed, ["a"])  # refused
    collected = await runner.map(embed, ["a"], errors="collect")
    values: list[list[float]] = collected  # refused
    assert raised
    assert values


async def batches(runner: sr.Runner) -> None:
    await runner.map_batches(embed_many, ["a"])  # refused
    await runner.map_batches(embed_many, ["a"], size="2")  # refused
    await runner.map_batches(embed_many, [1], size=2)  # refused
    await runner.map_batches(embed, ["a"], size=2)  # refused


async def streams(runner: sr.Runner) -> None:
    runner.stream(embed, [1])  # refused
    runner.stream(embed, ["a"], True)  # noqa: FBT003 # refused
    for outcome in runner.stream(embed, ["a"]):  # refused
        assert outcome
    async with runner.stream(embed, ["a"]) as outcomes:
        async for outcome in outcomes:
            assert outcome.value  # refused


def runners() -> None:
    sr.Runner()  # refused
    sr.Runner("embed", 8)  # refused
    sr.Runner("embed", limit="8")  # refused
    sr.Runner("embed", retry=3)  # refused
    sr.Runner("embed", timeout="3")  # refused
    sr.Retry()  # refused
    sr.Retry(on=BaseException)  # refused
    sr.Limit("8")  # refused


@sr.instrumented
def count(text: str, *, twice: bool = False) -> int:
    return len(text) * (1 + twice)


def instrumented_functions() -> None:
    count(3)  # refused
    count("a", twice="yes")  # refused
    count("a", True)  # refused
    wrong: Callable[[int], int] = count  # refused
    wrong(1)


def outcomes_are_fixed(done: sr.Ok[int]) -> None:
    done.velue = 3  # refused
    wrong: sr.Ok[str] = done  # refused
    assert wrong


async def entries() -> None:
    sr.run(embed)  # refused
    sr.run(embed("a"), grace="2")  # refused
    sr.run(embed("a"), 2)  # refused
    asyncio_run(embed)  # refused
    await run_jobs([embed])  # refused
    await run_jobs([embed("a")], workers="4")  # refused
    await batch_gather([embed("a")], batch_size=None)  # refused
    chunks([1], "2")  # refused


def the_names_of_the_packages() -> None:
    clients.Embedding("http://127.0.0.1/v1", model="m")  # refused
    clients.Embeddings(1, model="m")  # refused
    stores.SqliteStore("a.db")  # refused
    sr.Progres()  # refused
