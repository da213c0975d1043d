"""What every HTTP client has to stand: a `Subject` is what the tests know of one.

A new client: make a `Subject` of it and put it into ``SUBJECTS`` of
``test_conformance.py``.
"""

import asyncio
import types
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from tests.waiting import becomes

import spanrun as sr
from spanrun.clients.http import transient
from spanrun.errors import ServiceError
from spanrun.testing import no_leaks
from spanrun.testing._http import Answer, Request
from spanrun.testing._loopback import LoopbackServer

SECRET = "s3cret.Key-0123456789"  # noqa: S105 -- of servers that live for a moment


@dataclass(frozen=True)
class Subject:
    """A client under test.

    Attributes:
        name: Names its tests.
        make: Of the server's origin and `Asked`, a client that isn't open yet.
        ask: One request.
        close: As its users close it.
        good: The body of a good answer.
        value: What `ask` gives then.
        wrong: Bodies of another shape than the service's.
        error: Raised for bad answers.
        lost: Raised where no answer came.
    """

    name: str
    make: Callable[[str, "Asked"], Any]
    ask: Callable[[Any], Awaitable[Any]]
    close: Callable[[Any], Awaitable[None]]
    good: bytes
    value: Any
    wrong: tuple[bytes, ...]
    error: type[ServiceError]
    lost: tuple[type[Exception], ...]

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Asked:
    """How a test wants its client. The secret is to be sent as a credential."""

    attempts: int = 1
    attempt: float = 10.0
    max_bytes: int = 1_000_000
    secret: str = SECRET

    @property
    def retry(self) -> sr.Retry:
        return sr.Retry(on=transient, attempts=self.attempts, base=0)

    @property
    def timeout(self) -> sr.Timeout:
        return sr.Timeout(attempt=self.attempt, total=30)


@dataclass
class Faulty:
    """A server on loopback: gives ``answers`` in turn, and then the good one."""

    good: bytes
    answers: deque[Answer] = field(default_factory=deque)
    requests: list[Request] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._server = LoopbackServer(self._respond, lambda status, _: Answer(status))
        self._server.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.port}"

    @property
    def connections(self) -> int:
        return self._server.connections

    async def _respond(self, request: Request) -> Answer:
        self.requests.append(request)
        self.times.append(asyncio.get_running_loop().time())
        return self.answers.popleft() if self.answers else Answer(200, self.good)

    async def accepted(self, connections: int = 1) -> None:
        """Wait until so many connections were accepted."""
        await becomes(lambda: self.connections >= connections)

    async def asked(self, requests: int = 1) -> None:
        """Wait until so many requests have come."""
        await becomes(lambda: len(self.requests) >= requests)


@asynccontextmanager
async def serving(subject: Subject) -> AsyncIterator[Faulty]:
    """The service of ``subject``; whatever happens inside, nothing is left of it."""
    async with no_leaks():
        with Faulty(subject.good) as server:
            yield server


@contextmanager
def counting_awaits(tick: Callable[[], None]) -> Generator[None]:
    """Call ``tick`` wherever a task that is made inside comes to wait."""
    loop = asyncio.get_running_loop()
    before = loop.get_task_factory()

    def make(
        loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any
    ) -> asyncio.Task[Any]:
        return asyncio.Task(_counted(coroutine, tick), loop=loop, **options)

    loop.set_task_factory(make)
    try:
        yield
    finally:
        loop.set_task_factory(before)


@types.coroutine
def _counted(
    coroutine: Coroutine[Any, Any, Any], tick: Callable[[], None]
) -> Generator[Any, Any, Any]:
    error: BaseException | None = None
    sent: Any = None
    try:
        while True:
            waiting = coroutine.throw(error) if error else coroutine.send(sent)
            error = None
            tick()
            try:
                sent = yield waiting
            except BaseException as thrown:  # noqa: BLE001 -- handed on
                error = thrown
    except StopIteration as done:
        return done.value
