"""aiosolr's answers, read into typed ones; pydantic is imported when one comes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from spanrun.errors import StoreError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from spanrun.clients.solr_responses import SolrSelectResponse, SolrUpdateResponse

Model = TypeVar("Model", bound="BaseModel")


def selected(answer: Any, *, searched: bool) -> SolrSelectResponse:
    """The answer to a search, or of another handler, which need not have searched.

    What it has of its own is kept under Solr's names: ``grouped``, ``terms``, … A
    single ``doc``, as the real-time handler gives it, is what was found.
    """
    from spanrun.clients.solr_responses import SolrSelectResponse  # noqa: PLC0415

    told: dict[str, Any] = answer.data
    if (not searched or "grouped" in told) and told.get("response") is None:
        docs = [told["doc"]] if told.get("doc") else []
        told = {**told, "response": {"docs": docs, "numFound": len(docs)}}
    return _read(SolrSelectResponse, told, answer.status)


def updated(answer: Any) -> SolrUpdateResponse:
    """The answer to an update."""
    from spanrun.clients.solr_responses import SolrUpdateResponse  # noqa: PLC0415

    return _read(SolrUpdateResponse, answer.data, answer.status)


def _read(model: type[Model], told: dict[str, Any], status: int) -> Model:
    """Check an answer's shape; the HTTP status stands in its header."""
    if "responseHeader" not in told:
        return model.model_validate(told)
    header: dict[str, Any] = told["responseHeader"]
    if header.get("status"):
        raise StoreError(f"Solr's own status is {header['status']}, not 0")
    return model.model_validate(
        {**told, "responseHeader": {**header, "status": status}}
    )


def nothing_selected() -> SolrSelectResponse:
    """The answer to a search that need not be made."""
    from spanrun.clients.solr_responses import SolrSelectResponse  # noqa: PLC0415

    return SolrSelectResponse.model_validate({"response": {"docs": [], "numFound": 0}})
