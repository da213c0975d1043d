"""Code that must pass pyright and mypy, both strict. Checked, never run."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import assert_type

import spanrun as sr
from spanrun import clients, ingest, stores
from spanrun.async_utils import asyncio_run, batch_gather, chunks, run_jobs
from spanrun.clients import ChatAnswer, Embeddings


async def embed(text: str, *, model: str = "small", scale: float = 1) -> list[float]:
    return [len(text) * scale, len(model)]


async def embed_many(texts: list[str]) -> Sequence[list[float]]:
    return [await embed(text) for text in texts]


async def lines() -> AsyncIterator[str]:
    yield "a line"


def returns_an_awaitable(text: str) -> Awaitable[int]:
    raise NotImplementedError(text)


async def call_gives_what_the_function_gives(runner: sr.Runner) -> None:
    assert_type(await runner.call(embed, "a text"), list[float])
    assert_type(await runner.call(embed, "a text", model="m", scale=2), list[float])
    assert_type(await runner.call(returns_an_awaitable, "a text"), int)
    assert_type(await runner.call(embed, "a text", priority=9), list[float])


async def map_gives_a_list_in_either_form(runner: sr.Runner) -> None:
    assert_type(await runner.map(embed, ["a", "b"]), list[list[float]])
    assert_type(await runner.map(embed, lines()), list[list[float]])
    assert_type(await runner.map(embed, ["a"], errors="raise"), list[list[float]])
    outcomes = await runner.map(embed, ["a"], errors="collect", key=len)
    assert_type(outcomes, list[sr.Ok[list[float]] | sr.Err])
    assert_type(outcomes, list[sr.Outcome[list[float]]])


async def map_batches_gives_one_result_an_item(runner: sr.Runner) -> None:
    vectors = await runner.map_batches(embed_many, ["a", "b"], size=2)
    assert_type(vectors, list[list[float]])
    outcomes = await runner.map_batches(
        embed_many, lines(), size=2, max_wait=0.1, errors="collect"
    )
    assert_type(outcomes, list[sr.Outcome[list[float]]])


async def stream_gives_outcomes(runner: sr.Runner) -> None:
    async with runner.stream(embed, lines(), ordered=False) as outcomes:
        async for outcome in outcomes:
            assert_type(outcome, sr.Outcome[list[float]])
            match outcome:
                case sr.Ok(index=index, value=value, timings=timings):
                    assert_type(index, int)
                    assert_type(value, list[float])
                    assert_type(timings, sr.Timings)
                case sr.Err(error=error, attempts=attempts):
                    assert_type(error, Exception)
                    assert_type(attempts, int)
    async with runner.stream_batches(embed_many, ["a"], size=8) as outcomes:
        async for outcome in outcomes:
            assert_type(outcome, sr.Outcome[list[float]])


def every_outcome_is_matched(outcome: sr.Outcome[int]) -> int:
    match outcome:
        case sr.Ok():
            return outcome.value
        case sr.Err():
            raise outcome.error


async def a_runner_is_itself_inside_its_with() -> None:
    retry = sr.Retry(on=(ConnectionError, TimeoutError), attempts=4)
    async with sr.Runner("embed", limit=sr.Limit(8), retry=retry, timeout=3) as runner:
        assert_type(runner, sr.Runner)


@sr.instrumented
def count(text: str, *, twice: bool = False) -> int:
    return len(text) * (1 + twice)


@sr.instrumented(name="count")
async def count_later(text: str, *, twice: bool = False) -> int:
    return count(text, twice=twice)


async def instrumented_keeps_the_signature() -> None:
    plain: Callable[[str], int] = count
    assert_type(plain("a"), int)
    assert_type(count("a", twice=True), int)
    assert_type(await count_later("a", twice=True), int)
    async with sr.Runner("count") as runner:
        assert_type(await runner.map(count_later, ["a"]), list[int])
        assert_type(await runner.call(count_later, "a", twice=True), int)


def run_gives_what_main_gives() -> None:
    assert_type(sr.run(embed("a")), list[float])
    assert_type(sr.run(embed("a"), grace=2, debug=True), list[float])


async def the_llama_index_names() -> None:
    assert_type(asyncio_run(embed("a")), list[float])
    assert_type(await run_jobs([embed("a")], workers=2), list[list[float]])
    assert_type(await batch_gather([embed("a")], 2, verbose=True), list[list[float]])
    assert_type(next(iter(chunks([1, 2, 3], 2))), tuple[int | None, ...])


def a_unit_takes_attributes() -> None:
    with sr.unit("parse", pages=3) as parsing:
        parsing.set("words", 420)


async def the_names_of_the_packages(embeddings: Embeddings, chat: clients.Chat) -> None:
    assert_type(await embeddings.aget_text_embedding("a"), list[float])
    assert_type(await chat.achat("a"), ChatAnswer)
    assert_type(clients.transient(ValueError()), bool)
    store = stores.SqliteStore("a.db", 2, "m")
    pipeline = ingest.Pipeline([ingest.Split(), ingest.Store(store)])
    assert_type(pipeline.run([]), ingest.Report)
    assert_type(sr.Progress(bars=False), sr.Progress)
