"""aiosolr, over our own connections, with its faults contained.

aiosolr says where each request goes and what its URL is. It sends by its public
attribute ``session``, which is a `Session` here, so that bounds, secrets, traces and
connections are those of all clients. What else aiosolr 5.0.2 does is met there:

- Its error has no status: `HttpClient` raises one that has, before aiosolr looks.
- Its default headers are one dictionary for all calls, which each call changes: they
  aren't sent.
- It logs parameters, headers and baggage: `Discreet` drops that.

Two of its methods that are private are overridden, so that its major version is pinned
in ``pyproject.toml``. Nothing public is between a call and what they do:

- ``_deserialize`` decodes at one go, which may hold the event loop for seconds, and
  looks for each suggestion of a spelling in a list of those before.
- ``_kwargs_to_query_string`` escapes no names, and puts commas between the values of a
  list, which of some parameters Solr takes for one value: those are repeated.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import IO, Any, Final, cast
from urllib.parse import quote_plus

import httpx

from spanrun.clients._solr_documents import body, encoded
from spanrun.clients._solr_target import Target, escaped, escaped_path
from spanrun.clients.http import HttpClient, SizedBody
from spanrun.errors import ConfigurationError
from spanrun.extras import load

_SPELLCHECK: Final = "sr_spellcheck"
# Of these Solr takes several; a list with commas between would be one, which it hasn't.
_REPEATED: Final = frozenset(
    {
        "bf",
        "bq",
        "debug",
        "facet.query",
        "facet.range",
        "spellcheck.dictionary",
        "stats.field",
        "suggest.dictionary",
    }
)
_ADDRESS: Final = frozenset({"collection", "connection_url", "host", "port", "scheme"})
_AIOHTTP: Final = {
    "client_timeout": "give request_timeout_sec",
    "trace_configs": "each request has a span, and observers are told of it",
}


def library() -> Any:
    """The module ``aiosolr``.

    Raises:
        ConfigurationError: The extra ``solr`` isn't installed.
    """
    load("AsyncSolrClient", "pydantic")
    return load("AsyncSolrClient", "aiosolr")


def checked(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options for aiosolr's client, once it is known that it takes them.

    Raises:
        ConfigurationError: It doesn't, or they can't come to anything here.
    """
    aiosolr = library()
    if address := _ADDRESS.intersection(options):
        raise ConfigurationError(
            f"AsyncSolrClient({min(address)}=…): the address is in base_url"
        )
    for name, instead in _AIOHTTP.items():
        if options.get(name):
            raise ConfigurationError(
                f"AsyncSolrClient({name}=…): aiohttp isn't used: {instead}"
            )
    try:
        aiosolr.Client(**options)
    except TypeError as why:
        raise ConfigurationError(f"AsyncSolrClient: {why}") from why
    return dict(options)


def build(target: Target, http: HttpClient, options: Mapping[str, Any]) -> Any:
    """A client of aiosolr's that sends by ``http``."""
    client = _contained()(**{"connection_url": target.url, **options})
    client.session = Session(http, target.url)
    return client


class Session:
    """What a client of aiosolr's uses of aiohttp's session.

    Args:
        http: Sends, and makes errors of bad answers.
        where: The collection's URL, for errors.
    """

    def __init__(self, http: HttpClient, where: str) -> None:
        self._http: Final = http
        self._where: Final = where

    @asynccontextmanager
    async def get(self, url: str, **_: Any) -> AsyncGenerator[_Answer]:
        """Ask without a body."""
        yield _Answer(await self._http.ask("GET", httpx.URL(url), self._where))

    @asynccontextmanager
    async def post(self, url: str, *, json: Any, **_: Any) -> AsyncGenerator[_Answer]:
        """Send the parameters of a search, or documents, which may be large."""
        where = httpx.URL(url), self._where
        if isinstance(json, list):
            # Not on the event loop: a document's vectors are megabytes of digits.
            documents = cast("list[object]", json)
            with await asyncio.to_thread(body, documents) as file:
                yield _Answer(await self._http.ask("POST", *where, _File(file)))
        else:
            if "params" in json:
                json = {"params": _renamed(json["params"])}
            text = encoded(json).encode()
            yield _Answer(await self._http.ask("POST", *where, text))

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()


class _Answer:
    """What aiosolr looks at of an answer; `told` is for `_deserialize`."""

    status: Final = HTTPStatus.OK.value

    def __init__(self, told: Any) -> None:
        self.told: Final = told
        self.body = ""

    async def text(self) -> str:
        return ""


class _File(SizedBody):
    """The content of a file, as a request's body."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file: Final = file

    def __len__(self) -> int:
        size = self._file.seek(0, 2)
        self._file.seek(0)
        return size

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while part := self._file.read(64 * 1024):
            yield part


@functools.cache
def _contained() -> Any:
    aiosolr = library()
    base: Any = aiosolr.Client

    class Contained(base):  # type: ignore[misc, name-defined, unused-ignore]
        def _deserialize(self, resp: _Answer) -> Any:
            answer = aiosolr.Response(None, resp.status)
            answer.data = resp.told
            return answer

        @staticmethod
        def _kwargs_to_query_string(kwargs: Mapping[str, Any]) -> str:
            listed, repeated = _listed(_renamed(kwargs))
            return str(base._kwargs_to_query_string(listed)) + repeated  # noqa: SLF001

    return Contained


def named(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters whose ``handler`` and ``collection`` stay in their places of the path.

    And whose own ``spellcheck.q`` stays: aiosolr puts ``q`` there, or fails without.
    """
    safe = dict(parameters)
    if safe.get("spellcheck") and ("spellcheck.q" in safe or "q" not in safe):
        safe[_SPELLCHECK] = safe.pop("spellcheck")
    if "collection" in safe:
        safe["collection"] = escaped(safe["collection"])
    if "handler" in safe:
        safe["handler"] = escaped_path("handler", safe["handler"])
    return safe


def _renamed(parameters: Mapping[str, Any]) -> dict[str, Any]:
    given = dict(parameters)
    if _SPELLCHECK in given:
        given["spellcheck"] = given.pop(_SPELLCHECK)
    return given


def _listed(parameters: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Parameters with escaped names; those with several values as a query string."""
    others: dict[str, Any] = {}
    repeated = ""
    for name, value in parameters.items():
        if name in _REPEATED and isinstance(value, list | tuple):
            values = cast("Sequence[Any]", value)
            repeated += "".join(f"&{name}={quote_plus(str(each))}" for each in values)
        else:
            others[quote_plus(name)] = value
    return others, repeated
