"""A loopback server that answers as it is told: what no real Solr would say."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Request(NamedTuple):
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


Answer = Callable[[asyncio.StreamWriter], Awaitable[None]] | bytes


@dataclass
class Scripted:
    """The server: gives its answers in turn, the last one for ever."""

    answers: list[Answer]
    port: int = 0
    requests: list[Request] = field(default_factory=list)
    tasks: set[asyncio.Task[Any]] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/solr/docs"

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        try:
            while request := await self._read(reader):
                self.requests.append(request)
                told = self.answers[min(len(self.requests), len(self.answers)) - 1]
                if isinstance(told, bytes):
                    writer.write(told)
                    await writer.drain()
                else:
                    await told(writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # cancelled by `scripted`
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
            self.tasks.discard(task)

    async def _read(self, reader: asyncio.StreamReader) -> Request | None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except asyncio.IncompleteReadError:
            return None
        first, *lines = head.strip().split("\r\n")
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines)
        }
        method, path, _ = first.split(" ")
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        return Request(method, path, headers, body)


@asynccontextmanager
async def scripted(*answers: Answer) -> AsyncIterator[Scripted]:
    """Serve, and end the connections."""
    told = Scripted(list(answers))
    server = await asyncio.start_server(told.serve, "127.0.0.1", 0)
    told.port = server.sockets[0].getsockname()[1]
    try:
        yield told
    finally:
        server.close()
        if told.tasks:
            _, busy = await asyncio.wait(told.tasks, timeout=0.1)
            for task in busy:  # it never answers
                task.cancel()
            await asyncio.gather(*busy)


def answer(body: bytes | str, status: str = "200 OK", **headers: Any) -> bytes:
    """A whole answer."""
    body = body.encode() if isinstance(body, str) else body
    told = {"Content_Type": "application/json", "Content_Length": len(body), **headers}
    lines = "".join(f"{k.replace('_', '-')}: {v}\r\n" for k, v in told.items())
    return f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + body


FOUND = answer(
    '{"responseHeader":{"status":0,"QTime":1},'
    '"response":{"numFound":1,"start":0,"numFoundExact":true,"docs":[{"id":"a"}]}}'
)
DONE = answer('{"responseHeader":{"status":0,"QTime":1}}')
