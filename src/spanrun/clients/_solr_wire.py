"""aiosolr, with its faults contained.

What aiosolr 5.0.2 does, and what is done about it here:

- Its error has no status: `Exchange` has it.
- Its default headers are one dictionary for all calls, which each call changes:
  every call gets its own.
- Names of parameters, the collection and the handler go into the URL as they are:
  they are escaped.
- It gives up after 3 s without a byte: a runner has the timeout, so aiohttp has none.
- It follows redirects, with our headers, and reads answers of any size: it doesn't.
- It logs parameters, headers and baggage: requests are made past that.
- It decodes an answer by the character set that the answer names, "punycode" as well,
  which takes hours: JSON is UTF-8. And it looks for each suggestion of a spelling in a
  list of those before: it doesn't get them.
- It puts commas between the values of a list, which of some parameters Solr takes for
  one value: those are repeated.
- With ``spellcheck`` it overwrites ``spellcheck.q`` by ``q``: it isn't told.

For that, methods of aiosolr's client are overridden that are private, so that its major
version is pinned in ``pyproject.toml``. Nothing public is between a call and the wire:

- ``_get`` and ``_post`` send, log, and change the headers.
- ``_deserialize`` decodes.
- ``_kwargs_to_query_string`` and ``_kwargs_to_json_body`` make the URL and the body.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, cast
from urllib.parse import quote_plus

from spanrun.clients._body import (
    ACCEPTED,
    BadCodingError,
    BodyTooLargeError,
    read_body,
)
from spanrun.clients._parse import parsed
from spanrun.clients._solr_documents import body, encoded
from spanrun.clients._solr_target import Target, escaped, escaped_path
from spanrun.errors import ConfigurationError, StoreError
from spanrun.extras import load
from spanrun.telemetry.calling import propagate
from spanrun.text import excerpt
from spanrun.urls import basic_auth

MAX_BODY: Final = 64 * 1024 * 1024
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
_MOVED: Final = frozenset({301, 302, 303, 307, 308})
_ADDRESS: Final = frozenset({"collection", "connection_url", "host", "port", "scheme"})


@dataclass(slots=True)
class Exchange:
    """What came back for one request.

    Attributes:
        status: The HTTP status, once there is one.
        retry_after: The header of that name.
        body: The answer's body, once it was read.
    """

    status: int | None = None
    retry_after: str | None = None
    body: bytes = b""


_current: Final[ContextVar[Exchange | None]] = ContextVar("solr_exchange", default=None)


@contextmanager
def exchange() -> Generator[Exchange]:
    """Take note of the request that is made inside."""
    seen = Exchange()
    token = _current.set(seen)
    try:
        yield seen
    finally:
        _current.reset(token)


def libraries() -> tuple[Any, Any]:
    """The modules ``aiosolr`` and ``aiohttp``.

    Raises:
        ConfigurationError: The extra ``solr`` isn't installed.
    """
    user = "AsyncSolrClient"
    load(user, "pydantic")
    return load(user, "aiosolr"), load(user, "aiohttp")


def checked(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options for aiosolr's client, once it is known that it takes them.

    Raises:
        ConfigurationError: It doesn't, or an address is among them.
    """
    aiosolr, _ = libraries()
    if address := _ADDRESS.intersection(options):
        raise ConfigurationError(
            f"AsyncSolrClient({min(address)}=…): the address is in base_url"
        )
    try:
        aiosolr.Client(**options)
    except TypeError as why:
        raise ConfigurationError(f"AsyncSolrClient: {why}") from why
    return dict(options)


def build(
    target: Target, headers: Mapping[str, str], options: Mapping[str, Any]
) -> Any:
    """A client of aiosolr's, with its connections. Call it in an event loop."""
    _, aiohttp = libraries()
    settings = {
        "client_timeout": aiohttp.ClientTimeout(),
        "connection_url": target.url,
        **options,
    }
    client = _contained()(**settings)
    sent = dict(headers)
    if target.login and "authorization" not in {name.lower() for name in sent}:
        sent["Authorization"] = basic_auth(*target.login)
    client.session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=client.ttl_dns_cache),
        cookie_jar=aiohttp.DummyCookieJar(),
        # Unpacked by `_whole`: aiohttp's way knows no bound.
        auto_decompress=False,
        headers={"Accept-Encoding": ACCEPTED, **sent},
        json_serialize=encoded,
        timeout=client.client_timeout,
        trace_configs=client.trace_configs,
    )
    return client


def credentials(target: Target) -> list[str]:
    """What a server may repeat of the URL's login, and nobody may say."""
    if not target.login:
        return []
    return [target.login[1], basic_auth(*target.login).split()[1]]


@functools.cache
def _contained() -> Any:
    aiosolr: Any = libraries()[0]
    base: Any = aiosolr.Client

    class Contained(base):  # type: ignore[misc, name-defined, unused-ignore]
        async def _get(
            self,
            url: str,
            *,
            body: Mapping[str, Any] | None = None,
            headers: Mapping[str, str] | None = None,
        ) -> Any:
            # Not aiosolr's own: that logs the URL, the headers and the body.
            sent = {"Accept": "application/json", **(headers or {})}
            propagate(sent)
            if body:
                return await _answer(self.session.post, url, sent, json=body)
            return await _answer(self.session.get, url, sent)

        async def _post(
            self, url: str, data: object, headers: Mapping[str, str] | None = None
        ) -> Any:
            # Not on the event loop: a document's vectors are megabytes of digits.
            with await asyncio.to_thread(body, data) as sending:
                sent = {**(headers or {}), "Content-Type": "application/json"}
                propagate(sent)
                return await _answer(self.session.post, url, sent, data=sending)

        def _deserialize(self, resp: Any) -> Any:
            told: Any = resp.told
            known = told
            if isinstance(told, dict):
                fields = cast("dict[str, Any]", told)
                known = {**fields, "spellcheck": dict[str, Any]()}
            answer = aiosolr.Response(known, resp.status)
            answer.data = told
            return answer

        @staticmethod
        def _kwargs_to_query_string(kwargs: Mapping[str, Any]) -> str:
            listed, repeated = _listed(_renamed(kwargs))
            return str(base._kwargs_to_query_string(listed)) + repeated  # noqa: SLF001

        @staticmethod
        def _kwargs_to_json_body(kwargs: Mapping[str, Any]) -> Any:
            return base._kwargs_to_json_body(_renamed(kwargs))  # noqa: SLF001

    return Contained


async def _answer(
    ask: Callable[..., Any], url: str, headers: Mapping[str, str], **body: Any
) -> Any:
    """The response of aiohttp's, with what it has ``told`` if it is a 200."""
    seen = _current.get() or Exchange()
    async with ask(url, headers=headers, allow_redirects=False, **body) as response:
        seen.status = response.status
        seen.retry_after = response.headers.get("Retry-After")
        if response.status in _MOVED:
            where = excerpt(str(response.headers.get("Location", "")), 300)
            raise StoreError(
                f"Solr answered {response.status}: moved to {where}, "
                "which isn't followed",
                status=response.status,
            )
        response.body = seen.body = await _whole(response)
    if response.status == HTTPStatus.OK:
        response.told = await parsed(response.body, MAX_BODY)
    return response


async def _whole(response: Any) -> bytes:
    """The body, never read or unpacked beyond `MAX_BODY`."""
    codings = ", ".join(response.headers.getall("Content-Encoding", ()))
    try:
        return await read_body(response.content.iter_any(), codings, MAX_BODY)
    except BodyTooLargeError:
        raise StoreError(
            f"Solr's answer is larger than {MAX_BODY} bytes: ask for fewer rows, "
            "or for fewer fields (fl)",
            final=bool(codings),
        ) from None
    except BadCodingError as why:
        raise StoreError(f"Solr's answer can't be decompressed: {why}") from None


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
    if _SPELLCHECK not in parameters:
        return dict(parameters)
    given = dict(parameters)
    return {"spellcheck": given.pop(_SPELLCHECK), **given}


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
