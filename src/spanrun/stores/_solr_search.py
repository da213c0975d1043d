"""The two rankings of a search in Solr, which know every document in one state."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from spanrun.stores import _solr_collection as solr

if TYPE_CHECKING:
    from spanrun.clients.solr import AsyncSolrClient

LOOKS: Final = 3
Ranking: TypeAlias = list[solr.Found]


async def both_rankings(
    client: AsyncSolrClient,
    fields: solr.Fields,
    vector: Sequence[float],
    text: str,
    depth: int,
    where: Mapping[str, Sequence[str]],
) -> tuple[Ranking, Ranking]:
    """The nearest chunks, and those which say it best.

    They are two queries, between which a document may be replaced: then both are made
    again, `LOOKS` times. One that is replaced all the time is in the second alone.
    """
    wanted = {**where, solr.KIND: [solr.CHUNK]}
    near, worded = await _ask(client, fields, vector, text, depth, wanted)
    for _ in range(LOOKS):
        if not _mixed([*near, *worded]):
            return near, worded
        near, worded = await _ask(client, fields, vector, text, depth, wanted)
    mixed = _mixed([*near, *worded])
    return [each for each in near if each.hit.document_id not in mixed], worded


async def _ask(
    client: AsyncSolrClient,
    fields: solr.Fields,
    vector: Sequence[float],
    text: str,
    depth: int,
    where: Mapping[str, Sequence[str]],
) -> tuple[Ranking, Ranking]:
    """Both at the same time."""

    async def near() -> Ranking:
        if not len(vector):
            return []
        answer = await client.search_vector(
            vector, fields.vector, where=where, rows=depth, fl=fields.shown
        )
        return [solr.Found.of(fields, told) for told in answer.response.docs]

    async def worded() -> Ranking:
        searched = fields.text, fields.title
        answer = await client.search_text(
            text, searched, where=where, rows=depth, fl=fields.shown
        )
        return [solr.Found.of(fields, told) for told in answer.response.docs]

    try:
        async with asyncio.TaskGroup() as group:
            rankings = group.create_task(near()), group.create_task(worded())
    except ExceptionGroup as errors:
        first = errors.exceptions[0]
        raise first from first.__cause__
    return rankings[0].result(), rankings[1].result()


def _mixed(found: Iterable[solr.Found]) -> set[str]:
    """The documents that were replaced between the two queries."""
    states: dict[str, str] = {}
    return {
        each.hit.document_id
        for each in found
        if states.setdefault(each.hit.document_id, each.content_hash)
        != each.content_hash
    }
