"""How a call goes to Solr: a job of a runner, a call unit, and its error told."""

from __future__ import annotations

import asyncio
import sys
import warnings
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any, Final, Self, TypeVar

from spanrun import checks, semconv
from spanrun.clients import _solr_wire as wire
from spanrun.clients._home import Home, close_on
from spanrun.clients._json import at, of_error, text_at
from spanrun.clients._shortage import Shortage
from spanrun.clients._solr_target import Target
from spanrun.clock import Clock
from spanrun.errors import ConfigurationError, ShuttingDown, StoreError
from spanrun.policies.adaptive import AdaptiveLimit
from spanrun.policies.limit import Limit
from spanrun.policies.overload import STATUSES
from spanrun.policies.retry import Retry
from spanrun.policies.timeout import Timeout
from spanrun.retry_after import retry_after
from spanrun.runner.runner import Runner
from spanrun.telemetry.calling import calling
from spanrun.telemetry.observe import Observer
from spanrun.telemetry.units.call import CallKind
from spanrun.text import Confidential, excerpt

T = TypeVar("T")
Send = Callable[[Any], Awaitable[Any]]
"""Makes one request with aiosolr's client; gives aiosolr's response."""

_OK: Final = 200
# Not 500: Solr says it of requests that it will never take, such as a vector of
# another length.
_BUSY: Final = STATUSES | {408, 425}
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
    if error.final:
        return False
    _, aiohttp = wire.libraries()
    broken = isinstance(error.__cause__, aiohttp.ClientError | OSError)
    return broken or error.status in _BUSY


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
        self._headers: Final = checks.headers(kind, {} if headers is None else headers)
        self._options: Final = wire.checked(client_kwargs)
        self._confidential: Final = Confidential(
            (*self._headers.values(), *wire.credentials(self._target))
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._home: Home | None = None
        self._lock = asyncio.Lock()
        _, aiohttp = wire.libraries()
        host = self._target.host
        unsent = aiohttp.ClientConnectorError
        self._shortage: Final = Shortage[Any](lambda _: host, unsent)
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
            semconv.SERVER_ADDRESS: self._target.host.strip("[]"),
            semconv.SERVER_PORT: self._target.port
            or (443 if self._target.scheme == "https" else 80),
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
        client = getattr(self, "_client", None)
        if client is not None:
            client.session.detach()  # or aiohttp says the same, less well, to the loop
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
        """A client of aiosolr's, open."""
        return wire.build(self._target, self._headers, self._options)

    async def _get_client(self) -> Any:
        """The client of aiosolr's; the first call makes it, however many come."""
        async with await self._turn():
            if self._client is None:
                client = await self._build_client()
                try:
                    await self.runner.__aenter__()
                except BaseException:
                    await client.close()
                    raise
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
        loop = await home.leave(repr(self))
        client, self._client, self._home = self._client, None, None
        with suppress(RuntimeError):  # of jobs that its end left behind
            ended = ShuttingDown(f"{self!r} is used on another event loop")
            await self.runner.__aexit__(None, ended, None)
        if loop is not None:
            close_on(loop, client.close)
        elif home.loop.is_closed():
            await client.close()  # touches nothing, and nothing is said of it
        else:
            client.session.detach()

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
        with calling(self._kind(operation)) as call, wire.exchange() as seen:
            try:
                return read(await self._shortage.connected(send, client))
            except (ConfigurationError, TimeoutError):
                raise
            except Exception as error:  # what aiosolr lets through, see `_failure`
                raise self._failure(seen, error, repeatable=repeatable) from error
            finally:
                self._shortage.given_back()
                if seen.status not in (None, _OK):
                    call.set(semconv.DB_RESPONSE_STATUS_CODE, str(seen.status))

    def _kind(self, operation: str) -> CallKind:
        kind = self._kinds.get(operation)
        if kind is None:
            kind = self._kinds[operation] = CallKind(
                f"{operation} {self._target.collection}",
                semconv.METRIC_DB_CLIENT_OPERATION_DURATION,
                {**self._attributes, semconv.DB_OPERATION_NAME: operation},
            )
        return kind

    def _failure(
        self, seen: wire.Exchange, error: Exception, *, repeatable: bool
    ) -> StoreError:
        """What has happened, in our words: the answer's are in ``body``."""
        aiosolr, aiohttp = wire.libraries()
        where = self._target.url
        head = self._clean(_reason(seen.body))
        if isinstance(error, aiosolr.SolrError):  # it quotes the answer
            quoting: Any = error
            quoting.message, quoting.args = head, (head,)
        broken = isinstance(error, aiohttp.ClientError | OSError)
        kind = StoreError if repeatable or not broken else MaybeStored
        if isinstance(error, StoreError):
            what = f"{where}: {error}"
        elif isinstance(error, aiohttp.ClientConnectorError):
            why = self._clean(str(error))
            what = f"{where} can't be reached: {why}: is Solr running there?"
        elif broken and seen.status is None:
            what = f"{where} gave no answer: {self._clean(str(error))}"
        elif broken:
            what = f"{where}: the answer broke off: {self._clean(str(error))}"
        elif seen.status not in (None, _OK):
            what = f"{where} answered {seen.status}{head and f': {head}'}"
        else:
            what = f"{where}: the answer isn't Solr's ({type(error).__name__}): {head}"
        return kind(
            what,
            status=seen.status,
            retry_after=retry_after(seen.retry_after),
            body=head,
            final=isinstance(error, StoreError) and error.final,
        )

    def _clean(self, text: str) -> str:
        return excerpt(self._confidential.hide(text), _HEAD)


def _reason(body: bytes) -> str:
    """What an error's body says; Solr has it in ``error.msg``."""
    error = at(of_error(body), "error")
    told = text_at(error, "msg") or text_at(error, "trace")
    return told or body[: 64 * _HEAD].decode("utf-8", "replace")


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
