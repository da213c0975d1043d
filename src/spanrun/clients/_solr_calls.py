"""How a call goes to Solr: a job of a runner, a call unit, and its error told."""

from __future__ import annotations

import asyncio
import reprlib
import sys
import warnings
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from http import HTTPStatus
from types import FrameType, TracebackType
from typing import Any, Final, Self, TypeVar

import httpx

from spanrun import checks, semconv
from spanrun.clients import _solr_wire as wire
from spanrun.clients import http
from spanrun.clients._discreet import Discreet
from spanrun.clients._home import Home
from spanrun.clients._solr_target import Target
from spanrun.clock import Clock
from spanrun.errors import ShuttingDown, StoreError
from spanrun.policies.adaptive import AdaptiveLimit
from spanrun.policies.limit import Limit
from spanrun.policies.retry import Retry
from spanrun.policies.timeout import Timeout
from spanrun.runner.runner import Runner
from spanrun.telemetry.calling import calling
from spanrun.telemetry.observe import Observer
from spanrun.telemetry.units.call import CallKind
from spanrun.text import excerpt

T = TypeVar("T")
Send = Callable[[Any], Awaitable[Any]]
"""Makes one request with aiosolr's client; gives aiosolr's response."""

_HEAD: Final = 300


class MaybeStored(StoreError):  # noqa: N818 -- says what it is
    """No answer came to an update that must not be sent twice.

    It may have been carried out or not. Only for atomic updates and for documents
    with a ``_version_``; everything else is simply sent again.
    """


def transient(error: Exception) -> bool:
    """Whether another attempt may help: Solr wasn't reached, or is busy.

    Made for ``Retry(on=transient)``. A request that ran out of time isn't sent again.
    """
    if isinstance(error, MaybeStored) or not isinstance(error, StoreError):
        return False
    # Solr says 500 of requests that it will never take, such as a vector of another
    # length.
    return error.status != HTTPStatus.INTERNAL_SERVER_ERROR and http.transient(error)


_RETRY: Final = Retry(on=transient, attempts=4, base=0.1, cap=5.0)


class SolrCalls:
    """Opens at the first call, sends requests as jobs of `runner`, and closes."""

    def __init__(
        self,
        base_url: str,
        request_timeout_sec: float = 60,
        headers: Mapping[str, str] | None = None,
        *,
        limit: int | Limit | AdaptiveLimit = 16,
        retry: Retry | None = None,
        observers: Sequence[Observer] = (),
        clock: Clock | None = None,
        **client_kwargs: Any,
    ) -> None:
        self._client: Any = None
        self._made_at = _caller(self)
        self._target: Final = Target.of(base_url)
        self._base_url: Final = base_url.strip().rstrip("/")
        kind = "AsyncSolrClient"
        seconds = checks.at_least(kind, "request_timeout_sec", request_timeout_sec, 0)
        self._options: Final = wire.checked(client_kwargs)
        self._http: Final = http.HttpClient(
            base_url.strip(),
            headers=checks.headers(kind, {} if headers is None else headers),
            error=StoreError,
            max_bytes=http.MAX_BYTES,
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._home: Home | None = None
        self._lock = asyncio.Lock()
        self.runner: Final = Runner(
            "solr",
            limit=limit,
            retry=_RETRY if retry is None else retry,
            timeout=Timeout(attempt=seconds or None),
            observers=observers,
            clock=clock,
        )
        self._kinds: Final[dict[str, CallKind]] = {}
        self._attributes: Final[dict[str, Any]] = {
            semconv.DB_SYSTEM_NAME: "solr",
            semconv.DB_COLLECTION_NAME: self._target.collection,
            **self._http.server,
        }
        if self._target.prefix:
            self._attributes[semconv.DB_NAMESPACE] = self._target.prefix.strip("/")

    @property
    def base_url(self) -> str:
        """The collection's URL, as it was given, without a slash at its end."""
        return self._base_url

    def __repr__(self) -> str:
        return f"{type(self).__name__}(base_url={self._target.url!r})"

    def __del__(self) -> None:
        if getattr(self, "_client", None) is not None:
            warnings.warn(
                f"{self!r}, made at {self._made_at}, was never closed: "
                "`await client.close()`, or use it with `async with`",
                ResourceWarning,
                source=self,
                stacklevel=2,
            )

    async def close(self) -> None:
        """Wait for the calls that run, then close the connections.

        May be called again, and together. A later call opens everything anew, also
        on another event loop. It is closed as well when its event loop is shut down.

        Raises:
            ConfigurationError: It is open on another event loop, which runs.
        """
        await self.__aexit__(None, None, None)

    async def __aenter__(self) -> Self:
        await self._get_client()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        async with await self._turn():
            client, self._client = self._client, None
            home, self._home = self._home, None
            if client is None or home is None:
                return
            await home.forget()
            try:
                await self.runner.__aexit__(kind, error, trace)
            finally:
                await client.close()

    async def _build_client(self) -> Any:
        """A client of aiosolr's, which sends by our own connections."""
        return wire.build(self._target, self._http, self._options)

    async def _get_client(self) -> Any:
        """The client of aiosolr's; the first call makes it, however many come."""
        async with await self._turn():
            if self._client is None:
                client = await self._build_client()
                await self.runner.__aenter__()
                self._client = client
                self._home = await Home.of(self.close)
            return self._client

    async def _turn(self) -> asyncio.Lock:
        """Who opens or closes waits for who does."""
        if self._home is not None and not self._home.here:
            await self._leave(self._home)
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._lock = loop, asyncio.Lock()
        return self._lock

    async def _leave(self, home: Home) -> None:
        """Give up what is open on another loop; it must not run."""
        await home.leave(repr(self))
        client, self._client, self._home = self._client, None, None
        with suppress(RuntimeError):  # of jobs that its end left behind
            ended = ShuttingDown(f"{self!r} is used on another event loop")
            await self.runner.__aexit__(None, ended, None)
        if client is not None:
            await client.close()

    async def _call(
        self,
        operation: str,
        send: Send,
        read: Callable[[Any], T],
        *,
        repeatable: bool = True,
    ) -> T:
        """Make a request as a job, and read its answer.

        Raises:
            StoreError: Solr couldn't be reached, refused, or gave something else than
                expected; `MaybeStored` where the request must not be ``repeatable``.
            DeadlineExceeded: The time for one attempt was up.
        """
        client = await self._get_client()
        return await self.runner.call(
            self._attempt, client, operation, send, read, repeatable
        )

    async def _attempt(
        self,
        client: Any,
        operation: str,
        send: Send,
        read: Callable[[Any], T],
        repeatable: bool,  # noqa: FBT001 -- by position, as the runner hands it on
    ) -> T:
        with calling(self._kind(operation)) as call, Discreet(self._http.confidential):
            try:
                answer = await send(client)
            except StoreError as error:
                if error.status not in (None, HTTPStatus.OK):
                    call.set(semconv.DB_RESPONSE_STATUS_CODE, str(error.status))
                lost = error.__cause__
                if isinstance(lost, httpx.ConnectError):
                    error.add_note("is Solr running there?")
                if isinstance(lost, httpx.RequestError) and not repeatable:
                    raise MaybeStored(str(error)) from lost
                raise
            try:
                return read(answer)
            except Exception as error:  # what is told needn't be of Solr's shape
                raise self._misread(answer, error) from error

    def _kind(self, operation: str) -> CallKind:
        kind = self._kinds.get(operation)
        if kind is None:
            kind = self._kinds[operation] = CallKind(
                f"{operation} {self._target.collection}",
                semconv.METRIC_DB_CLIENT_OPERATION_DURATION,
                {**self._attributes, semconv.DB_OPERATION_NAME: operation},
            )
        return kind

    def _misread(self, answer: Any, error: Exception) -> StoreError:
        """That an answer is JSON, but none of Solr's."""
        head = reprlib.repr(getattr(answer, "data", answer))
        head = excerpt(self._http.confidential.hide(head), _HEAD)
        why = str(error) if isinstance(error, StoreError) else type(error).__name__
        return StoreError(
            f"{self._target.url}: the answer isn't Solr's ({why}): {head}",
            status=HTTPStatus.OK,
            body=head,
        )


def _caller(made: object) -> str:
    """The line that constructs ``made``, outside of its constructors."""
    # Not our own frame: a variable of it that holds it would hold ``made``, too.
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] -- no other way
    # Only these frames' variables: a look at them holds them for the frame's life.
    while frame and frame.f_code.co_name == "__init__":
        if frame.f_locals.get("self") is not made:
            break
        frame = frame.f_back
    if frame is None:
        return "an unknown line"
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
