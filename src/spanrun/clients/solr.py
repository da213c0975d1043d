"""`AsyncSolrClient`: a Solr collection, searched and written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from spanrun import checks
from spanrun.clients import _solr_answers as answers
from spanrun.clients import _solr_query as query
from spanrun.clients._solr_calls import MaybeStored, SolrCalls, transient
from spanrun.clients._solr_documents import can_be_repeated, prepared
from spanrun.clients._solr_wire import named
from spanrun.clients.solr_schema import SolrSchema
from spanrun.errors import ConfigurationError, StoreError

if TYPE_CHECKING:
    from spanrun.clients.solr_responses import SolrSelectResponse, SolrUpdateResponse

__all__ = ["AsyncSolrClient", "MaybeStored", "transient"]

_EVERYTHING: Final = "*:*"
_SEARCHING: Final = ("select", "query")
_NO_FIELD: Final = "spanrun_no_default_field"


class AsyncSolrClient(SolrCalls):
    """A Solr collection or core.

    Takes the place of LlamaIndex's class of this name. Constructing it needs neither
    an event loop nor a network; the first call opens it. `close` it in the end, or
    use it with ``async with``.

    Every request is a job of `runner`, which has the limit, the retries and the
    timeout. Broken connections and answers such as 429 and 503 are tried again: an
    update comes to the same when it is sent twice; one that doesn't raises
    `MaybeStored`.

    Args:
        base_url: With the collection at its end; ``http://user:password@host…`` logs
            in. ``http://localhost:8983/solr/docs``, for instance.
        request_timeout_sec: For one attempt; 0 for no bound.
        headers: Sent with each request. Never in telemetry or in an error.
        limit: Requests at once.
        retry: Which errors are worth another attempt.
        observers: Told of every request.
        clock: What the requests' times are read from.
        **client_kwargs: For ``aiosolr.Client``, such as ``read_timeout``. Requests go
            by a `Transport`: ``ttl_dns_cache`` has no effect, and aiohttp's
            ``client_timeout`` and ``trace_configs`` are refused.

    Raises:
        ConfigurationError: At once, for a value that can't work, or when the extra
            ``solr`` isn't installed.
    """

    _schema: SolrSchema | None = None

    async def search(
        self, query_params: Mapping[str, Any], **kwargs: Any
    ) -> SolrSelectResponse:
        """Search with Solr's own parameters; of these ``sort`` alone is checked.

        What a user typed doesn't belong into ``q`` or ``fq``: see `search_text`.

        Another handler may be asked as well, such as ``terms``, ``suggest``, ``mlt``
        or ``get``. What it answers is in the response under Solr's names
        (``found.terms``); where it hasn't searched, there are no documents.

        Args:
            query_params: Such as ``{"q": "title:cat", "fq": ["a:1", "b:2"]}``. With
                ``debug`` (``True``, ``"timing"``, ``["query", "results"]``) the
                response has ``debug``.
            **kwargs: More of them, or ``handler`` for another one than ``select``.

        Raises:
            ConfigurationError: A part of ``sort`` has neither ``asc`` nor ``desc``, or
                an argument is wrong.
            StoreError: Solr couldn't be reached, or refused.
            DeadlineExceeded: The time for one attempt was up.
        """
        checks.mapping("search", "query_params", query_params, "names to values")
        parameters = named({**query_params, **kwargs})
        searched = parameters.get("handler", "select") in _SEARCHING
        if searched and parameters.get("sort") is not None:
            parameters["sort"] = query.sort_of("search", parameters["sort"])
        return await self._call(
            "select",
            lambda client: client.query(**parameters),
            lambda answer: answers.selected(answer, searched=searched),
        )

    async def search_text(
        self,
        text: str,
        fields: Mapping[str, float] | Sequence[str],
        *,
        where: query.Where | None = None,
        rows: int = 10,
        **params: Any,
    ) -> SolrSelectResponse:
        """Search for what has any of the words in ``text``, whatever it contains.

        The text is taken literally: no part of it is query language.

        Args:
            text: As a user typed it; 64 different words count.
            fields: Where to look, with or without weights. The schema must have them.
            where: Fields, and the value or values that a document must have there.
            rows: How many documents at most.
            **params: More of Solr's parameters, such as ``fl``.

        Raises:
            ConfigurationError: The schema has no such field, or an argument is wrong.
            StoreError: As for `search`.
        """
        rows = checks.whole("search_text", "rows", rows, 0, query.MAX_ROWS)
        checks.text("search_text", "text", text, empty=True)
        query.check_where("search_text", where)
        weights = query.weights(fields)
        await self._require(*weights, *(where or ()))
        quoted = query.words(text)
        if not quoted:
            return answers.nothing_selected()
        asked = query.by_text(quoted, weights)
        return await self.search({**query.only(where, params), **asked, "rows": rows})

    async def search_vector(
        self,
        vector: Sequence[float],
        field: str,
        *,
        where: query.Where | None = None,
        rows: int = 10,
        **params: Any,
    ) -> SolrSelectResponse:
        """Search for the documents whose ``field`` is nearest to ``vector``.

        Solr's search is approximate. ``where`` chooses first: there are ``rows``
        documents, where so many fulfil it.

        Args:
            vector: As many finite numbers as the field has.
            field: A DenseVectorField of the schema.
            where: As for `search_text`.
            rows: How many documents at most, ≥ 1.
            **params: More of Solr's parameters, such as ``fl``.

        Raises:
            ConfigurationError: As for `search_text`.
            StoreError: As for `search`.
        """
        rows = checks.whole("search_vector", "rows", rows, 1, query.MAX_ROWS)
        checks.text("search_vector", "field", field)
        query.check_where("search_vector", where)
        asked = query.by_vector(vector, field, rows)
        await self._require(field, *(where or ()))
        return await self.search({**query.only(where, params), **asked, "rows": rows})

    async def search_where(
        self, where: query.Where, *, rows: int = 10, **params: Any
    ) -> SolrSelectResponse:
        """Search for the documents that have one of the values in each of the fields.

        Args:
            where: Fields, and the value or values that a document must have there:
                as they are indexed, without analysis.
            rows: How many documents at most.
            **params: More of Solr's parameters, such as ``sort``.

        Raises:
            ConfigurationError: As for `search_text`.
            StoreError: As for `search`.
        """
        rows = checks.whole("search_where", "rows", rows, 0, query.MAX_ROWS)
        checks.mapping("search_where", "where", where, "fields to values")
        query.check_where("search_where", where)
        await self._require(*where)
        asked = {**query.only(where, params), "q": _EVERYTHING, "rows": rows}
        return await self.search({**asked, **query.SAFE})

    async def add(
        self, documents: Sequence[Mapping[str, Any]], **kwargs: Any
    ) -> SolrUpdateResponse:
        """Add documents, or replace those of the same id.

        They are found after a commit. A copy is sent in which dates are texts in UTC
        (naive ones are UTC), numpy's arrays and scalars are Python's, bytes are
        decoded. They go in one request, whose body waits in a temporary file if it is
        larger than 4 MiB.

        Args:
            documents: Mappings from fields to values.
            **kwargs: For Solr's update handler, such as ``commit=True``.

        Raises:
            ConfigurationError: A document can't be written as JSON.
            StoreError: As for `search`. `MaybeStored` where no answer came and adding
                the documents again would do something else.
        """
        ready = prepared(documents)
        return await self._update(
            "add", ready, kwargs, repeatable=can_be_repeated(ready)
        )

    async def delete_by_id(
        self, ids: Sequence[str], **kwargs: Any
    ) -> SolrUpdateResponse:
        """Delete the documents with these ids; unknown ones don't matter.

        Raises:
            ConfigurationError: ``ids`` is empty, or one text.
            StoreError: As for `search`.
        """
        given = list(checks.each("delete_by_id", "ids", ids, "ids"))
        if not given:
            raise checks.wrong("delete_by_id", "ids", ids, "must be some ids")
        return await self._update("delete", {"delete": given}, kwargs)

    async def delete_by_query(
        self, query_string: str, **kwargs: Any
    ) -> SolrUpdateResponse:
        """Delete what a query in Solr's language finds.

        In a text field a value is a word, not the text: ``title:doc`` finds each title
        that has the word in it, whatever its case, and of ``title:(doc 5)`` one word
        is enough. To delete documents by what they are, take `delete_by_id`, or a
        field of strings.

        A query that would delete everything, whatever it looks like, is refused: that
        is what `clear_collection` is for. For that Solr is asked before how much it
        finds, after a soft commit; unless it is just values of fields that have no
        words, such as strings and numbers (``id:a``).

        A word without a field is refused, too. Which field Solr would look in depends
        on its configuration: name it, or give it as ``df``.

        Args:
            query_string: Such as ``id:a OR year_i:[* TO 1999]``.
            **kwargs: For Solr's update handler, such as ``commit=True``.

        Raises:
            ConfigurationError: It is empty, would delete everything, or has a word
                without a field; or the schema has no field ``df``.
            StoreError: As for `search`.
        """
        checks.text("delete_by_query", "query_string", query_string)
        if not query_string.strip():
            raise checks.wrong(
                "delete_by_query", "query_string", query_string, "must be a query"
            )
        parsing: dict[str, Any] = {"df": _NO_FIELD}
        if "df" in kwargs:
            await self._require(kwargs["df"])
        parsing |= {key: kwargs[key] for key in ("df", "q.op", "sow") if key in kwargs}
        if not await self._is_exact(query_string):
            await self._refuse_everything(query_string, parsing)
        return await self._delete_by(query_string, {**kwargs, **parsing})

    async def clear_collection(self, **kwargs: Any) -> SolrUpdateResponse:
        """Delete all documents.

        Raises:
            StoreError: As for `search`.
        """
        return await self._delete_by(_EVERYTHING, kwargs)

    async def commit(self, *, soft: bool = False) -> SolrUpdateResponse:
        """Let what was added be found; only a hard commit also writes it to the disk.

        Raises:
            StoreError: As for `search`.
        """
        soft = checks.flag("commit", "soft", soft)
        return await self._call(
            "commit", lambda client: client.commit(soft=soft), answers.updated
        )

    async def schema(self) -> SolrSchema:
        """The collection's fields, as they are now.

        Raises:
            StoreError: As for `search`.
        """
        self._schema = await self._call(
            "schema",
            lambda client: client.query(handler="schema"),
            lambda answer: SolrSchema.read(answer.data),
        )
        return self._schema

    async def _require(self, *fields: str) -> SolrSchema:
        """Refuse fields that the schema lacks; it is read anew before that is said."""
        schema = self._schema
        if schema is None or any(schema.type_of(field) is None for field in fields):
            schema = await self.schema()
        for field in fields:
            if schema.type_of(field) is None:
                raise ConfigurationError(
                    f"the collection {self._target.collection!r} has no field "
                    f"{field!r}: it has "
                    f"{', '.join([*schema.fields, *schema.dynamic_fields])}"
                )
        return schema

    async def _update(
        self,
        operation: str,
        data: object,
        kwargs: Mapping[str, Any],
        *,
        repeatable: bool = True,
    ) -> SolrUpdateResponse:
        parameters = named(kwargs)
        return await self._call(
            operation,
            lambda client: client.update(data=data, **parameters),
            answers.updated,
            repeatable=repeatable,
        )

    async def _delete_by(
        self, query_string: str, kwargs: Mapping[str, Any]
    ) -> SolrUpdateResponse:
        return await self._update("delete", {"delete": {"query": query_string}}, kwargs)

    async def _is_exact(self, query_string: str) -> bool:
        """Whether a query finds nothing but the values that it names."""
        fields = query.plain_fields(query_string)
        if not fields:
            return False
        schema = self._schema or await self.schema()
        return all(schema.has_values(field) for field in fields)

    async def _refuse_everything(
        self, query_string: str, parsing: Mapping[str, Any]
    ) -> None:
        await self.commit(soft=True)
        every = {"q": _EVERYTHING, "rows": 0, **query.SAFE}
        total = (await self.search(every)).response.num_found
        try:
            found = await self.search(
                {"q.op": "OR", **parsing, **every, "fq": query_string}
            )
        except StoreError as error:
            if _NO_FIELD not in str(error):
                raise
            raise ConfigurationError(
                f"delete_by_query({query_string!r}): has a word without a field: write "
                "field:word, or name the field, such as df='title'"
            ) from error
        bare = "".join(query_string.split()).strip("+()")
        if bare in ("*", _EVERYTHING) or 0 < total <= found.response.num_found:
            raise ConfigurationError(
                f"delete_by_query({query_string!r}) would delete all {total} "
                "documents: call clear_collection() for that"
            )
