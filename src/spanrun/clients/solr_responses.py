"""What Solr answers, typed: needs the extra ``solr``, for pydantic."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, alias_generators


class _Answer(BaseModel):
    """Snake-case names, Solr's own spelling accepted, unknown fields kept."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        alias_generator=alias_generators.to_camel,
        extra="allow",
        populate_by_name=True,
        hide_input_in_errors=True,  # a document's text doesn't belong in an error
    )


class SolrResponseHeader(_Answer):
    """How Solr dealt with a request.

    Attributes:
        status: From `AsyncSolrClient`, the HTTP status, as LlamaIndex's client
            gives it; read from Solr's JSON, its own status, 0 for success.
        q_time: Milliseconds that Solr took (``QTime``).
        zk_connected: Whether ZooKeeper was reachable; None outside of SolrCloud.
        rf: How many replicas took an update; None outside of SolrCloud.
        params: The parameters as Solr saw them, where it echoes them.
    """

    status: int | None = None
    q_time: float | None = Field(default=None, alias="QTime")
    zk_connected: bool | None = None
    rf: int | None = None
    params: dict[str, Any] | None = None


class SolrSelectResponseBody(_Answer):
    """The documents that a search found.

    Attributes:
        docs: Those that were asked for, each with its fields.
        num_found: How many match in all.
        num_found_exact: False where Solr stopped counting: there may be more.
        start: The place of the first of ``docs`` among all that match.
    """

    docs: list[dict[str, Any]]
    num_found: int
    num_found_exact: bool = True
    start: int = 0


class SolrSelectResponse(_Answer):
    """The answer to a search; facets and the like are kept under Solr's names.

    Attributes:
        response: What was found.
        response_header: How Solr dealt with it.
        debug: Where it was asked for.
    """

    response: SolrSelectResponseBody
    response_header: SolrResponseHeader = Field(default_factory=SolrResponseHeader)
    debug: dict[str, Any] | None = None


class SolrUpdateResponse(_Answer):
    """The answer to an add or a delete.

    Attributes:
        response_header: How Solr dealt with it.
        debug: Where it was asked for.
    """

    response_header: SolrResponseHeader
    debug: dict[str, Any] | None = None
