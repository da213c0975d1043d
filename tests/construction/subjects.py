"""How each public thing is called with good arguments but one."""

import contextlib
import functools
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, Final

import spanrun as sr
from spanrun import async_utils, recordings, sandbox, slo, testing
from spanrun.clients import AsyncSolrClient, Chat, Embeddings, Transport, similarity
from spanrun.engines import ProcessEngine, RayEngine
from spanrun.ingest import (
    ChatSummary,
    ChatTitle,
    Embed,
    Files,
    LocalEmbedder,
    Pipeline,
    Split,
    Store,
    Title,
    aquery,
    aretrieve,
    content_hash,
    parallel,
    read_documents,
    retrieve,
)
from spanrun.recordings import Report
from spanrun.stores import SolrStore, SqliteStore, fuse
from spanrun.telemetry.recordings.causes import Explanation
from spanrun.telemetry.recordings.summary import Summary

URL: Final = "http://127.0.0.1:9/v1"
SOLR: Final = "http://127.0.0.1:9/solr/docs"


async def double(number: Any) -> Any:
    """A job."""
    return number * 2


async def doubled(numbers: list[Any]) -> list[Any]:
    """A batch's job."""
    return [number * 2 for number in numbers]


async def several(number: Any) -> AsyncIterator[Any]:
    """No job: it gives an async iterator."""
    yield number


class Thing:
    """A store, an embedder and a model that nothing is asked of."""

    model = "m"
    dimension = 2
    batch = 1
    runner = sr.Runner("thing")

    def __repr__(self) -> str:
        return "Thing()"

    async def nothing(self, *args: Any, **kwargs: Any) -> list[Any]:
        """Find nothing."""
        return []

    search = search_where = add = close = upsert = nothing
    embed = aget_query_embedding = achat = nothing

    async def content_hashes(self) -> dict[str, str]:
        """It is empty."""
        return {}


THING: Final = Thing()


def with_good(called: Callable[..., Any], **good: Any) -> Callable[..., Any]:
    """``called``, with good arguments where no other ones are given."""
    return functools.partial(called, **good)


def on_runner(method: str, function: Any = double, **good: Any) -> Callable[..., Any]:
    """A method of an open runner that takes a function and items."""

    async def called(**given: Any) -> None:
        arguments = {"function": function, "items": [1, 2], **good, **given}
        async with sr.Runner("r") as runner:
            work = arguments.pop("function"), arguments.pop("items")
            result = getattr(runner, method)(*work, **arguments)
            if method.startswith("stream"):
                async with result as outcomes:
                    assert [one async for one in outcomes]
            else:
                await result

    return called


async def on_call(**given: Any) -> None:
    """`Runner.call`, whose function comes by position."""
    function = given.pop("function", double)
    async with sr.Runner("r") as runner:
        await runner.call(function, 1, **given)


def on_client(made: Callable[[], Any], method: str, **good: Any) -> Callable[..., Any]:
    """A method of a client; nothing is sent."""

    async def called(**given: Any) -> None:
        async with made() as client:
            result = getattr(client, method)(**{**good, **given})
            await result

    return called


def on_made(made: Callable[[], Any], method: str, **good: Any) -> Callable[..., Any]:
    """A method of something that is made for it."""

    def called(**given: Any) -> Any:
        with contextlib.ExitStack() as stack:
            subject = made()
            if hasattr(subject, "close"):
                stack.callback(subject.close)
            result = getattr(subject, method)(**{**good, **given})
            if hasattr(result, "__await__"):
                sr.run(result)

    return called


def embeddings(**given: Any) -> Embeddings:
    """A client of nothing."""
    return Embeddings(given.pop("base_url", URL), **{"model": "m", **given})


def chat(**given: Any) -> Chat:
    """A client of nothing."""
    return Chat(given.pop("base_url", URL), **{"model": "m", **given})


def solr() -> AsyncSolrClient:
    """A client of nothing."""
    return AsyncSolrClient(SOLR)


def sqlite() -> SqliteStore:
    """A store whose file isn't made."""
    return SqliteStore("never.db", 2, "m")


def solr_store(**given: Any) -> SolrStore:
    """A store of nothing."""
    return SolrStore(**{"client": THING, "dimension": 2, "model": "m", **given})


def run_of(**given: Any) -> Any:
    """`run`, with a coroutine of its own."""
    main = given.pop("main", None)
    return sr.run(double(1) if main is None else main, **given)


def gathered(called: Callable[..., Any], argument: str) -> Callable[..., Any]:
    """A function of `async_utils`, with a coroutine of its own."""

    async def work(**given: Any) -> None:
        jobs = given.pop(argument, None)
        result = called(**{argument: [double(1)] if jobs is None else jobs, **given})
        await result

    return work


def recording() -> recordings.Recording:
    """One that is closed at once: what is asked for is checked before."""
    stored = Path(__file__).parents[1] / "data" / "store" / "format-3.db"
    with tempfile.TemporaryDirectory() as folder:
        return recordings.open(shutil.copy(stored, folder))


def tasks_run(**given: Any) -> Any:
    """`run_async_tasks`, which is for code that isn't async."""
    tasks = given.pop("tasks", None)
    return async_utils.run_async_tasks([double(1)] if tasks is None else tasks, **given)


def clock_run(**given: Any) -> Any:
    """`FakeClock.run`, with a coroutine of its own."""
    main = given.pop("main", None)
    return testing.FakeClock().run(double(1) if main is None else main, **given)


def unit_of(name: Any) -> None:
    """`unit`, whose name comes by position."""
    with sr.unit(name):
        pass


def instrumented_of(**given: Any) -> Any:
    """`instrumented`, whose function comes by position."""
    if "function" in given:
        return sr.instrumented(given["function"])
    return sr.instrumented(**given)


def read(**given: Any) -> Any:
    """`read_documents`, to its end."""
    return list(read_documents(**{"paths": [], **given}))


def parallel_of(**given: Any) -> Any:
    """`parallel`, whose transforms come by position."""
    return parallel(*given.pop("transforms", (Title(),)), **given)


def captured() -> testing.Captured:
    """What has caught nothing."""
    with testing.capture() as found:
        return found


def embedding_server(**given: Any) -> testing.EmbeddingServer:
    """A server that isn't started."""
    return testing.EmbeddingServer(**given)


def report() -> Report:
    return Report(Summary(0.0, (), (), None, Explanation("", (), {})))


SUBJECTS: Final[Mapping[str, Callable[..., Any]]] = {
    "AdaptiveLimit": sr.AdaptiveLimit,
    "Breaker": sr.Breaker,
    "Checkpoint": with_good(sr.Checkpoint, path="x"),
    "Hedge": sr.Hedge,
    "Limit": with_good(sr.Limit, concurrency=2),
    "RateLimit": with_good(sr.RateLimit, rate=2),
    "Retry": with_good(sr.Retry, on=OSError),
    "ProcessEngine": ProcessEngine,
    "RayEngine": RayEngine,
    "Runner": with_good(sr.Runner, name="r"),
    "Runner.call": on_call,
    "Runner.map": on_runner("map"),
    "Runner.map_batches": on_runner("map_batches", doubled, size=2),
    "Runner.stream": on_runner("stream"),
    "Runner.stream_batches": on_runner("stream_batches", doubled, size=2),
    "Timeout": sr.Timeout,
    "batches": with_good(sr.batches, items=[], size=1),
    "configure": sr.configure,
    "Report.save": on_made(report, "save"),
    "Report.text": on_made(report, "text"),
    "instrumented": instrumented_of,
    "run": run_of,
    "shutdown": sr.shutdown,
    "unit": unit_of,
    "asyncio_run": async_utils.asyncio_run,
    "batch_gather": gathered(async_utils.batch_gather, "tasks"),
    "chunks": with_good(async_utils.chunks, iterable=[], size=1),
    "asyncio_module": async_utils.asyncio_module,
    "get_asyncio_module": async_utils.get_asyncio_module,
    "run_async_tasks": tasks_run,
    "run_jobs": gathered(async_utils.run_jobs, "jobs"),
    "Captured": testing.Captured,
    "Captured.children": on_made(captured, "children"),
    "Captured.count": on_made(captured, "count", metric="m"),
    "Captured.find": on_made(captured, "find"),
    "Captured.parent": on_made(captured, "parent"),
    "Captured.points": on_made(captured, "points", metric="m"),
    "Captured.span": on_made(captured, "span"),
    "Captured.totals": on_made(captured, "totals", metric="m", by="a"),
    "Captured.value": on_made(captured, "value", metric="m"),
    "capture": testing.capture,
    "open": recordings.open,
    "waits": recordings.waits,
    "Recording.events": on_made(recording, "events"),
    "Recording.find": on_made(recording, "find"),
    "Recording.jobs": on_made(recording, "jobs"),
    "Recording.logs": on_made(recording, "logs"),
    "Recording.requests": on_made(recording, "requests"),
    "Recording.runs": on_made(recording, "runs"),
    "Recording.session": on_made(recording, "session"),
    "Recording.spans": on_made(recording, "spans"),
    "Recording.trace": on_made(recording, "trace"),
    "Recording.traces": on_made(recording, "traces"),
    "ChatServer": testing.ChatServer,
    "ChatServer.fail_next": on_made(testing.ChatServer, "fail_next", status=503),
    "ChatServer.spoil_next": on_made(testing.ChatServer, "spoil_next", fault="hang"),
    "EmbeddingServer": embedding_server,
    "EmbeddingServer.fail_next": on_made(embedding_server, "fail_next", status=503),
    "EmbeddingServer.spoil_next": on_made(embedding_server, "spoil_next", fault="hang"),
    "FakeClock": testing.FakeClock,
    "FakeClock.advance": on_made(testing.FakeClock, "advance"),
    "FakeClock.at_step": on_made(testing.FakeClock, "at_step", step=1, call=len),
    "FakeClock.run": clock_run,
    "Progress": sr.Progress,
    "Embeddings": embeddings,
    "Embeddings.heroku": with_good(
        Embeddings.heroku, model="m", api_key="k", base_url=URL
    ),
    **{
        f"Embeddings.{method}": on_client(embeddings, method)
        for method in (
            "aget_query_embedding",
            "aget_text_embedding",
            "get_query_embedding",
            "get_text_embedding",
        )
    },
    "Embeddings.aget_text_embedding_batch": on_client(
        embeddings, "aget_text_embedding_batch", texts=["a"]
    ),
    "Embeddings.get_text_embedding_batch": on_client(
        embeddings, "get_text_embedding_batch", texts=["a"]
    ),
    "Embeddings.similarity": with_good(Embeddings.similarity, a=[1], b=[1]),
    "Chat": chat,
    "Chat.achat": on_client(chat, "achat"),
    "Chat.chat": on_client(chat, "chat"),
    "AsyncSolrClient": with_good(AsyncSolrClient, base_url=SOLR),
    "AsyncSolrClient.add": on_client(solr, "add"),
    "AsyncSolrClient.commit": on_client(solr, "commit"),
    "AsyncSolrClient.delete_by_id": on_client(solr, "delete_by_id"),
    "AsyncSolrClient.delete_by_query": on_client(solr, "delete_by_query"),
    "AsyncSolrClient.search": on_client(solr, "search"),
    "AsyncSolrClient.search_text": on_client(
        solr, "search_text", text="a", fields=["a"]
    ),
    "AsyncSolrClient.search_vector": on_client(
        solr, "search_vector", vector=[1.0], field="a"
    ),
    "AsyncSolrClient.search_where": on_client(solr, "search_where", where={"a": "b"}),
    "Transport": Transport,
    "similarity": with_good(similarity, a=[1], b=[1]),
    "ChatSummary": with_good(ChatSummary, chat=THING),
    "ChatTitle": with_good(ChatTitle, chat=THING),
    "read_documents": read,
    "Files": with_good(Files, paths=[]),
    "LocalEmbedder": LocalEmbedder,
    "Pipeline": with_good(Pipeline, stages=[]),
    "Pipeline.arun": on_made(lambda: Pipeline([]), "arun", documents=[]),
    "Pipeline.run": on_made(lambda: Pipeline([]), "run", documents=[]),
    "Embed": with_good(Embed, embedder=THING),
    "Split": Split,
    "Store": with_good(Store, store=THING),
    "parallel": parallel_of,
    "aquery": with_good(aquery, query="q", stores={"a": THING}),
    "aretrieve": with_good(aretrieve, queries=["q"], stores={"a": THING}),
    "retrieve": with_good(retrieve, queries=["q"], stores={"a": THING}),
    "Limits": sandbox.Limits,
    "asafe_eval": with_good(sandbox.asafe_eval, source="1"),
    "asafe_exec": with_good(sandbox.asafe_exec, source="1"),
    "safe_eval": with_good(sandbox.safe_eval, source="1"),
    "safe_exec": with_good(sandbox.safe_exec, source="1"),
    "fuse": fuse,
    "content_hash": content_hash,
    "load": slo.load,
    "parse": with_good(slo.parse, text=""),
    "SqliteStore": with_good(SqliteStore, path="never.db", dimension=2, model="m"),
    "SolrStore": solr_store,
    **{
        f"{kind}.{method}": on_made(made, method, **good)
        for kind, made in (("SqliteStore", sqlite), ("SolrStore", solr_store))
        for method, good in {
            "delete": {},
            "search": {"vector": [], "text": "a"},
            "upsert": {
                "document_id": "d",
                "content_hash": "h",
                "source": "s",
                "title": None,
                "summary": None,
                "chunks": [],
            },
        }.items()
    },
}
