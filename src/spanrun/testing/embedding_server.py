"""`EmbeddingServer`: an OpenAI-compatible service on loopback, slow and fallible."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Self

from spanrun.errors import ConfigurationError
from spanrun.ingest.local_embeddings import LocalEmbeddings
from spanrun.testing._embedding_api import EmbedCounted, Fault, failure, respond
from spanrun.testing._http import Answer, Request
from spanrun.testing._loopback import LoopbackServer

_PER_TEXT = 0.0002  # seconds


@dataclass(slots=True)
class Stats:
    """What a server has seen so far.

    Attributes:
        requests: For embeddings, whatever was answered.
        texts: That got a vector.
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


class EmbeddingServer:
    """Serves ``POST /v1/embeddings`` and ``GET /healthz`` with real vectors.

    A context manager: inside, a thread serves at `url`; afterwards neither the
    thread nor a socket is left, whatever its clients are doing. The vectors are
    those of `LocalEmbeddings`; errors, usage and base64 are as OpenAI has them.

    An answer takes ``latency``, 0.2 ms for each text, and a log-normal share whose
    mean is ``jitter`` (its tail makes the p99). A drawn share of the requests fails
    at once, as real services do: 429 with ``Retry-After``, and 503.

    Args:
        latency: Seconds that an answer takes at least.
        jitter: Seconds more, in the mean.
        rate_limited: The share of requests answered with 429, 0 to 1.
        unavailable: The share answered with 503.
        retry_after: Seconds in the header of a 429.
        seed: The same seed draws the same failures in the same order.
        token: Require this bearer token; else 401.
        poison: A request with this in one of its texts is always answered with 400.
        embed: Makes the vectors and counts the tokens, in place of the model.

    Example:
        >>> import httpx
        >>> with EmbeddingServer(rate_limited=0, unavailable=0) as server:
        ...     body = {"model": server.model, "input": ["one", "two"]}
        ...     answer = httpx.post(f"{server.url}/v1/embeddings", json=body)
        >>> [len(item["embedding"]) for item in answer.json()["data"]]
        [256, 256]
    """

    def __init__(
        self,
        *,
        latency: float = 0.02,
        jitter: float = 0.01,
        rate_limited: float = 0.05,
        unavailable: float = 0.03,
        retry_after: float = 0.2,
        seed: int = 0,
        token: str | None = None,
        poison: str | None = None,
        embed: EmbedCounted | None = None,
    ) -> None:
        _check_seconds(latency=latency, jitter=jitter, retry_after=retry_after)
        _check_shares(rate_limited, unavailable)
        local = LocalEmbeddings()
        self.model = local.model
        self._embed = embed or local.embed_counted
        self._load = None if embed else local.load
        self._latency, self._jitter = latency, jitter
        self._rate_limited, self._unavailable = rate_limited, unavailable
        self._retry_after = retry_after
        self._token = token
        self._poison = poison
        # Apart, so that the failures don't depend on how many jitters were drawn.
        self._failures = random.Random(seed)  # noqa: S311 -- no secret
        self._jitters = random.Random(seed)  # noqa: S311 -- no secret
        self._script: deque[int | Fault] = deque()
        self._stats = Stats()
        self._lock = threading.Lock()
        self._server = LoopbackServer(self._respond, failure)

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
        self._script.extend(itertools.repeat(status, times))

    def spoil_next(self, fault: Fault, times: int = 1) -> None:
        """Let the next ``times`` requests go wrong in the way that ``fault`` names."""
        self._script.extend(itertools.repeat(fault, times))

    def __enter__(self) -> Self:
        if self._load is not None:
            self._load()  # not in the first request's latency
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
        if route[1] != "/v1/embeddings":
            return failure(404, f"there is no {request.path} here")
        if route[0] != "POST":
            return failure(405, f"{request.method} isn't allowed here: POST")
        with self._counted():
            answer, texts = await self._embeddings(request)
        with self._lock:
            self._stats.texts += texts
            if answer.delivery != "hang":
                self._stats.by_status[answer.status] += 1
        return answer

    async def _embeddings(self, request: Request) -> tuple[Answer, int]:
        since = time.monotonic()
        bearer = request.headers.get("authorization")
        if self._token is not None and bearer != f"Bearer {self._token}":
            return failure(401, "incorrect API key provided"), 0
        planned = self._script.popleft() if self._script else self._draw()
        if isinstance(planned, int):
            return self._failure(planned), 0
        answer, texts = await asyncio.to_thread(
            respond, self._embed, request.body, self._poison, planned
        )
        # The mean of this log-normal distribution is 1.
        jitter = self._jitter * self._jitters.lognormvariate(-0.5, 1)
        takes = self._latency + _PER_TEXT * texts + jitter
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


def _check_seconds(**seconds: float) -> None:
    for name, value in seconds.items():
        if not 0 <= value < math.inf:
            raise ConfigurationError(f"EmbeddingServer({name}={value}): must be ≥ 0")


def _check_shares(rate_limited: float, unavailable: float) -> None:
    if not 0 <= min(rate_limited, unavailable) <= rate_limited + unavailable <= 1:
        raise ConfigurationError(
            f"EmbeddingServer(rate_limited={rate_limited}, "
            f"unavailable={unavailable}): must be ≥ 0, together ≤ 1"
        )
