"""`ModelClient`: what `Embeddings` and `Chat` have in common."""

from __future__ import annotations

import copy
import ssl
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, Final, Literal, Self, TypedDict, TypeVar

import httpx

from spanrun import checks, semconv
from spanrun.clients._home import Home
from spanrun.clients._json import at, count_at, text_at
from spanrun.clients.http import MAX_BYTES, HttpClient, transient
from spanrun.clock import Clock
from spanrun.errors import ServiceError, ShuttingDown
from spanrun.policies.adaptive import AdaptiveLimit
from spanrun.policies.breaker import Breaker
from spanrun.policies.hedge import Hedge
from spanrun.policies.limit import Limit
from spanrun.policies.outage import outlasting
from spanrun.policies.rate import RateLimit
from spanrun.policies.retry import Retry
from spanrun.policies.timeout import Timeout
from spanrun.runner.bridge import enter
from spanrun.runner.checks import observers_of
from spanrun.runner.runner import Runner
from spanrun.semconv import GenAiTokenType
from spanrun.telemetry.calling import Untold, calling
from spanrun.telemetry.observe import Observer
from spanrun.telemetry.units.call import CallKind, CallUnit

T = TypeVar("T")

DEFAULT_LIMIT: Final = 8
DEFAULT_RETRY: Final = Retry(on=transient, attempts=5, base=0.1, cap=5.0, outage=60.0)


class ClientOptions(TypedDict, total=False):
    """What each client of a model service takes, by keyword.

    Attributes:
        name: Of the runner; labels its spans and metrics.
        provider: ``gen_ai.provider.name`` in telemetry, "openai" by default.
        headers: Sent with each request, never in telemetry.
        limit: Requests at once, 8 by default.
        rate: How many requests begin in a time.
        retry: Which errors are worth another attempt; by default 5 attempts for
            408, 425, 429, 500, 502, 503, 504, 520 to 524, 529 and lost connections,
            and batches outlast an outage of 60 s.
        timeout: Seconds for a request with all its attempts, or a `Timeout`.
        hedge: When a slow request is sent a second time.
        breaker: When a service that is down isn't asked any more.
        abandon_after: Seconds until a cancelled request that doesn't end is given up.
        observers: Told of every request.
        clock: What the requests' times are read from.
        max_bytes: Of an answer, unpacked; 64 MiB by default.
        http2: Speak HTTP/2 where the server offers it over TLS; without TLS, at once.
        tls: The certificates to trust and to show, instead of the system's.
        transport: For tests.
        http_client: Sends the requests instead of a client of our own, and is left
            open. Its hooks, authentication, cookies, redirects and timeouts count; give
            it a `Transport` to see its sends.
    """

    name: str
    provider: str
    headers: Mapping[str, str]
    limit: int | Limit | AdaptiveLimit
    rate: RateLimit | None
    retry: Retry | None
    timeout: float | Timeout | None
    hedge: Hedge | None
    breaker: Breaker | None
    abandon_after: float | None
    observers: Sequence[Observer]
    clock: Clock | None
    max_bytes: int
    http2: bool
    tls: ssl.SSLContext | None
    transport: httpx.AsyncBaseTransport | None
    http_client: httpx.AsyncClient | None


class ModelClient:
    """Connections to a service and the runner that each request is a job of.

    It opens with ``async with`` or with its first use, on the event loop which runs
    then, and closes with `aclose`, on leaving, or when that loop is shut down. Leaving
    waits for what still runs. Used on another loop while the first one stands still,
    it opens there anew, with other connections.

    Attributes:
        model: The model's name.
        runner: Has the limit, the retries and the timeout.
    """

    def __init__(
        self,
        base_url: str,
        *,
        model: str,
        api_key: str | None,
        defaults: tuple[str, Timeout],
        error: type[ServiceError],
        options: ClientOptions,
    ) -> None:
        kind = type(self).__name__
        if unknown := options.keys() - ClientOptions.__annotations__.keys():
            raise TypeError(f"{kind}() has no argument {min(unknown)!r}")
        checks.text(kind, "model", model)
        checks.optional(checks.secret)(kind, "api_key", api_key)
        bearer = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        name, timeout = defaults
        self.model: Final = model
        provider = options.get("provider", "openai")
        self._provider: Final = checks.text(kind, "provider", provider)
        headers = checks.headers(kind, options.get("headers", {}))
        retry = options.get("retry")
        self._make_http: Final = partial(
            HttpClient,
            base_url,
            headers={**bearer, **headers},
            error=error,
            max_bytes=options.get("max_bytes", MAX_BYTES),
            http2=options.get("http2", False),
            tls=options.get("tls"),
            transport=options.get("transport"),
            http_client=options.get("http_client"),
        )
        self._make_runner: Final = partial(
            Runner,
            options.get("name", name),
            limit=options.get("limit", DEFAULT_LIMIT),
            rate=options.get("rate"),
            retry=DEFAULT_RETRY if retry is None else retry,
            timeout=timeout if (given := options.get("timeout")) is None else given,
            hedge=options.get("hedge"),
            breaker=options.get("breaker"),
            abandon_after=options.get("abandon_after"),
            observers=observers_of(kind, options.get("observers", ())),
            clock=options.get("clock"),
        )
        self._kinds: Final[dict[str, CallKind]] = {}
        self._renew()

    def _renew(self) -> None:
        self._http = self._make_http()
        self.runner = self._make_runner()
        self._state: Literal["new", "lazy", "open", "closed"] = "new"
        self._home: Home | None = None

    def __repr__(self) -> str:
        host = self._http.base_url.netloc.decode()
        return f"<{type(self).__name__} {self.model!r} at {host}, {self._state}>"

    async def __aenter__(self) -> Self:
        here = self._home is not None and self._home.here
        if self._state != "lazy" or not here:  # else it is open, ours from here on
            await self._open()
        self._state = "open"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._close(error)

    async def aclose(self) -> None:
        """Close now: requests that run are cancelled. A second call does nothing."""
        await self._close(ShuttingDown(f"{self!r} is closed"))

    async def _open(self) -> None:
        await self._leave()
        await self.runner.__aenter__()
        self._home = await Home.of(self._loop_ends)

    async def _ready(self) -> Runner:
        """The open runner; the first use opens it, and the first on another loop."""
        if self._state == "closed":
            raise ShuttingDown(f"{self!r}: open it again with `async with`")
        if self._home is None or not self._home.here:
            await self._open()
            self._state = "lazy"
        return self.runner

    async def _close(self, error: BaseException | None) -> None:
        await self._leave()
        home, self._home, self._state = self._home, None, "closed"
        if home is not None:
            await home.forget()
            try:
                await self.runner.__aexit__(None, error, None)
            finally:
                await self._http.aclose()

    async def _loop_ends(self) -> None:
        await self._close(ShuttingDown(f"the event loop of {self!r} is shut down"))
        self._state = "new"

    async def _leave(self) -> None:
        """Give up what is open on another loop.

        Raises:
            ConfigurationError: That loop runs.
        """
        home = self._home
        if home is None or home.here:
            return
        await home.leave(repr(self))
        self._home = None
        with suppress(RuntimeError):  # of jobs that its end left behind
            ended = ShuttingDown(f"{self!r} is used on another event loop")
            await self.runner.__aexit__(None, ended, None)

    def _sync(self, ask: Callable[[Self], Coroutine[Any, Any, T]]) -> T:
        """Ask from ordinary code: on a loop, connections and a runner of its own."""

        async def asked() -> T:
            twin = copy.copy(self)
            twin._renew()  # noqa: SLF001 -- one of us
            async with twin:
                return await ask(twin)

        return enter(type(self).__name__, asked())

    async def _call(self, function: Callable[..., Awaitable[T]], *args: Any) -> T:
        """One request. Somebody waits for it, so it outlasts no outage.

        Unless `outlasting` says so: then it is a part of something longer.
        """
        runner = await self._ready()
        token = outlasting.set(outlasting.get() is True)
        try:
            return await runner.call(function, *args)
        finally:
            outlasting.reset(token)

    def _operation(self, name: str, **more: Any) -> CallUnit | Untold:
        """The unit of one request, by the conventions for generative AI."""
        title = f"{name} {self.model}"
        kind = self._kinds.get(title)
        if kind is None:
            kind = self._kinds[title] = CallKind(
                title,
                semconv.METRIC_GEN_AI_CLIENT_OPERATION_DURATION,
                {
                    semconv.GEN_AI_OPERATION_NAME: name,
                    semconv.GEN_AI_PROVIDER_NAME: self._provider,
                    semconv.GEN_AI_REQUEST_MODEL: self.model,
                    **self._http.server,
                },
            )
        call = calling(kind)
        for key, value in more.items():
            call.set(key, value)
        return call


def note_usage(call: CallUnit | Untold, answer: Any) -> tuple[int | None, int | None]:
    """The tokens in and out that ``answer`` tells of, put on the span and counted."""
    if model := text_at(answer, "model"):
        call.set(semconv.GEN_AI_RESPONSE_MODEL, model)
    usage = at(answer, "usage")
    into, out = count_at(usage, "prompt_tokens"), count_at(usage, "completion_tokens")
    _count(call, semconv.GEN_AI_USAGE_INPUT_TOKENS, "input", into)
    _count(call, semconv.GEN_AI_USAGE_OUTPUT_TOKENS, "output", out)
    return into, out


def _count(
    call: CallUnit | Untold, key: str, kind: GenAiTokenType, tokens: int | None
) -> None:
    if tokens is not None:
        call.set(key, tokens)
        call.record(
            semconv.METRIC_GEN_AI_CLIENT_TOKEN_USAGE,
            tokens,
            **{semconv.GEN_AI_TOKEN_TYPE: kind},
        )
