"""HTTP/1.1 and HTTP/2 on one open connection, each by its library."""

from __future__ import annotations

import time
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, cast

import h11
import httpcore
import httpx

from spanrun.clients._stream import Stream

_IDLE: Final = 30.0
"""Seconds that a connection waits for its next request."""
_MAX_HEAD: Final = 100 * 1024
_MAX_INTERIM: Final = 64
_READ: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """The header of an answer. Its body is in `parts`, and must be closed."""

    status: int
    headers: list[tuple[bytes, bytes]]
    extensions: dict[str, Any]
    parts: AsyncIterable[bytes]


class Http1:
    """One request after another, by h11.

    httpcore's own layer above h11 gives up the event loop twice in each request,
    and costs more than h11 does.
    """

    shared = False

    def __init__(self, stream: Stream, _: httpcore.Origin) -> None:
        self._stream: Final = stream
        self._state: Final = h11.Connection(h11.CLIENT, _MAX_HEAD)
        self._since = time.monotonic()

    @property
    def available(self) -> bool:
        """Whether another request can be sent."""
        return self._state.our_state is h11.IDLE

    @property
    def expired(self) -> bool:
        """Whether it has waited too long, or the server has ended it."""
        readable = self._stream.get_extra_info("is_readable")
        return readable or time.monotonic() - self._since > _IDLE

    async def ask(self, request: httpx.Request, trace: Any) -> Answer:
        """Send ``request``, and wait for the header of its answer."""
        await tell(trace, "http11.send_request_headers.started")
        state = self._state
        asked = h11.Request(
            method=request.method,
            target=request.url.raw_path,
            headers=request.headers.raw,
        )
        sent = [state.send(asked)]
        body = cast("AsyncIterable[bytes]", request.stream)
        sent += [state.send(h11.Data(data=part)) async for part in body]
        sent.append(state.send(h11.EndOfMessage()))
        with suppress(httpcore.WriteError):  # it may have refused it before its end
            await self._stream.write(b"".join(filter(None, sent)))
        await tell(trace, "http11.receive_response_headers.started")
        event = await self._event()
        for _ in range(_MAX_INTERIM):  # "100 Continue" and its like
            if isinstance(event, h11.Response):
                break
            event = await self._event()
        else:
            raise httpcore.RemoteProtocolError("the server never comes to its answer")
        await tell(trace, "http11.receive_response_headers.complete")
        extensions = {
            "http_version": b"HTTP/" + event.http_version,
            "reason_phrase": event.reason,
        }
        return Answer(
            event.status_code, event.headers.raw_items(), extensions, self._parts()
        )

    async def close(self, _: Answer) -> None:
        """Nobody reads the answer any further. After its end, another may be sent."""
        if self._state.our_state is self._state.their_state is h11.DONE:
            self._state.start_next_cycle()
            self._since = time.monotonic()

    async def _parts(self) -> AsyncIterator[bytes]:
        while isinstance(event := await self._event(), h11.Data):
            yield bytes(event.data)

    async def _event(self) -> Any:
        state = self._state
        while (event := state.next_event()) is h11.NEED_DATA:
            data = await self._stream.read(_READ)
            if not data and state.their_state is h11.SEND_RESPONSE:
                raise httpcore.RemoteProtocolError("the server ended it, unanswered")
            state.receive_data(data)
        return event


class Http2:
    """Many requests at the same time, by httpcore and h2."""

    shared = True

    def __init__(self, stream: Stream, origin: httpcore.Origin) -> None:
        self._stream: Final = stream
        self._origin: Final = origin
        self._http: Final = httpcore.AsyncHTTP2Connection(origin, stream, _IDLE)

    @property
    def available(self) -> bool:
        """Whether another request can be sent."""
        return self._http.is_available()

    @property
    def expired(self) -> bool:
        """Whether it has waited too long, or the server has ended it."""
        return self._stream.ended or self._http.has_expired()

    async def ask(self, request: httpx.Request, _: Any) -> Answer:
        """Send ``request``, and wait for the header of its answer.

        Raises:
            httpcore.ConnectionNotAvailable: The server wants to go.
        """
        origin = self._origin
        answer = await self._http.handle_async_request(
            httpcore.Request(
                request.method,
                httpcore.URL(
                    scheme=origin.scheme,
                    host=origin.host,
                    port=origin.port,
                    target=request.url.raw_path,
                ),
                headers=request.headers.raw,
                content=request.stream,
                extensions=cast("Any", request).extensions,
            )
        )
        parts = cast("AsyncIterable[bytes]", answer.stream)
        return Answer(
            answer.status, answer.headers, cast("Any", answer).extensions, parts
        )

    async def close(self, answer: Answer) -> None:
        """Nobody reads the answer any further."""
        await cast("Any", answer.parts).aclose()


async def tell(trace: Any, event: str) -> None:
    """Say to httpcore's ``trace`` extension, if there is one, what happens."""
    if trace is not None:
        await trace(event, {})
