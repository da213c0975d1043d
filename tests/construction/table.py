"""What each public parameter refuses, and how it is tried.

`SUBJECTS` call one thing with good arguments but one. `ROWS` say, for each of its
parameters, what is refused and what is taken. What stands in `UNCHECKED` has no row,
and says why.
"""

from collections.abc import Mapping
from typing import Final

from tests.construction import rows_clients, rows_ingest, rows_runner
from tests.construction.subjects import SUBJECTS
from tests.construction.values import Kind

__all__ = ["ROWS", "SUBJECTS", "UNCHECKED", "UNNAMED"]

ROWS: Final[Mapping[str, Mapping[str, Kind]]] = {
    **rows_runner.ROWS,
    **rows_clients.ROWS,
    **rows_ingest.ROWS,
}

UNNAMED: Final = frozenset({("run", "main"), ("asyncio_run", "coro")})
"""Parameters that are given by position alone: ``run(5): must be a coroutine``."""

_VALUE: Final = "a value that spanrun makes, or that is checked by what takes it"
_TOLD: Final = "called by spanrun itself"
UNCHECKED: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        (
            "Answer",
            "CapturedEvent",
            "CapturedSpan",
            "CapturedSpan.is_child_of",
            "CapturedSpan.matches",
            "ChatAnswer",
            "Chunk",
            "Document",
            "Err",
            "Event",
            "Failure",
            "Hit",
            "Job",
            "Link",
            "LogRecord",
            "Ok",
            "Panel",
            "Point",
            "Point.matches",
            "Recording",
            "Recording.since",
            "Report",
            "Retrieved",
            "Run",
            "RunEvent",
            "Session",
            "Wait",
            "Skipped",
            "Slo",
            "Span",
            "SolrResponseHeader",
            "SolrSchema",
            "SolrSchema.has_values",
            "SolrSchema.read",
            "SolrSchema.type_of",
            "SolrSelectResponseBody",
            "SolrSelectResponse",
            "SolrUpdateResponse",
            "Trace",
            "Verdict",
        ),
        _VALUE,
    ),
    **dict.fromkeys(
        (
            "ChatServer.answer",
            "Embed.open",
            "EmbeddingServer.answer",
            "FakeClock.wall_ns",
            "Files.only",
            "Progress.job_ended",
            "Progress.run_closed",
            "Progress.run_opened",
            "Retry.wants",
            "Store.open",
            "Stream",
            "transient",
        ),
        _TOLD,
    ),
    "Transport.handle_async_request": "called by httpx",
    **dict.fromkeys(
        (
            "ProcessEngine.dumps",
            "ProcessEngine.open",
            "RayEngine.dumps",
            "RayEngine.open",
        ),
        "called by a runner",
    ),
    "Embeddings.embed": "what a job does: a wrong text costs itself, not its batch",
    "LocalEmbedder.embed": "what a job does: a wrong text costs itself, not its batch",
    "LocalEmbedder.aget_query_embedding": "the same, of one text",
    **dict.fromkeys(
        ("groups", "judge", "panels", "queries"), "for objectives that `parse` checked"
    ),
    "Runner.call.args": "the function's own",
    "Runner.call.kwargs": "the function's own",
    "unit.attributes": "what can't be on a span is left out there",
    "AsyncSolrClient.client_kwargs": "checked by aiosolr, which they are for",
    **{
        f"AsyncSolrClient.{method}": "Solr's own"
        for method in (
            "add.kwargs",
            "clear_collection",
            "delete_by_id.kwargs",
            "delete_by_query.kwargs",
            "search.kwargs",
            "search_text.params",
            "search_vector.params",
            "search_where.params",
        )
    },
}
