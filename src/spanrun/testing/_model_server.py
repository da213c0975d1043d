"""`ModelServer`: a model's HTTP service on loopback, slow and fallible."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Final, Self, TypedDict, get_args

from spanrun.checks import at_least, between, one_of, optional, text, whole
from spanrun.errors import ConfigurationError
from spanrun.testing._faults import Fault, failure
from spanrun.testing._http import Answer, Request
from spanrun.testing._loopback import LoopbackServer

_PER_ITEM: Final = 0.0002  # seconds


@dataclass(slots=True)
class Stats:
    """What a server has seen so far.

    Attributes:
        requests: For its model, whatever was answered.
        texts: That the model worked on.
        by_status: How often each status was answered.
        connections: How many were opened.
        in_flight: Requests that are worked on now.
        most_in_flight: The most there were at one time.
    """

    requests: int = 0
    texts: int = 0
    by_status: Counter[int] = field(default_factory=Counter[int])
    connections: int = 0
    in_flight: int = 0
    most_in_flight: int = 0


class ServerOptions(TypedDict, total=False):
    """How slow and fallible a server is: the arguments of `EmbeddingServer`."""

    latency: float
    jitter: float
    rate_limited: float
    unavailable: float
    retry_after: float
    seed: int
    token: str | None
    poison: str | None


class ModelServer:
    """Serves one path, and ``GET /healthz``; a subclass answers.

    A context manager: inside, a thread serves at `url`; afterwards neither the
    thread nor a socket is left, whatever its clients are doing.

    An answer takes ``latency``, 0.2 ms for each text, and a log-normal share whose
    mean is ``jitter`` (its tail makes the p99). A drawn share of the requests fails
    at once, as real services do: 429 with ``Retry-After``, and 503.
    """

    def __init__(self, path: str, options: ServerOptions) -> None:
        kind = type(self).__name__
        if unknown := options.keys() - ServerOptions.__annotations__.keys():
            raise TypeError(f"{kind}() has no argument {min(unknown)!r}")
        self._path: Final = path
        self._latency = at_least(kind, "latency", options.get("latency", 0.02), 0)
        self._jitter = at_least(kind, "jitter", options.get("jitter", 0.01), 0)
        limited, down = (
            options.get("rate_limited", 0.05),
            options.get("unavailable", 0.03),
        )
        self._rate_limited = between(kind, "rate_limited", limited, 0, 1)
        self._unavailable = between(kind, "unavailable", down, 0, 1)
        if self._rate_limited + self._unavailable > 1:
            raise ConfigurationError(
                f"{kind}(rate_limited={limited}, unavailable={down}): must be ≥ 0, "
                "together ≤ 1"
            )
        pause = options.get("retry_after", 0.2)
        self._retry_after = at_least(kind, "retry_after", pause, 0)
        self._token = optional(text)(kind, "token", options.get("token"))
        self._poison = optional(text)(kind, "poison", options.get("poison"))
        seed = whole(kind, "seed", options.get("seed", 0))
        # Apart, so that the failures don't depend on how many jitters were drawn.
        self._failures = random.Random(seed)  # noqa: S311 -- no secret
        self._jitters = random.Random(seed)  # noqa: S311 -- no secret
        self._script: deque[int | Fault] = deque()
        self._stats = Stats()
        self._lock = threading.Lock()
        self._server = LoopbackServer(self._respond, failure)

    def answer(self, body: bytes, fault: Fault | None) -> tuple[Answer, int]:
        """The answer to a request, spoilt if ``fault`` says so; how many texts it had.

        Called in a thread.
        """
        raise NotImplementedError

    @property
    def url(self) -> str:
        """``http://127.0.0.1:<port>``, while it runs."""
        return f"http://127.0.0.1:{self._server.port}"

    @property
    def stats(self) -> Stats:
        """What was counted so far: a copy."""
        with self._lock:
            return replace(
                self._stats,
                by_status=Counter(self._stats.by_status),
                connections=self._server.connections,
            )

    def fail_next(self, status: int, times: int = 1) -> None:
        """Answer the next ``times`` requests with ``status``.

        What was asked for here and by `spoil_next` comes in the order of asking,
        and before any drawn failure.
        """
        status = whole("fail_next", "status", status, 100, 599)
        times = whole("fail_next", "times", times, 1)
        self._script.extend(itertools.repeat(status, times))

    def spoil_next(self, fault: Fault, times: int = 1) -> None:
        """Let the next ``times`` requests go wrong in the way that ``fault`` names."""
        one_of("spoil_next", "fault", fault, get_args(Fault))
        times = whole("spoil_next", "times", times, 1)
        self._script.extend(itertools.repeat(fault, times))

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.stop()

    async def _respond(self, request: Request) -> Answer:
        route = request.method, request.path
        if route == ("GET", "/healthz"):
            return Answer(200, json.dumps({"status": "ok"}).encode())
        if route[1] != self._path:
            return failure(404, f"there is no {request.path} here")
        if route[0] != "POST":
            return failure(405, f"{request.method} isn't allowed here: POST")
        with self._counted():
            answer, texts = await self._work(request)
        with self._lock:
            self._stats.texts += texts
            if answer.delivery != "hang":
                self._stats.by_status[answer.status] += 1
        return answer

    async def _work(self, request: Request) -> tuple[Answer, int]:
        since = time.monotonic()
        bearer = request.headers.get("authorization")
        if self._token is not None and bearer != f"Bearer {self._token}":
            return failure(401, "incorrect API key provided"), 0
        planned = self._script.popleft() if self._script else self._draw()
        if isinstance(planned, int):
            return self._failure(planned), 0
        answer, texts = await asyncio.to_thread(self.answer, request.body, planned)
        # The mean of this log-normal distribution is 1.
        jitter = self._jitter * self._jitters.lognormvariate(-0.5, 1)
        takes = self._latency + _PER_ITEM * texts + jitter
        await asyncio.sleep(since + takes - time.monotonic())
        return answer, texts

    def _draw(self) -> int | None:
        drawn = self._failures.random()
        if drawn < self._rate_limited:
            return 429
        return 503 if drawn < self._rate_limited + self._unavailable else None

    def _failure(self, status: int) -> Answer:
        answer = failure(status, f"this request was chosen to fail with {status}")
        if status == 429:  # noqa: PLR2004 -- Too Many Requests
            # Fractions aren't in the standard, yet services send them.
            answer.headers["retry-after"] = f"{self._retry_after:g}"
        return answer

    @contextmanager
    def _counted(self) -> Generator[None]:
        with self._lock:
            stats = self._stats
            stats.requests += 1
            stats.in_flight += 1
            stats.most_in_flight = max(stats.most_in_flight, stats.in_flight)
        try:
            yield
        finally:
            with self._lock:
                self._stats.in_flight -= 1
